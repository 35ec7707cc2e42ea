#include "nodes/client_port.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <grp.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.hpp>

#include "messages/client_api_wire.hpp"
#include "messages/text.hpp"
#include "nodes/accept_guard.hpp"

namespace caged {

using namespace std::chrono_literals;

namespace {

constexpr int handshake_ms = 2000;
constexpr int linger_ms = 1000;
constexpr int send_high_water = 64; // messages; at most 4 MB a client
constexpr auto probe_interval = 1s;
/// A client whose pipe is full is tried again after this.
constexpr auto retry_interval = 5ms;
/// Messages handled before the outbox is looked at again.
constexpr int burst = 256;

/// "ADDRESS:UID:GID:PID", as libzmq 4.3 writes it for Unix sockets
/// (src/stream_engine_base.cpp). Nothing when it is anything else.
std::optional<unsigned> uid_of(const std::string& peer) {
  std::array<std::string, 3> fields;
  auto end = peer.size();
  for (auto& field : fields) {
    if (end == 0)
      return {};
    auto colon = peer.rfind(':', end - 1);
    if (colon == std::string::npos)
      return {};
    field = peer.substr(colon + 1, end - colon - 1);
    constexpr std::size_t longest = 10; // digits of 2^32
    if (field.empty() || field.size() > longest
        || field.find_first_not_of("0123456789") != std::string::npos)
      return {};
    end = colon;
  }
  return static_cast<unsigned>(std::stoul(fields[2]));
}

class router_port : public client_port {
public:
  router_port(on_request request, on_gone gone)
      : request_{std::move(request)}, gone_{std::move(gone)} {}
  ~router_port() override {
    router_port::stop();
    if (wake_ >= 0)
      ::close(wake_);
  }

  result<void> bind(const client_port_options& options);

  void send(api::reply message) override {
    bool wake = false;
    {
      std::lock_guard guard{mutex_};
      wake = outbox_.empty();
      outbox_.push_back(std::move(message));
    }
    if (wake)
      notify();
  }
  void watch(const std::string& route) override {
    std::lock_guard guard{mutex_};
    ++watched_[route];
  }
  void unwatch(const std::string& route) override {
    std::lock_guard guard{mutex_};
    auto it = watched_.find(route);
    if (it != watched_.end() && --it->second <= 0)
      watched_.erase(it);
  }
  void stop() override {
    if (!thread_.joinable())
      return;
    stopping_ = true;
    notify();
    thread_.join();
  }

private:
  struct queue {
    std::deque<std::string> messages;
    std::size_t bytes = 0;
  };

  void notify() {
    std::uint64_t one = 1;
    // The counter can only be full when a wake-up is pending anyway.
    [[maybe_unused]] auto written = ::write(wake_, &one, sizeof one);
  }
  void loop();
  void receive();
  void handle(std::string route, zmq::message_t& body);
  void flush_outbox();
  void flush_queues();
  void probe();
  void deliver(const std::string& route, std::string bytes);
  bool try_send(const std::string& route, const std::string& bytes,
                bool& unreachable);
  void drop(const std::string& route);

  on_request request_;
  on_gone gone_;
  zmq::context_t context_{1};
  zmq::socket_t socket_;
  int wake_ = -1;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_; // of the two below
  std::vector<api::reply> outbox_;
  std::map<std::string, int> watched_;

