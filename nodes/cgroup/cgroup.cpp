#include "nodes/cgroup/cgroup.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include <unistd.h>

#include "nodes/oci/sys.hpp"

namespace caged::cgroup {

namespace fs = std::filesystem;

namespace {

/// "max" and v1's "no limit" (a number near 2^63) are 0: no limit of ours.
std::uint64_t number(const fs::path& file) {
  auto text = sys::read_small(file);
  if (!text)
    return 0;
  auto value = std::strtoull(text->c_str(), nullptr, 10);
  return value >= 0x7000000000000000ULL ? 0 : value;
}

/// A "key value" line of a file; 0 when absent.
std::uint64_t keyed(const fs::path& file, std::string_view key) {
  auto text = sys::read_small(file);
  if (!text)
    return 0;
  std::istringstream lines{*text};
  std::string name;
  std::uint64_t value = 0;
  while (lines >> name >> value)
    if (name == key)
      return value;
  return 0;
}

void append_pids(const fs::path& dir, std::vector<std::int32_t>& out) {
  if (auto text = sys::read_small(dir / "cgroup.procs")) {
    std::istringstream lines{*text};
    std::int32_t pid = 0;
    while (lines >> pid)
      if (pid > 0)
        out.push_back(pid);
  }
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator{dir, ignored})
    if (item.is_directory(ignored) && !item.is_symlink(ignored))
      append_pids(item.path(), out);
}

/// rmdir(2) from the leaves up. 0 or the first errno that is not ENOENT.
int remove_dirs(const fs::path& dir) {
  if (::rmdir(dir.c_str()) == 0 || errno == ENOENT)
    return 0;
  auto error = errno;
  std::error_code ignored;
  bool deeper = false;
  for (const auto& item : fs::directory_iterator{dir, ignored})
    if (item.is_directory(ignored) && !item.is_symlink(ignored)) {
      deeper = true;
      if (auto inner = remove_dirs(item.path()); inner != 0)
        return inner;
    }
  if (!deeper)
    return error;
  return ::rmdir(dir.c_str()) == 0 || errno == ENOENT ? 0 : errno;
}

} // namespace

layout detect(const fs::path& root) {
  std::error_code ignored;
  if (fs::exists(root / "cgroup.controllers", ignored))
    return layout::v2;
  if (!fs::is_directory(root / "memory", ignored)
      && !fs::is_directory(root / "pids", ignored))
    return layout::none;
  return fs::exists(root / "unified" / "cgroup.controllers", ignored)
             ? layout::hybrid
             : layout::v1;
}

bool unified_has_controllers(const fs::path& root) {
  auto text = sys::read_small(root / "unified" / "cgroup.controllers");
  return text && text->find_first_not_of(" \n") != std::string::npos;
}

tree::tree(fs::path root) : root_{std::move(root)}, kind_{detect(root_)} {}

std::vector<std::string> tree::missing_controllers() const {
  std::vector<std::string> missing;
  if (kind_ == layout::v2) {
    auto text = sys::read_small(root_ / "cgroup.controllers");
    std::istringstream words{text.value_or("")};
    std::set<std::string> have{std::istream_iterator<std::string>{words}, {}};
    for (auto name : {"memory", "cpu", "pids"})
      if (have.count(name) == 0)
        missing.emplace_back(name);
    return missing;
  }
  std::error_code ignored;
  for (auto name : {"memory", "cpu", "cpuacct", "pids", "freezer"})
    if (!fs::exists(root_ / name / "cgroup.procs", ignored))
      missing.emplace_back(name);
  return missing;
}

bool tree::swap_accounting() const {
  std::error_code ignored;
  if (kind_ != layout::v2)
    return fs::exists(root_ / "memory" / "memory.memsw.limit_in_bytes",
                      ignored);
  // The root group has no memory.swap.max: any child with the controller has.
  for (const auto& item : fs::directory_iterator{root_, ignored})
    if (fs::exists(item.path() / "memory.max", ignored))
      return fs::exists(item.path() / "memory.swap.max", ignored);
  return false;
}

fs::path tree::dir(const std::string& group,
                   const std::string& controller) const {
  auto base = kind_ == layout::v2 ? root_ : root_ / controller;
  return base / fs::path{group}.relative_path();
}

