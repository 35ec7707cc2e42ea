#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace caged::agent {

/// One line of /proc/PID/stat, as far as it is needed (proc(5)).
struct process_row {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  char state = '?';
  /// User and system time, its own and that of children it has waited for.
  std::uint64_t cpu_ticks = 0;
};

/// nullopt for text that is no such line.
std::optional<process_row> parse_stat(std::string_view text);

/// Every process that /proc shows: those of the PID namespace.
std::vector<process_row> list_processes(const std::string& proc = "/proc");

/// The pids of a tree: the session that `leader` has made, and the descendants
/// of its members even when they made sessions of their own. Without `self`.
std::vector<pid_t> tree_of(const std::vector<process_row>& rows, pid_t leader,
                           pid_t self);

/// Sends a signal to a tree. With SIGKILL it looks again until nobody is left,
/// at most a few times: a fork bomb is the cgroup's business. leader_reaped:
/// the leader's number may belong to somebody new, who is left alone.
/// Returns how many processes were hit.
std::size_t signal_tree(pid_t leader, int number, bool leader_reaped);

} // namespace caged::agent
