#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "mcp/session.hpp"

namespace caged::mcp {

/// Stdout: a message a line. What the thread that reads has answered waits
/// until it calls flush(), so that a chunk of requests gets one write; others
/// write themselves. Thread-safe.
class stdio_outlet final : public outlet {
public:
  using job = std::function<void()>;

  /// `stop` and `signals` are readable once the server is to end: then nobody
  /// waits for the client any more.
  stdio_outlet(int signals, int stop);
  ~stdio_outlet() override;

  bool send(std::string message) override;
  bool lend(const job& what) override;

  /// From now on the calling thread is the one that reads; what others left is
  /// for it to flush.
  void read_here();
  /// What lend() does, on the thread that reads.
  void lend_by(std::function<bool(const job&)> lender);

  /// What the reader has answered. False: the client does not read any more, or
  /// we were told to stop.
  bool flush();
  /// Whether the reader should write before it goes on.
  bool crowded();
  /// Nothing is written any more; those who wait go on.
  void abandon();

private:
  void add(std::string& message);
  void drain(std::unique_lock<std::mutex>& lock);
  void await_room(std::unique_lock<std::mutex>& lock);
  bool write_all(std::string_view text) const;

  const int signals_, stop_;
  int flags_ = -1;
  std::function<bool(const job&)> lender_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::thread::id reader_;
  std::string pending_;
  bool writing_ = false;
  unsigned waiting_ = 0; ///< for room
  bool gone_ = false;
};

} // namespace caged::mcp
