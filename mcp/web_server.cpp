#include "mcp/web_server.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include <poll.h>
#include <sys/resource.h>

#include "mcp/log.hpp"
#include "mcp/unix_socket.hpp"
#include "mcp/web_context.hpp"

namespace caged::mcp {

namespace {

using clock = std::chrono::steady_clock;
using boost::system::error_code;
using executor = net::io_context::executor_type;
using timer =
    net::basic_waitable_timer<clock, net::wait_traits<clock>, executor>;
using acceptor =
    net::basic_socket_acceptor<net::generic::stream_protocol, executor>;

/// How often deadlines are looked at, and how often sessions.
constexpr std::chrono::milliseconds tick_period{100};
constexpr int ticks_per_sweep = 50;
/// Connections beyond the limit that are told so; more are just closed.
constexpr std::size_t most_told = 32;
/// Descriptors for everything that is no connection: files, pipes of commands.
constexpr rlim_t other_descriptors = 512;

/// Debian's soft limit is 1024, as many as there may be connections.
void raise_descriptor_limit(std::size_t connections) {
  rlimit now{};
  if (::getrlimit(RLIMIT_NOFILE, &now) != 0)
    return;
  const auto wanted = static_cast<rlim_t>(connections) + other_descriptors;
  if (now.rlim_cur >= wanted)
    return;
  now.rlim_cur = std::min(wanted, now.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &now);
}

tl::unexpected<failure> listen_failure(const error_code& why,
                                       const std::string& at,
                                       std::uint16_t port) {
  if (why == net::error::address_in_use)
    return fail(ec::conflict,
                "port " + std::to_string(port) + " is in use on " + at,
                "give another with --port, or 0 for any free one");
  if (why == net::error::access_denied)
    return fail(ec::denied, "port " + std::to_string(port) + " may not be used",
                "ports below 1024 are root's: give another with --port");
  return fail(ec::io,
              "cannot listen on " + at + ", port " + std::to_string(port) + ": "
                  + why.message(),
              "--host takes an address of this machine");
}

} // namespace

struct web_server::impl {
  impl(const server_config& c, web_policy p, session_factory f,
       const web_times& t)
      : context{c, std::move(p), std::move(f), t} {}

  result<void> listen();
  result<void> listen_at_path();
  void stop_listening();
  void accept();
  void admit(stream_socket socket);
  void tick();
  bool is_over(clock::time_point now);
  void begin_stop();
  void end_when_quiet();

