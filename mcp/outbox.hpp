#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "mcp/session.hpp"
#include "mcp/web_budget.hpp"

namespace caged::mcp {

/// Where a WebSocket takes its messages from. All but send(): I/O thread alone.
class ws_outlet : public outlet {
public:
  /// While corked, what this thread sends does not wake it: it looks itself.
  virtual void cork(bool on) = 0;
  /// The next message, or false. Counts until written().
  virtual bool take(std::string& message) = 0;
  /// So many bytes of what was taken left this process.
  virtual void written(std::size_t bytes) = 0;
  virtual bool full() const = 0;
  virtual bool empty() const = 0;
  /// From now on the peer is gone: waiting workers go on.
  virtual void close() = 0;
};

/// Messages on their way to one WebSocket. Sessions send from any thread, the
/// I/O thread takes. A worker waits while too much is there; the I/O thread
/// never does: it looks at full() and stops reading.
class outbox final : public ws_outlet {
public:
  /// To be made on the I/O thread. `wake` is called from any thread when there
  /// is something to take; never after close(). `budget` must outlive close().
  outbox(web_budget& budget, std::function<void()> wake);

  bool send(std::string message) override;

  void cork(bool on) override { corked_ = on; }
  bool take(std::string& message) override;
  void written(std::size_t bytes) override;
  bool full() const override;
  bool empty() const override;
  void close() override;

private:
  const std::thread::id io_ = std::this_thread::get_id();
  bool corked_ = false;
  web_budget& budget_;

  mutable std::mutex lock_;
  std::condition_variable room_;
  std::function<void()> wake_;
  std::deque<std::string> messages_;
  std::size_t bytes_ = 0; ///< Waiting or taken and not yet written.
  bool woken_ = false;
  bool closed_ = false;
};

} // namespace caged::mcp
