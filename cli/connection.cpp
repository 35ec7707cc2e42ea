#include "cli/endpoint.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.hpp>

#include "cli/resolve.hpp"
#include "messages/client_api_wire.hpp"
#include "messages/text.hpp"

// One connection: the DEALER, its handshake, and the news about it.
namespace caged::cli {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

const char* const start_hint =
    "is caged-node running? start it with: systemctl start caged-node";
/// As the node's (nodes/tcp_port.cpp): who has said nothing for so long is
/// gone.
constexpr int heartbeat_ms = 2000, silence_ms = 10'000;

/// Asks the kernel first: it names what is wrong, ZeroMQ would only go on
/// trying.
result<void> probe(const std::string& endpoint) {
  const std::string scheme = "ipc://";
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (endpoint.rfind(scheme, 0) != 0)
    return fail(ec::bad_request,
                "the endpoint " + caged::quoted(endpoint) + " is not supported",
                std::string{"use ipc:// and a path, such as "}
                    + default_endpoint + ", or tcp://HOST:PORT");
  auto path = endpoint.substr(scheme.size());
  if (path.empty() || path.size() >= sizeof to.sun_path)
    return fail(ec::bad_request, "the endpoint's path " + caged::quoted(path)
                                     + " must have 1 to "
                                     + std::to_string(sizeof to.sun_path - 1)
                                     + " bytes");
  std::memcpy(to.sun_path, path.data(), path.size());
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return fail_errno(ec::io, "no socket can be made", errno);
  int error = ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0
                  ? 0
                  : errno;
  ::close(fd);
  if (error == EACCES || error == EPERM)
    return fail(ec::denied, "you may not open " + endpoint,
                "run it with sudo, or join the group caged");
  if (error != 0 && error != EAGAIN)
    return fail(ec::unavailable,
                "no node answers at " + endpoint + " (" + std::strerror(error)
                    + ")",
                start_hint);
  return {};
}

class dealer : public connection {
public:
  ~dealer() override {
    // Unsent acknowledgements have a second to leave; after a loss there is
    // nobody to take them.
    socket_.set(zmq::sockopt::linger, lost_ || !ready_ ? 0 : 1000);
    zmq_socket_monitor(socket_.handle(), nullptr, 0);
  }

