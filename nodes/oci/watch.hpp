#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "actors/runtime.hpp"
#include "nodes/cgroup/cgroup.hpp"
#include "nodes/oci/sys.hpp"

namespace caged::oci {

/// The agent's stderr: a FIFO that the watch empties into two files of at most
/// limits::agent_log_max bytes each, FILE and FILE.1.
class agent_log {
public:
  /// Makes the FIFO DIR/agent.stderr if it is not there and opens it.
  static result<std::unique_ptr<agent_log>>
  open(const std::filesystem::path& dir);

  /// The reading side. It is open for writing as well, so that it never ends.
  int fd() const noexcept { return fifo_.get(); }

  /// Takes what is in the pipe, at most 256 KiB, so that one sandbox that
  /// floods does not starve the others.
  void drain();

  /// The last 64 KiB, in whole lines, control characters as they came.
  static std::string tail(const std::filesystem::path& dir);

private:
  void append(std::string_view bytes);

  std::filesystem::path dir_;
  sys::unique_fd fifo_, file_;
  std::size_t size_ = 0;
  std::uint64_t lost_ = 0; ///< lines thrown away with older files
};

/// One thread that watches every sandbox of a driver: the end of its init, its
/// agent's stderr, its kills for lack of memory.
class watch {
public:
  explicit watch(const cgroup::tree& groups);
  ~watch();
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;

  void on_exit(runtime::exit_handler handler);
  void on_oom(std::function<void(std::string, std::uint64_t)> handler);

  /// Watches from now on. `group` may be empty (no cgroup), `log` null.
  void add(const std::string& id, const process_ref& process,
           sys::unique_fd pidfd, const std::string& group,
           std::unique_ptr<agent_log> log);

  /// Waits, up to the deadline, until the end of the sandbox's init was seen
  /// and reported. True also when it is not watched.
  bool settle(const std::string& id, std::chrono::milliseconds timeout);

  /// Forgets a sandbox without a report. Idempotent.
  void remove(const std::string& id);

private:
  struct entry;
  void loop();
  void arm_oom(entry& item);
  void ended(const std::shared_ptr<entry>& item);
  void check_oom();

  const cgroup::tree& groups_;
  sys::unique_fd epoll_, wake_;
  std::mutex mutex_;         ///< guards entries_, next_
  std::mutex handlers_lock_; ///< held while a handler runs
  runtime::exit_handler exit_;
  std::function<void(std::string, std::uint64_t)> oom_;
  std::map<std::uint64_t, std::shared_ptr<entry>> entries_;
  std::uint64_t next_ = 1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

} // namespace caged::oci
