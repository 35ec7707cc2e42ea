#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "messages/error.hpp"
#include "messages/samples.hpp"

/// The host's control groups, version 1, hybrid and 2, by their files alone.
/// Sources: Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst of the
/// kernel. Every function may be called from any thread.
namespace caged::cgroup {

enum class layout : std::uint8_t {
  none, ///< nothing mounted that we know
  v1,
  hybrid, ///< v1 controllers, and a v2 hierarchy at ROOT/unified
  v2,
};

/// Which layout is mounted at root.
layout detect(const std::filesystem::path& root = "/sys/fs/cgroup");

/// Whether a hybrid layout's v2 hierarchy has controllers of its own: crun
/// refuses to work as long as it sees that.
bool unified_has_controllers(const std::filesystem::path& root);

/// Limits of one group.
struct group_limits {
  std::uint64_t memory_bytes = 0; ///< swap included, where it is counted
  unsigned cpus = 0;
  unsigned pids = 0;
};

/// One mounted cgroup file system and the groups of ours in it.
class tree {
public:
  /// root: where the hierarchies are mounted; a parameter for tests.
  explicit tree(std::filesystem::path root = "/sys/fs/cgroup");

  layout kind() const noexcept { return kind_; }
  const std::filesystem::path& root() const noexcept { return root_; }

  /// Of memory, cpu, cpuacct (v1), pids and freezer (v1), what the host lacks.
  std::vector<std::string> missing_controllers() const;

  /// Whether swap can be limited: then the limit must be set, or memory over
  /// the limit goes to swap instead of being killed.
  bool swap_accounting() const;

  /// Directory of a group's files for a controller ("memory", "pids", ...);
  /// with v2 the same for all. `group` is like "/caged-a/cage-12345678".
  std::filesystem::path dir(const std::string& group,
                            const std::string& controller) const;

  /// Whether the group exists in any hierarchy.
  bool exists(const std::string& group) const;

  /// Names of the groups directly beneath a group, in any hierarchy, sorted.
  std::vector<std::string> children(const std::string& group) const;

  /// Host pids in the group and in the groups beneath it.
  std::vector<std::int32_t> processes(const std::string& group) const;

  /// Thaws the group, kills everything in it and waits until it is empty.
  /// The value: the pids it killed; those that are children of ours are left
  /// for the caller to reap. Error: timeout.
  result<std::vector<std::int32_t>>
  kill(const std::string& group, std::chrono::milliseconds timeout) const;

  /// Removes the (empty) group and those beneath it from every hierarchy.
  /// Absent ones are fine. Error: resource, after the deadline.
  result<void> remove(const std::string& group,
                      std::chrono::milliseconds timeout) const;

  /// Freezer; returns when the kernel says it is done. Errors: not_found,
  /// timeout, io.
  result<void> freeze(const std::string& group, bool frozen,
                      std::chrono::milliseconds timeout) const;

  /// Gives a group other limits, as crun sets them at its start. Errors:
  /// not_found; resource (below what is in use, or no right).
  result<void> limit(const std::string& group,
                     const group_limits& limits) const;

  /// How often the kernel killed something in the group for lack of memory.
  std::uint64_t oom_kills(const std::string& group) const;

  /// Everything of host_stats but the disk. What a kernel does not count is
  /// 0. Error: not_found.
  result<host_stats> stats(const std::string& group) const;

private:
  std::vector<std::filesystem::path> hierarchies() const;

  std::filesystem::path root_;
  layout kind_;
};

} // namespace caged::cgroup
