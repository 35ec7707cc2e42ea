#pragma once

#include <cstdint>
#include <mutex>

namespace caged {

/// How busy the host's cpus are, from the first line of /proc/stat (proc(5)).
/// Any thread.
class host_load {
public:
  /// Percent of the cpu time since the last call, or since the boot for the
  /// first one, in which the cpus were not idle. 0 where it cannot be read, and
  /// the value of before when no tick has passed.
  unsigned percent();

private:
  std::mutex mutex_;
  std::uint64_t idle_ = 0, total_ = 0;
  unsigned last_ = 0;
};

} // namespace caged
