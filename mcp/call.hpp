#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mcp/tool.hpp"

namespace caged::mcp {

class process_table;

/// MCP's levels are those of syslog (RFC 5424).
enum class log_level {
  debug,
  info,
  notice,
  warning,
  error,
  critical,
  alert,
  emergency
};

/// Tells a running call that nobody wants its result any more: cancelled by its
/// client, the client gone, or the server ending. Shared by the thread that
/// runs the call and the one that reads messages.
class cancellation {
public:
  cancellation() = default;
  cancellation(const cancellation&) = delete;
  cancellation& operator=(const cancellation&) = delete;
  ~cancellation();
  /// Any thread; idempotent.
  void cancel() noexcept;
  bool cancelled() const noexcept {
    return cancelled_.load(std::memory_order_acquire);
  }
  /// A descriptor for poll(2), readable once cancelled; made at first use (an
  /// eventfd). -1 when there is none to be had: then ask cancelled() often.
  int fd() noexcept;

private:
  std::atomic<bool> cancelled_ = false;
  std::atomic<int> fd_ = -1;
};

/// What one call of a tool may use beside its arguments. Lives as long as the
/// call; `run` may use it from its own threads while it is in `run`.
class call {
public:
  virtual ~call() = default;
  /// A call that was cancelled stops soon; what it returns is dropped.
  cancellation& cancel() const { return *cancel_; }
  bool cancelled() const { return cancel_->cancelled(); }
  /// notifications/progress, when the client asked for it (progressToken);
  /// otherwise nothing. `done` must grow. Rate is bounded by the receiver of
  /// this: call it as often as you like.
  virtual void progress(double done, std::optional<double> total,
                        std::string_view message) = 0;
  /// notifications/message, from the level that the client asked for on.
  virtual void log(log_level level, std::string_view logger,
                   const json& data) = 0;
  /// A request to the client (sampling, elicitation; 2025-11-25 and before),
  /// and its result. Blocks until the client has answered or the call is
  /// cancelled: only for tools of slow pace. Errors: unsupported; what the
  /// client answered as bad_request; timeout.
  virtual result<json> ask(std::string_view method, json params);
  /// Background commands of this client: they end with its session.
  virtual process_table& processes() = 0;

protected:
  explicit call(std::shared_ptr<cancellation> cancel)
      : cancel_{std::move(cancel)} {}

private:
  std::shared_ptr<cancellation> cancel_;
};

} // namespace caged::mcp