  std::map<std::string, queue> queues_; // the thread's own
};

result<void> router_port::bind(const client_port_options& options) {
  const std::string scheme = "ipc://";
  if (options.endpoint.rfind(scheme, 0) != 0)
    return fail(ec::bad_request,
                "the client endpoint " + caged::quoted(options.endpoint)
                    + " is not supported",
                "use ipc:// and a path");
  auto path = options.endpoint.substr(scheme.size());
  if (path.empty() || path[0] != '/'
      || path.size() >= sizeof(sockaddr_un::sun_path))
    return fail(ec::bad_request,
                "the client endpoint's path " + caged::quoted(path)
                    + " must be absolute and at most "
                    + std::to_string(sizeof(sockaddr_un::sun_path) - 1)
                    + " bytes long",
                "choose a shorter --run-dir");
  auto parent = std::filesystem::path{path}.parent_path();
  struct stat about {};
  if (::stat(parent.c_str(), &about) != 0)
    return fail_errno(ec::io,
                      "the directory " + parent.string()
                          + " of the client endpoint cannot be used",
                      errno);
  if (about.st_uid != ::geteuid() || (about.st_mode & 022) != 0)
    return fail(ec::denied,
                "the directory " + parent.string()
                    + " must belong to the daemon's user and be writable to "
                      "nobody else",
                "chown root: " + parent.string() + " && chmod 0750 "
                    + parent.string());
  guard_accept();
  wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_ < 0)
    return fail_errno(ec::io, "an eventfd cannot be made", errno);
  try {
    socket_ = zmq::socket_t{context_, zmq::socket_type::router};
    socket_.set(zmq::sockopt::router_mandatory, true);
    socket_.set(zmq::sockopt::router_handover, false);
    socket_.set(zmq::sockopt::maxmsgsize,
                static_cast<std::int64_t>(limits::envelope_max));
    socket_.set(zmq::sockopt::handshake_ivl, handshake_ms);
    socket_.set(zmq::sockopt::linger, linger_ms);
    // The rest waits in our own queue, which is bounded in bytes.
    socket_.set(zmq::sockopt::sndhwm, send_high_water);
    socket_.bind(options.endpoint);
  } catch (const zmq::error_t& e) {
    return fail(ec::io,
                "the client endpoint " + options.endpoint
                    + " cannot be bound: " + e.what(),
                "is the directory writable, and nothing else there?");
  }
  // root and the group; without the group, root alone.
  if (const auto* group = ::getgrnam(options.group.c_str());
      group && ::chown(path.c_str(), ::geteuid(), group->gr_gid) == 0)
    ::chmod(path.c_str(), 0660);
  else
    ::chmod(path.c_str(), 0600);
  thread_ = std::thread{[this] { loop(); }};
  return {};
}

void router_port::loop() {
  auto next_probe = std::chrono::steady_clock::now() + probe_interval;
  while (!stopping_) {
    std::array<zmq::pollitem_t, 2> items = {
        zmq::pollitem_t{socket_.handle(), 0, ZMQ_POLLIN, 0},
        zmq::pollitem_t{nullptr, wake_, ZMQ_POLLIN, 0}};
    auto now = std::chrono::steady_clock::now();
    auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::max<std::chrono::steady_clock::duration>(next_probe - now, 0ms));
    if (!queues_.empty())
      wait = std::min<std::chrono::milliseconds>(wait, retry_interval);
    try {
      zmq::poll(items.data(), items.size(), wait);
    } catch (const zmq::error_t& e) {
      if (e.num() != EINTR)
        throw;
    }
    receive();
    flush_outbox();
    flush_queues();
    if (std::chrono::steady_clock::now() >= next_probe) {
      probe();
      next_probe = std::chrono::steady_clock::now() + probe_interval;
    }
  }
  flush_outbox();
  flush_queues();
  socket_.close();
}

void router_port::receive() {
  for (int i = 0; i < burst; ++i) {
    zmq::message_t route, body;
    if (!socket_.recv(route, zmq::recv_flags::dontwait))
      return;
    bool more = route.more();
    bool complete = false;
    if (more) {
      complete = socket_.recv(body, zmq::recv_flags::dontwait).has_value();
      more = body.more();
    }
    bool extra = more;
    while (more) { // frames that no version of ours sends
      zmq::message_t rest;
      if (!socket_.recv(rest, zmq::recv_flags::dontwait))
        break;
      more = rest.more();
    }
    if (!complete || extra) {
      continue;
    }
    handle(route.to_string(), body);
  }
  notify(); // there may be more: look at the outbox, then go on
}

