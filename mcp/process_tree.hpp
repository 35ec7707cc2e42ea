#pragma once

#include <cstdint>
#include <vector>

#include <sys/types.h>

namespace caged::mcp {

/// One line of /proc/PID/stat, as far as it is needed (proc(5)).
struct process_line {
  pid_t pid = 0, parent = 0, group = 0, session = 0;
  char state = '?';
  std::uint64_t start = 0; ///< Clock ticks since boot.
  bool zombie() const { return state == 'Z' || state == 'X'; }
};

/// Every process that /proc shows, in the order of their parents' numbers.
std::vector<process_line> list_processes();
/// One process; pid 0 when there is none.
process_line look_up(pid_t pid);
/// Who descends from `root`, without it.
std::vector<process_line> descendants(const std::vector<process_line>& all,
                                      pid_t root);

/// How many processes a signal reached, and how many belong to somebody else.
struct signal_hits {
  std::size_t hit = 0, denied = 0;
};

/// Sends a signal to everybody below `root` who is no zombie. Behind SIGTERM
/// and SIGHUP a stopped process is continued, so that it can act. SIGKILL goes
/// to whole process groups first and looks again until nobody new is found, a
/// few times: who calls repeats it until the tree is gone. `root` must be a
/// child of ours that nobody reaps meanwhile. Any thread; about 10 us for each
/// process of the machine.
signal_hits signal_below(pid_t root, int number);

/// Kills and reaps the orphans of a keeper that was killed itself: children of
/// ours in a session that is not ours, not older than `since`. Commands live in
/// sessions of their own and no way leads back, and nothing else that we start
/// calls setsid(2).
void end_strays(std::uint64_t since);

} // namespace caged::mcp
