#include "agent/metrics.hpp"

#include <algorithm>

#include <dirent.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/processes.hpp"
#include "agent/small_file.hpp"

namespace caged::agent {

namespace {

template <class Use>
void each_line(std::string_view text, const Use& use) {
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

bool in_list(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    auto end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == name)
      return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

std::string_view field(std::string_view line, std::size_t index) {
  for (;; --index) {
    auto begin = line.find_first_not_of(' ');
    if (begin == std::string_view::npos)
      return {};
    line.remove_prefix(begin);
    auto end = std::min(line.find(' '), line.size());
    if (index == 0)
      return line.substr(0, end);
    line.remove_prefix(end);
  }
}

/// Absolute directory of `path` in the hierarchy whose subtree `mounted` is
/// seen at `point`. Empty for the hierarchy's root: its files speak of the
/// machine, if they exist at all.
std::string place(std::string_view path, std::string_view mounted,
                  std::string_view point) {
  if (path == "/" && mounted == "/")
    return {};
  if (mounted == "/")
    return std::string{point} + std::string{path};
  if (path.substr(0, mounted.size()) == mounted)
    return std::string{point} + std::string{path.substr(mounted.size())};
  return std::string{point}; // a cgroup namespace hides the rest
}

} // namespace

cgroup_place find_cgroup(const std::string& own, const std::string& mounts,
                         const std::string& controller) {
  std::string v1_path, v2_path;
  each_line(own, [&](std::string_view line) {
    auto first = line.find(':');
    auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos)
      return;
    auto names = line.substr(first + 1, second - first - 1);
    if (names.empty())
      v2_path = line.substr(second + 1);
    else if (in_list(names, controller))
      v1_path = line.substr(second + 1);
  });
  cgroup_place v1, v2;
  each_line(mounts, [&](std::string_view line) {
    auto dash = line.find(" - ");
    if (dash == std::string_view::npos)
      return;
    auto type = field(line.substr(dash + 3), 0);
    auto options = field(line.substr(dash + 3), 2);
    if (type == "cgroup" && !v1_path.empty() && in_list(options, controller))
      v1.directory = place(v1_path, field(line, 3), field(line, 4));
    else if (type == "cgroup2" && !v2_path.empty())
      v2 = {place(v2_path, field(line, 3), field(line, 4)), true};
  });
  return v1_path.empty() ? v2 : v1;
}

metrics_source::metrics_source(std::string workspace, std::string root)
    : workspace_{std::move(workspace)}, root_{std::move(root)} {
  auto own = read_small(root_ + "/proc/self/cgroup");
  auto mounts = read_small(root_ + "/proc/self/mountinfo", 64 * 1024);
  cpu_ = find_cgroup(own, mounts, "cpuacct");
  memory_ = find_cgroup(own, mounts, "memory");
}

void metrics_source::read_cpu(agent_metrics& to) {
  std::optional<double> seconds;
  if (!cpu_.directory.empty()) {
    if (cpu_.v2) {
      if (auto usec = keyed_number(
              read_small(root_ + cpu_.directory + "/cpu.stat"), "usage_usec"))
        seconds = static_cast<double>(*usec) / 1e6;
    } else if (auto ns = leading_number(
                   read_small(root_ + cpu_.directory + "/cpuacct.usage"))) {
      seconds = static_cast<double>(*ns) / 1e9;
    }
  }
  auto rows = list_processes(root_ + "/proc");
  to.processes = static_cast<double>(rows.size());
  if (!seconds) {
    std::uint64_t ticks = 0;
    for (const auto& row : rows)
      ticks += row.cpu_ticks;
    seconds = static_cast<double>(ticks)
              / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  // The sum over processes drops when one goes unreaped: a counter must not.
  highest_seconds_ = std::max(highest_seconds_, *seconds);
  to.cpu_seconds = highest_seconds_;
  auto now = std::chrono::steady_clock::now();
  if (last_time_) {
    std::chrono::duration<double> passed = now - *last_time_;
    // Over less than this a tick more or less is all one would see.
    if (passed.count() < 0.2) {
      to.cpu_percent = last_percent_;
      return;
    }
    last_percent_ = (to.cpu_seconds - last_seconds_) / passed.count() * 100;
    if (cpus_)
      last_percent_ = std::min(last_percent_, *cpus_ * 100);
  }
  to.cpu_percent = last_percent_;
  last_seconds_ = to.cpu_seconds;
  last_time_ = now;
}

void metrics_source::read_memory(agent_metrics& to) const {
  auto kb = [&](std::string_view key) {
    auto text = read_small(root_ + "/proc/meminfo");
    return static_cast<double>(keyed_number(text, key).value_or(0)) * 1024;
  };
  auto total = memory_limit_.value_or(kb("MemTotal"));
  std::optional<std::uint64_t> used, limit;
  if (!memory_.directory.empty()) {
    auto base = root_ + memory_.directory;
    auto stat = read_small(base + "/memory.stat");
    used = leading_number(read_small(
        base + (memory_.v2 ? "/memory.current" : "/memory.usage_in_bytes")));
    // "max" in v2 is no number: no limit.
    limit = leading_number(read_small(
        base + (memory_.v2 ? "/memory.max" : "/memory.limit_in_bytes")));
    auto cache = keyed_number(stat, memory_.v2 ? "inactive_file"
                                               : "total_inactive_file");
    if (used)
      used = *used - std::min(*used, cache.value_or(0));
  }
  // Without a limit v1 shows a number near 2^63.
  if (limit)
    total = std::min(total, static_cast<double>(*limit));
  if (!used) {
    used = 0;
    auto proc = root_ + "/proc";
    if (auto* dir = ::opendir(proc.c_str())) {
      while (auto* entry = ::readdir(dir)) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
          continue;
        auto text = read_small(proc + "/" + entry->d_name + "/statm", 256);
        auto resident = leading_number(field(text, 1)).value_or(0);
        auto shared = leading_number(field(text, 2)).value_or(0);
        *used += (resident - std::min(resident, shared)) * 4096;
      }
      ::closedir(dir);
    }
  }
  to.memory_total_bytes = total;
  to.memory_used_bytes = std::min(static_cast<double>(*used), total);
}

void metrics_source::read_disk(agent_metrics& to) const {
  struct statvfs disk {};
  if (::statvfs(workspace_.c_str(), &disk) != 0 && ::statvfs("/", &disk) != 0)
    return;
  auto block = static_cast<double>(disk.f_frsize);
  to.disk_total_bytes = static_cast<double>(disk.f_blocks) * block;
  to.disk_used_bytes =
      static_cast<double>(disk.f_blocks - disk.f_bfree) * block;
}

void metrics_source::read_network(agent_metrics& to) const {
  auto text = read_small(root_ + "/proc/net/dev");
  each_line(text, [&](std::string_view line) {
    auto colon = line.find(':');
    auto name = line.substr(0, colon);
    name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
    if (colon == std::string_view::npos || name == "lo")
      return;
    auto counters = line.substr(colon + 1);
    auto number = [&](std::size_t index) {
      return static_cast<double>(
          leading_number(field(counters, index)).value_or(0));
    };
    to.network_receive_bytes = to.network_receive_bytes.value_or(0) + number(0);
    to.network_transmit_bytes =
        to.network_transmit_bytes.value_or(0) + number(8);
  });
}

agent_metrics metrics_source::sample() {
  agent_metrics out;
  read_cpu(out);
  read_memory(out);
  read_disk(out);
  read_network(out);
  return out;
}

} // namespace caged::agent
