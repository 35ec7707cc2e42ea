#include "nodes/host_load.hpp"

#include <fstream>
#include <string>

namespace caged {

unsigned host_load::percent() {
  std::ifstream stat{"/proc/stat"};
  std::string word;
  if (!(stat >> word) || word != "cpu")
    return 0;
  // user nice system idle iowait irq softirq steal; guest time is in user.
  std::uint64_t total = 0, idle = 0, value = 0;
  for (int field = 0; field < 8 && stat >> value; ++field) {
    total += value;
    if (field == 3 || field == 4)
      idle += value;
  }
  std::lock_guard guard{mutex_};
  auto span = total - total_;
  // iowait may go backwards (proc(5)).
  auto rested = idle > idle_ ? idle - idle_ : 0;
  if (span == 0 || total < total_)
    return last_;
  last_ =
      rested >= span ? 0 : static_cast<unsigned>(100 * (span - rested) / span);
  total_ = total;
  idle_ = idle;
  return last_;
}

} // namespace caged
