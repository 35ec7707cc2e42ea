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

/// Messages on their way to one WebSocket. Sessions send from any thread, the
/// I/O thread takes. A worker waits while too much is there; the I/O thread
/// never does: it looks at full() and stops reading.
class outbox final : public outlet {
public:
  /// To be made on the I/O thread. `wake` is called from any thread when there
  /// is something to take; never after close(). `budget` must outlive close().
  outbox(web_budget& budget, std::function<void()> wake);

  bool send(std::string message) override;

  // The I/O thread alone:
  /// While corked, what this thread sends does not wake it: it looks itself.
  void cork(bool on) { corked_ = on; }
  /// The next message, or false. Counts until written().
  bool take(std::string& message);
  /// So many bytes of what was taken left this process.
  void written(std::size_t bytes);
  bool full() const;
  bool empty() const;
  /// From now on the peer is gone: waiting workers go on.
  void close();

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
