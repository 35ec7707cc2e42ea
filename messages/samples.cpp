#include "messages/samples.hpp"

#include <cmath>

namespace caged {

namespace {

/// Finite, not negative, at most max. NaN fails every comparison.
bool within(double value, double max) noexcept {
  return std::isfinite(value) && value >= 0 && value <= max;
}

/// Cumulative counters have no limit of their own; beyond this one a double no
/// longer counts bytes exactly.
constexpr double counter_max = 9007199254740992.0; // 2^53

} // namespace

bool is_plausible(const agent_metrics& sample, unsigned cpus,
                  std::uint64_t memory_bytes, std::uint64_t disk_bytes,
                  unsigned pids) noexcept {
  auto memory = static_cast<double>(memory_bytes);
  auto disk = static_cast<double>(disk_bytes);
  return within(sample.cpu_percent, static_cast<double>(cpus) * 110.0)
         && within(sample.cpu_seconds, counter_max)
         && within(sample.memory_used_bytes, memory)
         && within(sample.memory_total_bytes, memory)
         && within(sample.disk_used_bytes, disk)
         && within(sample.disk_total_bytes, disk)
         && within(sample.processes, static_cast<double>(pids))
         && within(sample.network_receive_bytes.value_or(0), counter_max)
         && within(sample.network_transmit_bytes.value_or(0), counter_max);
}

} // namespace caged