  /// `address`: one of those of `to`, as ZeroMQ takes it.
  result<void> connect(const endpoint& to, const std::string& address,
                       const key_pair& ours) {
    try {
      const char* news = "inproc://news";
      zmq_socket_monitor(socket_.handle(), news,
                         ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED
                             | ZMQ_EVENT_DISCONNECTED
                             | ZMQ_EVENT_HANDSHAKE_SUCCEEDED
                             | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
                             | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
                             | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
      monitor_.connect(news);
      socket_.set(zmq::sockopt::maxmsgsize, std::int64_t{64} * 1024 * 1024);
      // A lost connection is replaced, never mended: what is queued in it
      // would arrive before the new attachment. Not -1, which says so: then
      // libzmq 4.3.4 ends the endpoint by itself on a loss, and a close at that
      // moment waits for ever in zmq_ctx_term (seen once in 300 losses).
      constexpr int never_ms = 24 * 3600 * 1000;
      socket_.set(zmq::sockopt::reconnect_ivl, never_ms);
      if (to.is_tcp())
        lock(to, address, ours);
      socket_.connect(address);
    } catch (const zmq::error_t& e) {
      return fail(ec::unavailable,
                  "no node answers at " + to.where + ": " + e.what(),
                  start_hint);
    }
    auto until = steady_clock::now() + handshake_time;
    while (!ready_ && !lost_ && steady_clock::now() < until) {
      zmq::pollitem_t item{monitor_.handle(), 0, ZMQ_POLLIN, 0};
      zmq_poll(&item, 1, 50);
      read_news();
    }
    if (ready_)
      return {};
    return to.is_tcp()
               ? not_let_in(to, address, ours)
               : fail(ec::unavailable,
                      "whoever listens at " + to.where + " does not answer",
                      "look at its log: journalctl -u caged-node");
  }

  void send(const api::request& message) override {
    auto bytes = api::encode(message);
    try {
      socket_.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
    } catch (const zmq::error_t&) {
      lost_ = true;
    }
  }

  result<std::optional<api::reply>> receive() override {
    zmq::message_t bytes;
    while (socket_.recv(bytes, zmq::recv_flags::dontwait)) {
      auto got = api::decode_reply(
          {static_cast<const char*>(bytes.data()), bytes.size()});
      if (!got)
        return got;
      if (!*got)
        continue; // the node's probe
      // Said about the connection: no request of it will be answered.
      auto* error = std::get_if<api::error_reply>(&(*got)->body);
      if (error && (*got)->id == api::connection_id)
        return tl::unexpected<failure>(error->why);
      return got;
    }
    return std::optional<api::reply>{};
  }

  bool lost() override {
    read_news();
    return lost_;
  }

  void* socket() override { return socket_.handle(); }
  void* monitor() override { return monitor_.handle(); }

private:
  void lock(const endpoint& to, const std::string& address,
            const key_pair& ours) {
    socket_.set(zmq::sockopt::ipv6, address.find('[') != std::string::npos);
    socket_.set(zmq::sockopt::curve_serverkey, to.server_key);
    socket_.set(zmq::sockopt::curve_publickey, ours.public_key);
    socket_.set(zmq::sockopt::curve_secretkey, ours.secret_key);
    socket_.set(zmq::sockopt::heartbeat_ivl, heartbeat_ms);
    socket_.set(zmq::sockopt::heartbeat_timeout, silence_ms);
  }

  tl::unexpected<failure> not_let_in(const endpoint& to,
                                     const std::string& address,
                                     const key_pair& ours) const {
    if (refused_key_)
      return fail(ec::denied,
                  "the node at " + to.where + " does not know your key "
                      + ours.public_key,
                  "send its .pub file to an admin: caged key authorize FILE "
                  "--role user");
    if (!connected_)
      return fail(ec::unavailable,
                  "no node answers at " + to.where + " (" + why_not(address)
                      + ")",
                  "is caged-node running there, with --listen?");
    if (lost_)
      return fail(ec::unavailable,
                  "the node at " + to.where
                      + " hung up on our greeting: --server-key is not its "
                        "key, or it is about to end",
                  "compare with what caged node status shows on that host");
    return fail(ec::unavailable,
                "whoever listens at " + to.where + " does not answer",
                "is it a caged-node? look at its log: journalctl -u "
                "caged-node");
  }

  /// zmq_socket_monitor(3): a frame of event and value, a frame of address.
  void read_news() {
    zmq::message_t event;
    while (monitor_.recv(event, zmq::recv_flags::dontwait)) {
      std::uint16_t what = 0;
      if (event.size() >= sizeof what)
        std::memcpy(&what, event.data(), sizeof what);
      if (what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        ready_ = true;
      else if (what == ZMQ_EVENT_CONNECTED)
        connected_ = true;
      else
        lost_ = true;
      refused_key_ = refused_key_ || what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
      zmq::message_t address;
      if (event.more())
        (void)monitor_.recv(address, zmq::recv_flags::dontwait);
    }
  }

  zmq::context_t context_{1};
  zmq::socket_t socket_{context_, zmq::socket_type::dealer};
  zmq::socket_t monitor_{context_, zmq::socket_type::pair};
  bool connected_ = false, ready_ = false, lost_ = false;
  bool refused_key_ = false;
};

/// A daemon that went away in the middle of the greeting may be about to be
/// replaced by the next.
result<std::unique_ptr<connection>> open_local(const endpoint& to) {
  constexpr auto pause = 50ms;
  auto until = steady_clock::now() + handshake_time;
  for (bool met = false;;) {
    auto made = std::make_unique<dealer>();
    auto there = probe(to.where);
    if (there)
      there = made->connect(to, to.where, {});
    if (there)
      return std::unique_ptr<connection>{std::move(made)};
    met = met || made->lost();
    if (!met || steady_clock::now() + pause >= until)
      return tl::unexpected<failure>(there.error());
    std::this_thread::sleep_for(pause);
  }
}

/// Once: a node that hangs up may have another key, and asking it again and
/// again would only fill its log. Whoever reconnects comes back anyway.
result<std::unique_ptr<connection>> open_tcp(const endpoint& to,
                                             const key_pair& ours) {
  if (ours.secret_key.empty() || to.server_key.empty())
    return fail(ec::bad_request, to.where + " wants your key and the node's",
                "give --key FILE and --server-key KEY, or a --context that "
                "has both");
  auto addresses = addresses_of(to.where);
  if (!addresses)
    return tl::unexpected<failure>(addresses.error());
  failure why{ec::unavailable, to.where + " has no address", {}};
  for (const auto& address : *addresses) {
    auto made = std::make_unique<dealer>();
    auto there = made->connect(to, address, ours);
    if (there)
      return std::unique_ptr<connection>{std::move(made)};
    why = there.error();
    if (is_final(why))
      break;
  }
  return tl::unexpected<failure>(why);
}

} // namespace

result<std::unique_ptr<connection>> connection::open(const node_address& to) {
  failure why{ec::bad_request, "no endpoint is given", "give --endpoint"};
  for (const auto& each : to.endpoints) {
    auto made = each.is_tcp() ? open_tcp(each, to.key) : open_local(each);
    if (made)
      return made;
    why = made.error();
    if (is_final(why))
      break; // the next one would say the same
  }
  if (to.endpoints.size() > 1 && !is_final(why))
    why.message = "none of " + to.text() + " answers; the last: " + why.message;
  return tl::unexpected<failure>(why);
}

void wait_for(connection& on, std::chrono::milliseconds timeout) {
  std::array<zmq_pollitem_t, 2> items{
      zmq_pollitem_t{on.socket(), 0, ZMQ_POLLIN, 0},
      zmq_pollitem_t{on.monitor(), 0, ZMQ_POLLIN, 0}};
  zmq_poll(items.data(), 2, static_cast<long>(timeout.count()));
}

} // namespace caged::cli