std::vector<fs::path> tree::hierarchies() const {
  if (kind_ == layout::v2)
    return {root_};
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator{root_, ignored})
    // Links are second names of joined controllers ("cpu" for "cpu,cpuacct").
    if (!item.is_symlink(ignored) && item.is_directory(ignored))
      found.push_back(item.path());
  return found;
}

bool tree::exists(const std::string& group) const {
  std::error_code ignored;
  for (const auto& base : hierarchies())
    if (fs::exists(base / fs::path{group}.relative_path(), ignored))
      return true;
  return false;
}

std::vector<std::string> tree::children(const std::string& group) const {
  std::set<std::string> names;
  std::error_code ignored;
  for (const auto& base : hierarchies())
    for (const auto& item : fs::directory_iterator{
             base / fs::path{group}.relative_path(), ignored})
      if (item.is_directory(ignored))
        names.insert(item.path().filename());
  return {names.begin(), names.end()};
}

std::vector<std::int32_t> tree::processes(const std::string& group) const {
  std::vector<std::int32_t> pids;
  // Half-made v1 groups: crun enters the hierarchies one after another.
  for (const auto& base : hierarchies())
    append_pids(base / fs::path{group}.relative_path(), pids);
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

result<std::vector<std::int32_t>>
tree::kill(const std::string& group, std::chrono::milliseconds timeout) const {
  std::set<std::int32_t> seen;
  auto empty = sys::wait_until(timeout, [&] {
    auto pids = processes(group);
    if (pids.empty())
      return true;
    seen.insert(pids.begin(), pids.end());
    // On v1 a frozen process does not die before it is thawed.
    if (kind_ == layout::v2) {
      if (sys::write_small(dir(group, {}) / "cgroup.kill", "1") == 0)
        return false; // since Linux 5.14
      sys::write_small(dir(group, {}) / "cgroup.freeze", "0");
    } else {
      sys::write_small(dir(group, "freezer") / "freezer.state", "THAWED");
    }
    for (auto pid : pids) {
      auto handle = sys::pidfd_open(pid);
      // Between the reading and the opening the pid may have changed hands.
      auto where = sys::read_small("/proc/" + std::to_string(pid) + "/cgroup");
      if (handle && where && where->find(group) != std::string::npos)
        sys::pidfd_signal(handle.get(), SIGKILL);
    }
    return false;
  });
  if (!empty)
    return fail(ec::timeout,
                "processes in cgroup " + group + " outlived SIGKILL for "
                    + std::to_string(timeout.count()) + " ms",
                "look for processes in state D: ps -eo pid,stat,cmd");
  return std::vector<std::int32_t>{seen.begin(), seen.end()};
}

result<void> tree::remove(const std::string& group,
                          std::chrono::milliseconds timeout) const {
  int error = 0;
  auto gone = sys::wait_until(timeout, [&] {
    error = 0;
    for (const auto& base : hierarchies())
      if (auto inner = remove_dirs(base / fs::path{group}.relative_path());
          inner != 0)
        error = inner;
    return error == 0;
  });
  if (!gone)
    return fail_errno(ec::resource, "cannot remove cgroup " + group, error);
  return {};
}

result<void> tree::freeze(const std::string& group, bool frozen,
                          std::chrono::milliseconds timeout) const {
  auto base = dir(group, "freezer");
  std::error_code ignored;
  if (!fs::exists(base, ignored))
    return fail(ec::not_found, "there is no cgroup " + group);
  auto v2 = kind_ == layout::v2;
  auto file = base / (v2 ? "cgroup.freeze" : "freezer.state");
  std::string_view value =
      v2 ? (frozen ? "1" : "0") : (frozen ? "FROZEN" : "THAWED");
  if (auto error = sys::write_small(file, value); error != 0)
    return fail_errno(ec::io, "cannot write " + file.string(), error);
  auto done = sys::wait_until(timeout, [&] {
    if (v2)
      return keyed(base / "cgroup.events", "frozen") == (frozen ? 1U : 0U);
    auto state = sys::read_small(file);
    return state && state->rfind(value, 0) == 0;
  });
  if (!done) {
    // Half frozen is neither: go back to what can be used.
    if (frozen)
      sys::write_small(file, v2 ? "0" : "THAWED");
    return fail(ec::timeout, std::string{"cgroup "} + group + " was not "
                                 + (frozen ? "frozen" : "thawed") + " within "
                                 + std::to_string(timeout.count()) + " ms");
  }
  return {};
}

result<void> tree::limit(const std::string& group,
                         const group_limits& limits) const {
  if (!exists(group))
    return fail(ec::not_found, "there is no cgroup " + group);
  auto memory = std::to_string(limits.memory_bytes);
  auto quota = std::to_string(std::uint64_t{limits.cpus} * 100'000);
  struct setting {
    fs::path file;
    std::string value;
  };
  std::vector<setting> all = {
      {dir(group, "pids") / "pids.max", std::to_string(limits.pids)}};
  if (kind_ == layout::v2) {
    all.push_back({dir(group, {}) / "memory.max", memory});
    all.push_back({dir(group, {}) / "cpu.max", quota + " 100000"});
  } else {
    auto bytes = dir(group, "memory") / "memory.limit_in_bytes";
    auto with_swap = dir(group, "memory") / "memory.memsw.limit_in_bytes";
    std::error_code ignored;
    bool counts_swap = fs::exists(with_swap, ignored);
    // The kernel keeps the one at or below the other: which goes first depends
    // on the direction.
    auto now = sys::read_small(bytes);
    if (counts_swap && now
        && std::strtoull(now->c_str(), nullptr, 10) < limits.memory_bytes)
      all.push_back({with_swap, memory});
    all.push_back({bytes, memory});
    if (counts_swap)
      all.push_back({with_swap, memory});
    all.push_back({dir(group, "cpu") / "cpu.cfs_quota_us", quota});
  }
  for (const auto& [file, value] : all)
    if (auto error = sys::write_small(file, value); error != 0)
      return fail_errno(ec::resource,
                        "cannot write " + value + " to " + file.string(),
                        error);
  return {};
}

std::uint64_t tree::oom_kills(const std::string& group) const {
  auto file = kind_ == layout::v2 ? "memory.events" : "memory.oom_control";
  return keyed(dir(group, "memory") / file, "oom_kill");
}

result<host_stats> tree::stats(const std::string& group) const {
  if (!exists(group))
    return fail(ec::not_found, "there is no cgroup " + group);
  // Without descriptors every file below would read as 0: counters that jump.
  if (!sys::read_small(dir(group, "memory") / "cgroup.procs")
      && (errno == EMFILE || errno == ENFILE))
    return sys::fail_host(ec::io, "cannot read cgroup " + group, errno);
  host_stats out;
  auto memory = dir(group, "memory"), cpu = dir(group, "cpu"),
       pids = dir(group, "pids");
  if (kind_ == layout::v2) {
    out.cpu_seconds =
        static_cast<double>(keyed(cpu / "cpu.stat", "usage_usec")) / 1e6;
    out.cpu_throttled_seconds =
        static_cast<double>(keyed(cpu / "cpu.stat", "throttled_usec")) / 1e6;
    out.memory_bytes = number(memory / "memory.current");
    out.memory_limit_bytes = number(memory / "memory.max");
    out.memory_peak_bytes = number(memory / "memory.peak"); // since Linux 5.19
  } else {
    out.cpu_seconds =
        static_cast<double>(number(dir(group, "cpuacct") / "cpuacct.usage"))
        / 1e9;
    out.cpu_throttled_seconds =
        static_cast<double>(keyed(cpu / "cpu.stat", "throttled_time")) / 1e9;
    out.memory_bytes = number(memory / "memory.usage_in_bytes");
    out.memory_limit_bytes = number(memory / "memory.limit_in_bytes");
    out.memory_peak_bytes = number(memory / "memory.max_usage_in_bytes");
  }
  out.oom_kills = oom_kills(group);
  out.pids = number(pids / "pids.current");
  out.pids_limit = number(pids / "pids.max");
  out.pids_refused = keyed(pids / "pids.events", "max");
  return out;
}

} // namespace caged::cgroup
