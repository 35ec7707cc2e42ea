#pragma once

#include <cstdint>
#include <optional>

namespace caged {

/// What the agent reports from inside its sandbox. A claim, not a fact: the
/// host checks it with is_plausible before it shows it to anybody.
struct agent_metrics {
  double cpu_percent = 0; ///< of one core, since the previous sample
  double cpu_seconds = 0; ///< cumulative
  double memory_used_bytes = 0;
  double memory_total_bytes = 0; ///< the limit
  double disk_used_bytes = 0;    ///< file system of the workspace
  double disk_total_bytes = 0;
  double processes = 0;
  /// Absent where there is no network interface but lo.
  std::optional<double> network_receive_bytes;
  std::optional<double> network_transmit_bytes;
};

/// False for NaN, infinite, negative, or above the limits given (bytes, count;
/// cpu_percent above cpus * 100 with a tenth of tolerance).
bool is_plausible(const agent_metrics& sample, unsigned cpus,
                  std::uint64_t memory_bytes, std::uint64_t disk_bytes,
                  unsigned pids) noexcept;

/// The host's own reading of a sandbox's cgroup and disk layer.
struct host_stats {
  double cpu_seconds = 0; ///< cumulative
  double cpu_throttled_seconds = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;
  std::uint64_t memory_peak_bytes = 0;
  std::uint64_t oom_kills = 0;
  std::uint64_t pids = 0;
  std::uint64_t pids_limit = 0;
  std::uint64_t pids_refused = 0; ///< forks refused by the limit
  std::uint64_t disk_bytes = 0;   ///< allocated on the host by the disk layer
  std::uint64_t disk_limit_bytes = 0;
};

} // namespace caged