  web_context context;
  acceptor incoming{context.io.get_executor()};
  unix_listener at_path;
  timer next_tick{context.io.get_executor()};
  timer next_accept{context.io.get_executor()};
  net::basic_signal_set<executor> signals{context.io.get_executor()};
  clock::time_point stop_at;
  clock::time_point last_use; ///< There was a connection or a session.
  int ticks = 0;
  std::string host;
  std::uint16_t port = 0;
};

result<void> web_server::impl::listen() {
  if (!context.config.socket.empty())
    return listen_at_path();
  error_code why;
  const auto& text = context.policy.address;
  const auto address = net::ip::make_address(text, why);
  const auto wanted = context.config.port;
  const net::ip::tcp::endpoint at{address, wanted};
  if (!why)
    incoming.open(at.protocol(), why);
  // A server that was restarted must not wait for old connections (TIME_WAIT);
  // two of them on one port are still refused.
  if (!why)
    incoming.set_option(net::socket_base::reuse_address(true), why);
  if (!why)
    incoming.bind(at, why);
  if (!why)
    incoming.listen(net::socket_base::max_listen_connections, why);
  if (!why)
    incoming.non_blocking(true, why);
  if (why)
    return listen_failure(why, text, wanted);
  net::ip::tcp::endpoint bound;
  const auto got = incoming.local_endpoint(why);
  std::memcpy(bound.data(), got.data(), std::min(got.size(), bound.capacity()));
  port = bound.port();
  host = text;
  return {};
}

result<void> web_server::impl::listen_at_path() {
  auto made = unix_listener::listen(context.config.socket);
  if (!made)
    return tl::unexpected(made.error());
  at_path = std::move(*made);
  error_code why;
  incoming.assign(net::generic::stream_protocol{AF_UNIX, 0}, at_path.release(),
                  why);
  if (!why)
    incoming.non_blocking(true, why);
  if (why)
    return fail(ec::io, "cannot listen: " + why.message());
  return {};
}

void web_server::impl::stop_listening() {
  at_path.remove();
  error_code ignored;
  incoming.close(ignored);
}

void web_server::impl::accept() {
  incoming.async_accept(context.io.get_executor(), [this](
                                                       error_code why,
                                                       stream_socket socket) {
    if (!incoming.is_open())
      return;
    if (!why) {
      admit(std::move(socket));
    } else if (why == net::error::no_descriptors || why == net::error::no_memory
               || why == net::error::no_buffer_space
               || why == error_code{ENFILE, boost::system::system_category()}) {
      // Others have to go first: asking at once would only burn time.
      log::warn("cannot accept a connection", {{"error", why.message()}});
      next_accept.expires_after(tick_period);
      next_accept.async_wait([this](error_code late) {
        if (!late && incoming.is_open())
          accept();
      });
      return;
    }
    accept();
  });
}

void web_server::impl::admit(stream_socket socket) {
  const std::size_t most = context.config.max_connections;
  const auto now = context.connections.size();
  last_use = clock::now();
  if (now >= most + most_told)
    return; // closes it
  error_code ignored;
  if (context.config.socket.empty())
    socket.set_option(net::ip::tcp::no_delay(true), ignored);
  // What the layers above do without waiting must never wait.
  socket.non_blocking(true, ignored);
  if (context.config.mode == transport::ws)
    start_web_socket(context, std::move(socket), now >= most);
  else
    start_http(context, std::move(socket), now >= most);
}

void web_server::impl::tick() {
  next_tick.expires_after(tick_period);
  next_tick.async_wait([this](error_code why) {
    if (why)
      return;
    const auto now = clock::now();
    // A connection that closes itself leaves the table.
    std::vector<std::shared_ptr<web_connection>> all;
    all.reserve(context.connections.size());
    for (const auto& [key, one] : context.connections)
      all.push_back(one);
    for (const auto& one : all)
      one->tick(now);
    if (++ticks % ticks_per_sweep == 0
        || context.times.session_idle < tick_period * ticks_per_sweep)
      context.sessions.expire(now, context.times.session_idle);
    context.resumable.expire(now, context.times.resume_grace);
    if (!context.stopping && is_over(now))
      begin_stop(); // ticks on by itself
    else if (context.stopping)
      end_when_quiet();
    else
      tick();
  });
}

bool web_server::impl::is_over(clock::time_point now) {
  const auto sessions = context.sessions.size() + context.resumable.size()
                        + context.bound_sessions;
  if (context.config.one_session && context.had_session && sessions == 0
      && std::all_of(
          context.connections.begin(), context.connections.end(),
          [](const auto& each) { return each.first->busy() == 0; })) {
    log::info("the session is over");
    return true;
  }
  if (sessions > 0 || !context.connections.empty())
    last_use = now;
  const auto most = context.times.idle_exit;
  if (most.count() == 0 || now - last_use < most)
    return false;
  // Somebody who has just connected must not find a server that ends.
  pollfd waiting{incoming.native_handle(), POLLIN, 0};
  if (::poll(&waiting, 1, 0) > 0)
    return false;
  log::info("idle", {{"milliseconds", most.count()}});
  return true;
}

void web_server::impl::begin_stop() {
  if (context.stopping)
    return;
  context.stopping = true;
  stop_listening();
  next_accept.cancel();
  error_code ignored;
  signals.cancel(ignored);
  stop_at = clock::now() + context.times.last_calls;
  end_when_quiet();
}

void web_server::impl::end_when_quiet() {
  std::vector<std::shared_ptr<web_connection>> all;
  for (const auto& [key, one] : context.connections)
    all.push_back(one);
  auto busy = context.sessions.busy() + context.resumable.busy();
  for (const auto& one : all) {
    busy += one->busy();
    one->wind_down();
  }
  const auto now = clock::now();
  if (busy == 0) {
    context.sessions.end_all();
    context.resumable.end_all();
  }
  if ((busy == 0 && context.connections.empty()) || now >= stop_at) {
    context.sessions.end_all();
    context.resumable.end_all();
    for (const auto& one : all)
      one->kill();
    context.io.stop();
    return;
  }
  next_tick.expires_after(std::chrono::milliseconds{10});
  next_tick.async_wait([this](error_code why) {
    if (!why)
      end_when_quiet();
  });
}

web_server::web_server(std::unique_ptr<impl> i) : impl_{std::move(i)} {}

web_server::~web_server() {
  impl_->stop_listening();
  // Sessions and workers may outlive this: nothing of theirs reaches the
  // context once everything is closed.
  impl_->context.sessions.end_all();
  impl_->context.resumable.end_all();
  while (!impl_->context.connections.empty())
    std::shared_ptr<web_connection> {
      impl_->context.connections.begin()->second
      } -> kill();
}

result<std::unique_ptr<web_server>>
web_server::listen(const server_config& config, session_factory factory,
                   const web_times& times) {
  auto policy = make_policy(config);
  if (!policy)
    return tl::unexpected(policy.error());
  raise_descriptor_limit(config.max_connections);
  auto made = std::make_unique<impl>(config, std::move(*policy),
                                     std::move(factory), times);
  if (auto bound = made->listen(); !bound)
    return tl::unexpected(bound.error());
  return std::unique_ptr<web_server>{new web_server{std::move(made)}};
}

const std::string& web_server::host() const {
  return impl_->host;
}

std::uint16_t web_server::port() const {
  return impl_->port;
}

void web_server::stop_on_signals() {
  impl_->signals.add(SIGTERM);
  impl_->signals.add(SIGINT);
  impl_->signals.async_wait([this](error_code why, int number) {
    if (why)
      return;
    log::info("stopping", {{"signal", number}});
    impl_->begin_stop();
  });
}

void web_server::run() {
  impl_->last_use = clock::now();
  impl_->accept();
  impl_->tick();
  impl_->context.io.run();
}

void web_server::stop() {
  net::post(impl_->context.io, [this] { impl_->begin_stop(); });
}

} // namespace caged::mcp
