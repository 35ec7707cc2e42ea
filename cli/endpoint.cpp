#include "cli/endpoint.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <thread>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.hpp>

#include "caged_version.hpp"
#include "messages/client_api_wire.hpp"
#include "messages/text.hpp"

namespace caged::cli {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

const char* const start_hint =
    "is caged-node running? start it with: systemctl start caged-node";

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
                    + default_endpoint);
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
    socket_.set(zmq::sockopt::linger, lost_ ? 0 : 1000);
    zmq_socket_monitor(socket_.handle(), nullptr, 0);
  }

  result<void> connect(const std::string& endpoint) {
    if (auto there = probe(endpoint); !there)
      return there;
    try {
      const char* news = "inproc://news";
      zmq_socket_monitor(socket_.handle(), news,
                         ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED
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
      socket_.connect(endpoint);
    } catch (const zmq::error_t& e) {
      return fail(ec::unavailable,
                  "no node answers at " + endpoint + ": " + e.what(),
                  start_hint);
    }
    auto until = steady_clock::now() + handshake_time;
    while (!ready_ && !lost_ && steady_clock::now() < until) {
      zmq::pollitem_t item{monitor_.handle(), 0, ZMQ_POLLIN, 0};
      zmq_poll(&item, 1, 50);
      read_news();
    }
    if (!ready_)
      return fail(ec::unavailable,
                  "whoever listens at " + endpoint + " does not answer",
                  "look at its log: journalctl -u caged-node");
    return {};
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
      if (!got || *got)
        return got;
      // An empty one is the node's probe.
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
  /// zmq_socket_monitor(3): a frame of event and value, a frame of address.
  void read_news() {
    zmq::message_t event;
    while (monitor_.recv(event, zmq::recv_flags::dontwait)) {
      std::uint16_t what = 0;
      if (event.size() >= sizeof what)
        std::memcpy(&what, event.data(), sizeof what);
      if (what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        ready_ = true;
      else
        lost_ = true;
      zmq::message_t address;
      if (event.more())
        (void)monitor_.recv(address, zmq::recv_flags::dontwait);
    }
  }

  zmq::context_t context_{1};
  zmq::socket_t socket_{context_, zmq::socket_type::dealer};
  zmq::socket_t monitor_{context_, zmq::socket_type::pair};
  bool ready_ = false;
  bool lost_ = false;
};

} // namespace

result<std::unique_ptr<connection>>
connection::open(const std::string& endpoint) {
  constexpr auto pause = 50ms;
  auto until = steady_clock::now() + handshake_time;
  for (bool met = false;;) {
    auto made = std::make_unique<dealer>();
    auto there = made->connect(endpoint);
    if (there)
      return std::unique_ptr<connection>{std::move(made)};
    // A daemon that went away in the middle of the greeting may be about to be
    // replaced by the next.
    met = met || made->lost();
    if (!met || steady_clock::now() + pause >= until)
      return tl::unexpected<failure>(there.error());
    std::this_thread::sleep_for(pause);
  }
}

void wait_for(connection& on, std::chrono::milliseconds timeout) {
  std::array<zmq_pollitem_t, 2> items{
      zmq_pollitem_t{on.socket(), 0, ZMQ_POLLIN, 0},
      zmq_pollitem_t{on.monitor(), 0, ZMQ_POLLIN, 0}};
  zmq_poll(items.data(), 2, static_cast<long>(timeout.count()));
}

result<void> call(const std::string& endpoint, api::request_body body,
                  std::chrono::milliseconds deadline,
                  const std::function<verdict(api::reply_body&)>& on_reply,
                  std::string id) {
  constexpr auto reopen_interval = 100ms;
  constexpr auto tick = 200ms;
  constexpr auto quiet_time = 1s; // longer is worth a line
  auto until = steady_clock::now() + deadline;
  api::request request;
  request.id = id.empty() ? make_uuid() : std::move(id);
  request.body = std::move(body);
  bool reached = false; // a node that was never there is told at once
  bool said_waiting = false;
  bool lost_before = false;
  auto away_since = steady_clock::now();
  while (true) {
    auto opened = connection::open(endpoint);
    if (!opened) {
      if (!reached || steady_clock::now() + reopen_interval >= until)
        return tl::unexpected<failure>(opened.error());
      if (!said_waiting && steady_clock::now() - away_since > quiet_time) {
        said_waiting = true;
        std::cerr << "caged: the node is away; waiting for it\n" << std::flush;
      }
      std::this_thread::sleep_for(reopen_interval);
      continue;
    }
    auto& node = **opened;
    api::request greeting;
    greeting.id = make_uuid();
    greeting.body = api::hello{"caged/" CAGED_VERSION};
    node.send(greeting);
    request.remaining = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - steady_clock::now());
    node.send(request);
    auto hello_until = steady_clock::now() + hello_time;
    bool greeted = false;
    reached = true;
    while (true) {
      // Asked before the queue is read: what a node said before it went away
      // counts (the answer to `node shutdown`).
      bool gone = node.lost();
      auto got = node.receive();
      if (!got)
        return tl::unexpected<failure>(got.error());
      if (*got) {
        greeted = true; // whatever it says, it speaks
        auto& reply = **got;
        if (reply.id != request.id)
          continue;
        if (auto* error = std::get_if<api::error_reply>(&reply.body)) {
          // A daemon that has just come back may not reach its agents yet.
          if (error->why.code == ec::unavailable && lost_before
              && steady_clock::now() + reopen_interval < until) {
            std::this_thread::sleep_for(reopen_interval);
            break;
          }
          return tl::unexpected<failure>(error->why);
        }
        if (on_reply(reply.body) == verdict::done)
          return {};
        continue;
      }
      if (gone) {
        away_since = steady_clock::now();
        lost_before = true;
        break;
      }
      auto now = steady_clock::now();
      if (!greeted && now >= hello_until)
        return fail(ec::unavailable,
                    "the node at " + endpoint + " does not say hello",
                    "look at its log: journalctl -u caged-node");
      if (now >= until)
        return fail(ec::timeout,
                    "the node did not answer within "
                        + format_duration(deadline),
                    "what was asked may still be done; look with caged list");
      wait_for(node, tick);
    }
  }
}

} // namespace caged::cli
