#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include <sys/types.h>

#include "mcp/call.hpp"
#include "mcp/git/frame.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp::git {

struct pool_options {
  int root_fd = -1; ///< The workspace; must outlive the pool.
  bool writable = false;
  std::size_t output_bytes = 1U << 20U;
  unsigned workers = 4; ///< At most; started when needed.
  std::chrono::milliseconds timeout{30'000};
  std::string program = "/proc/self/exe";
  bool use_landlock = true; ///< False only in tests.
};

/// What a worker answered.
struct worker_reply {
  json structured;
  std::string text;
};

/// Processes that run libgit2 for this one (worker.hpp), kept between calls: a
/// start costs some milliseconds, and a worker's caches make the next call
/// cheap. One whose call was cancelled, took too long or that crashed is killed
/// and replaced at the next call. A worker that has a pack mapped dies by
/// SIGBUS when somebody truncates the file, so one that had answered before and
/// dies is not taken for the repository's fault: the call goes to a new one,
/// once. A commit gets a new worker at once, because it must not run twice.
/// Thread-safe; calls above the number of workers wait in no order.
class worker_pool {
public:
  explicit worker_pool(pool_options options);
  ~worker_pool();
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;

  /// One request (ops.hpp). Errors: what the operation says; timeout;
  /// unavailable (no worker could be started); internal (it crashed).
  result<worker_reply> ask(const json& request, cancellation& cancel);

  /// Of the workers that wait for work: for tests.
  std::vector<pid_t> idle() const;

private:
  struct worker {
    pid_t pid = -1;
    owned_fd socket;
    bool used = false; ///< Has answered before.
  };
  result<worker> start() const;
  result<worker> take();
  void give_back(worker w);
  /// Kills and reaps; what it ended with, for messages.
  static std::string end(worker w);
  /// `died`: it ended by itself in the middle.
  result<worker_reply> exchange(worker w, const json& request,
                                cancellation& cancel,
                                std::chrono::steady_clock::time_point until,
                                bool& died);

  pool_options options_;
  owned_fd slots_; ///< A semaphore (eventfd): free workers, started or not.
  mutable std::mutex mutex_;
  std::vector<worker> idle_; ///< The last used is the next: its cache is warm.
};

} // namespace caged::mcp::git
