#include "nodes/router_port.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <string_view>

#include <sys/eventfd.h>
#include <unistd.h>

#include "messages/client_api_wire.hpp"
#include "nodes/accept_guard.hpp"

namespace caged {

using namespace std::chrono_literals;

namespace {

constexpr int handshake_ms = 2000;
constexpr int linger_ms = 1000;
constexpr int send_high_water = 64; // messages; at most 4 MB a client
/// What is above envelope_max and below this is answered; above, cut.
constexpr std::int64_t frame_most = std::int64_t{2} * limits::envelope_max;
constexpr auto probe_interval = 1s;
/// A client whose pipe is full is tried again after this.
constexpr auto retry_interval = 5ms;
/// Messages handled before the outbox is looked at again.
constexpr int burst = 256;
constexpr std::size_t hop_digits = 16;

std::string hop_text(std::uint64_t hop) {
  std::array<char, hop_digits> digits{};
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), hop, 16).ptr;
  std::string out(hop_digits - static_cast<std::size_t>(end - digits.data()),
                  '0');
  return out.append(digits.data(), end);
}

} // namespace

router_port::router_port(std::string prefix, std::size_t tag_size,
                         std::shared_ptr<metrics_sink> metrics)
    : refused_{std::move(metrics)},
      prefix_{std::move(prefix)},
      tag_size_{tag_size} {}

router_port::~router_port() {
  router_port::stop();
  if (wake_ >= 0)
    ::close(wake_);
}

result<void> router_port::make_socket() {
  guard_accept();
  wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_ < 0)
    return fail_errno(ec::io, "an eventfd cannot be made", errno);
  try {
    socket_ = zmq::socket_t{context_, zmq::socket_type::router};
    socket_.set(zmq::sockopt::router_mandatory, true);
    socket_.set(zmq::sockopt::router_handover, false);
    socket_.set(zmq::sockopt::maxmsgsize, frame_most);
    socket_.set(zmq::sockopt::handshake_ivl, handshake_ms);
    socket_.set(zmq::sockopt::linger, linger_ms);
    // The rest waits in our own queue, which is bounded in bytes.
    socket_.set(zmq::sockopt::sndhwm, send_high_water);
  } catch (const zmq::error_t& e) {
    return fail(ec::io, std::string{"a socket for clients cannot be made: "}
                            + e.what());
  }
  return {};
}

void router_port::run(on_request request, on_gone gone) {
  request_ = std::move(request);
  gone_ = std::move(gone);
  thread_ = std::thread{[this] { loop(); }};
}

void router_port::send(api::reply message) {
  bool first = false;
  {
    std::lock_guard guard{mutex_};
    first = outbox_.empty();
    outbox_.push_back(std::move(message));
  }
  if (first)
    wake();
}

void router_port::watch(const std::string& route) {
  std::lock_guard guard{mutex_};
  ++watched_[route];
}

void router_port::unwatch(const std::string& route) {
  std::lock_guard guard{mutex_};
  auto it = watched_.find(route);
  if (it != watched_.end() && --it->second <= 0)
    watched_.erase(it);
}

std::vector<std::string> router_port::watched() {
  std::vector<std::string> out;
  std::lock_guard guard{mutex_};
  for (const auto& [route, _] : watched_)
    out.push_back(route);
  return out;
}

void router_port::stop() {
  if (!thread_.joinable())
    return;
  stopping_ = true;
  wake();
  thread_.join();
}

void router_port::wake() {
  std::uint64_t one = 1;
  // The counter can only be full when a wake-up is pending anyway.
  [[maybe_unused]] auto written = ::write(wake_, &one, sizeof one);
}

void router_port::poll(std::chrono::milliseconds wait) {
  std::vector<zmq::pollitem_t> items = {{socket_.handle(), 0, ZMQ_POLLIN, 0},
                                        {nullptr, wake_, ZMQ_POLLIN, 0}};
  for (auto* more : attended_)
    items.push_back({more, 0, ZMQ_POLLIN, 0});
  try {
    zmq::poll(items.data(), items.size(), wait);
  } catch (const zmq::error_t& e) {
    if (e.num() != EINTR)
      throw;
  }
}

