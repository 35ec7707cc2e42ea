#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "messages/samples.hpp"

namespace caged::agent {

/// Where a cgroup controller's files of this process are.
struct cgroup_place {
  std::string directory; ///< empty: not visible, or the root of the hierarchy
  bool v2 = false;
};

/// From the texts of /proc/self/cgroup and /proc/self/mountinfo (cgroups(7),
/// proc(5)): the directory of `controller` ("cpuacct", "memory"). A v1
/// hierarchy goes before v2, which in a hybrid layout has no controllers.
cgroup_place find_cgroup(const std::string& own, const std::string& mounts,
                         const std::string& controller);

/// Measures the sandbox from inside.
/// - cpu: cgroup v1 cpuacct.usage, v2 cpu.stat usage_usec; where the cgroup is
///   not visible, the times of all processes of the PID namespace and of the
///   children they have waited for.
/// - memory used: usage_in_bytes (v1) or memory.current (v2), less the file
///   cache that can be dropped at once (inactive_file), as `kubectl top` counts
///   it; else the sum of the processes' resident pages that are not shared.
///   total: the cgroup's limit, else CAGED_MEMORY_BYTES, else MemTotal.
/// - disk: statvfs of the workspace. processes: of the PID namespace.
/// - network: every interface but lo, absent where there is none.
class metrics_source {
public:
  /// root is put before /proc and cgroup paths (recorded trees in tests).
  explicit metrics_source(std::string workspace, std::string root = {});

  agent_metrics sample();

  /// From outside, where the sandbox cannot see its cgroup; 0: as before.
  void change_limits(std::uint64_t memory_bytes, std::uint64_t cpus) {
    if (memory_bytes != 0)
      memory_limit_ = static_cast<double>(memory_bytes);
    if (cpus != 0)
      cpus_ = static_cast<double>(cpus);
  }

private:
  void read_cpu(agent_metrics& to);
  void read_memory(agent_metrics& to) const;
  void read_disk(agent_metrics& to) const;
  void read_network(agent_metrics& to) const;

  std::string workspace_;
  std::string root_;
  cgroup_place cpu_, memory_;
  std::optional<double> memory_limit_, cpus_;
  double last_seconds_ = 0;
  std::optional<std::chrono::steady_clock::time_point> last_time_;
  double last_percent_ = 0;
  double highest_seconds_ = 0;
};

} // namespace caged::agent