void router_port::handle(std::string route, zmq::message_t& body) {
  if (body.size() == 0)
    return; // a probe
  std::string id;
  auto request = api::decode_request(
      {static_cast<const char*>(body.data()), body.size()}, &id);
  if (request) {
    std::string peer;
    try {
      peer = body.gets("Peer-Address");
    } catch (const zmq::error_t&) {
      peer.clear(); // no such property: nobody we know
    }
    if (auto uid = uid_of(peer)) {
      request->route = std::move(route);
      request->caller = "uid:" + std::to_string(*uid);
      request->admin = true; // who can open the socket is an admin
      request_(std::move(*request));
      return;
    }
    request = fail(ec::denied, "the kernel does not say who asks");
  }
  deliver(route,
          api::encode(api::reply{
              route, id.empty() ? "00000000-0000-0000-0000-000000000000" : id,
              api::error_reply{request.error(), {}, {}}}));
}

bool router_port::try_send(const std::string& route, const std::string& bytes,
                           bool& unreachable) {
  unreachable = false;
  try {
    auto sent =
        socket_.send(zmq::buffer(route),
                     zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    if (!sent)
      return false; // its pipe is full
    return socket_.send(zmq::buffer(bytes), zmq::send_flags::dontwait)
        .has_value();
  } catch (const zmq::error_t& e) {
    unreachable = true; // EHOSTUNREACH: nobody has this route any more
    return false;
  }
}

void router_port::deliver(const std::string& route, std::string bytes) {
  auto waiting = queues_.find(route);
  bool unreachable = false;
  if (waiting == queues_.end()) {
    if (try_send(route, bytes, unreachable))
      return;
    if (unreachable) {
      drop(route);
      return;
    }
    waiting = queues_.emplace(route, queue{}).first;
  }
  waiting->second.bytes += bytes.size();
  waiting->second.messages.push_back(std::move(bytes));
  if (waiting->second.bytes > limits::client_outbox_max)
    drop(route);
}

/// The client is gone, or lets too much pile up.
void router_port::drop(const std::string& route) {
  queues_.erase(route);
  bool known = false;
  {
    std::lock_guard guard{mutex_};
    known = watched_.erase(route) > 0;
  }
  if (known)
    gone_(route);
}

void router_port::flush_outbox() {
  std::uint64_t count = 0;
  // Empty is fine: the poll was woken by the socket.
  [[maybe_unused]] auto got = ::read(wake_, &count, sizeof count);
  std::vector<api::reply> ready;
  {
    std::lock_guard guard{mutex_};
    ready.swap(outbox_);
  }
  for (auto& message : ready)
    deliver(message.route, api::encode(message));
}

void router_port::flush_queues() {
  for (auto it = queues_.begin(); it != queues_.end();) {
    auto& [route, waiting] = *it;
    bool unreachable = false;
    while (!waiting.messages.empty()
           && try_send(route, waiting.messages.front(), unreachable)) {
      waiting.bytes -= waiting.messages.front().size();
      waiting.messages.pop_front();
    }
    auto name = route;
    bool empty = waiting.messages.empty();
    ++it;
    if (unreachable)
      drop(name);
    else if (empty)
      queues_.erase(name);
  }
}

void router_port::probe() {
  std::vector<std::string> routes;
  {
    std::lock_guard guard{mutex_};
    for (const auto& [route, _] : watched_)
      routes.push_back(route);
  }
  for (const auto& route : routes)
    if (queues_.count(route) == 0)
      deliver(route, api::encode_probe());
}

} // namespace

result<std::unique_ptr<client_port>>
client_port::open(const client_port_options& options, on_request request,
                  on_gone gone) {
  auto made =
      std::make_unique<router_port>(std::move(request), std::move(gone));
  if (auto bound = made->bind(options); !bound)
    return tl::unexpected<failure>(bound.error());
  return std::unique_ptr<client_port>{std::move(made)};
}

} // namespace caged
