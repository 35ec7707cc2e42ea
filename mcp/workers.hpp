#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace caged::mcp {

/// Threads that run calls: none at the start, one more for each call that finds
/// all of them busy, up to a bound; one that was idle for a while ends. Each
/// client has a lane of its own, in order; lanes take turns, so that a client
/// who floods waits for itself. Thread-safe.
class workers {
public:
  using job = std::function<void()>;

  /// The jobs of one client that wait. Only workers looks into it.
  class lane {
    friend class workers;
    std::deque<job> waiting_;
    bool queued_ = false;
  };

  explicit workers(unsigned most);
  /// Runs what waits, too (jobs look at their own cancellation), and joins.
  ~workers();
  workers(const workers&) = delete;
  workers& operator=(const workers&) = delete;

  enum class outcome { taken, full, no_thread };
  /// full: `most_waiting` jobs wait in this lane already. A job must not throw.
  outcome submit(const std::shared_ptr<lane>& of, job what,
                 std::size_t most_waiting);

private:
  void work(std::size_t self);

  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<lane>> ready_; // lanes with jobs, by turn
  std::vector<std::thread> threads_;        // some ended, to be joined
  std::vector<std::size_t> ended_;          // free places in threads_
  std::size_t idle_ = 0;
  std::size_t pending_ = 0; // jobs in all lanes
  bool stop_ = false;
};

} // namespace caged::mcp