void router_port::loop() {
  auto next_probe = std::chrono::steady_clock::now() + probe_interval;
  while (!stopping_) {
    auto now = std::chrono::steady_clock::now();
    auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::max<std::chrono::steady_clock::duration>(next_probe - now, 0ms));
    if (!queues_.empty())
      wait = std::min<std::chrono::milliseconds>(wait, retry_interval);
    poll(wait);
    attend();
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
    zmq::message_t raw, body;
    if (!socket_.recv(raw, zmq::recv_flags::dontwait))
      return;
    bool more = raw.more();
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
    if (complete && !extra)
      handle(raw.to_string(), body);
  }
  wake(); // there may be more: look at the outbox, then go on
}

void router_port::handle(const std::string& raw, zmq::message_t& body) {
  if (body.size() == 0)
    return; // a probe
  std::string id;
  auto request = api::decode_request(
      {static_cast<const char*>(body.data()), body.size()}, &id);
  // Who may not ask is told so, whatever the message says.
  auto who = admit(body);
  const auto hop = request && who && who->node ? request->hop : 0;
  const auto route = prefix_ + tag_of(body) + hop_text(hop) + raw;
  if (request && who && who->node != (request->hop != 0))
    request = who->node ? fail(ec::denied, "a node asks for its clients alone")
                        : api::behalf_denied();
  if (request && who && who->node)
    if (auto no = refuses_caller(*request))
      request = tl::unexpected<failure>(std::move(*no));
  if (request && who) {
    request->route = route;
    if (std::holds_alternative<api::client_gone>(request->body)) {
      queues_.erase(route);
      const std::lock_guard guard{mutex_};
      watched_.erase(route);
    }
    if (!who->node) {
      request->caller = std::move(who->caller);
      request->admin = who->admin;
      request->viewer = who->viewer;
      request->joiner = who->joiner;
      request->from = std::move(who->from);
    }
    request_(std::move(*request));
    return;
  }
  // A request that is only wrong in itself (bad_request) is no attack.
  if (who && body.size() > limits::envelope_max)
    refused_.add("too_large", who->caller, who->from);
  else if (who && request.error().code == ec::malformed)
    refused_.add("malformed", who->caller, who->from);
  else if (who && request.error().code == ec::denied)
    refused_.add("caller", who->caller, who->from);
  deliver(
      route,
      api::encode(api::reply{
          route, id.empty() ? api::connection_id : id,
          api::error_reply{who ? request.error() : who.error(), {}, {}}, hop}));
}

void router_port::tell(const std::string& route, failure why) {
  deliver(route,
          api::encode(api::reply{route, api::connection_id,
                                 api::error_reply{std::move(why), {}, {}}}));
}

std::string router_port::raw_of(const std::string& route) const {
  return route.substr(
      std::min(route.size(), prefix_.size() + tag_size_ + hop_digits));
}

std::uint64_t router_port::hop_of(const std::string& route) const {
  const auto at = std::min(route.size(), prefix_.size() + tag_size_);
  const auto text = std::string_view{route}.substr(at, hop_digits);
  std::uint64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return out;
}

bool router_port::try_send(const std::string& route, const std::string& bytes,
                           bool& unreachable) {
  unreachable = false;
  try {
    const auto raw = raw_of(route);
    auto sent = socket_.send(zmq::buffer(raw), zmq::send_flags::sndmore
                                                   | zmq::send_flags::dontwait);
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
    if (may_hear(message.route)) {
      message.hop = hop_of(message.route);
      deliver(message.route, api::encode(message));
    }
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
  for (const auto& route : watched())
    if (queues_.count(route) == 0)
      deliver(route, api::encode_probe(hop_of(route)));
}

} // namespace caged
