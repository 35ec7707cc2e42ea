#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>

#include <pthread.h>

namespace caged::mcp {

/// A second thread for loops whose time is spent in system calls, such as one
/// stat(2) for each of a thousand files. It has a small stack and its signals
/// are blocked. One caller at a time.
class helper_thread {
public:
  /// Where no thread is to be had, callers do everything themselves.
  helper_thread() noexcept;
  ~helper_thread();
  helper_thread(const helper_thread&) = delete;
  helper_thread& operator=(const helper_thread&) = delete;

  /// Runs `job` here and, unless it is over before the helper wakes, there at
  /// the same time; back when both are done. It must not throw, and has to
  /// share its work out itself: see each_range.
  void both(const std::function<void()>& job);

private:
  static void* entry(void* self);
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* posted_ = nullptr; ///< not taken yet
  bool busy_ = false;
  bool stop_ = false;
  bool started_ = false;
  pthread_t thread_{};
};

/// `run(from, to)` for pieces that make up 0..n, by both threads, in order of
/// their beginnings; by the caller alone without a helper (null), or when they
/// are few. It must not throw.
void each_range(helper_thread* with, std::size_t n, std::size_t piece,
                const std::function<void(std::size_t, std::size_t)>& run);

} // namespace caged::mcp
