#pragma once

#include <chrono>

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace caged::gateway_parts {

namespace net = boost::asio;

/// "Something has changed": one coroutine waits, anything on the same thread
/// wakes it. Who waits looks at its condition again.
class signal {
public:
  explicit signal(net::io_context& io) : timer_{io} {
    timer_.expires_at(net::steady_timer::time_point::max());
  }

  void notify() { timer_.cancel(); }

  net::awaitable<void> wait() {
    boost::system::error_code cancelled;
    co_await timer_.async_wait(
        net::redirect_error(net::use_awaitable, cancelled));
  }

private:
  net::steady_timer timer_;
};

} // namespace caged::gateway_parts
