#include "mcp/process_tree.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <set>
#include <string>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mcp/workspace.hpp"

namespace caged::mcp {

namespace {

process_line parse(std::string_view text) {
  process_line out;
  // The name in brackets is the process's own choice: it may hold ") ".
  const auto name_end = text.rfind(')');
  if (name_end == std::string_view::npos || name_end + 2 >= text.size())
    return out;
  out.state = text[name_end + 2];
  std::uint64_t fields[19] = {}; // 4 (parent) to 22 (start)
  const auto* at = text.data() + name_end + 3;
  const auto* const end = text.data() + text.size();
  for (auto& field : fields) {
    while (at != end && *at == ' ')
      ++at;
    std::from_chars(at, end, field); // a negative one (tpgid) is not needed
    while (at != end && *at != ' ')
      ++at;
  }
  std::from_chars(text.data(), end, out.pid);
  out.parent = static_cast<pid_t>(fields[0]);
  out.group = static_cast<pid_t>(fields[1]);
  out.session = static_cast<pid_t>(fields[2]);
  out.start = fields[18];
  return out;
}

process_line read_line(int proc, const std::string& pid) {
  owned_fd fd{::openat(proc, (pid + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
  char text[1024];
  const auto got = fd ? ::read(fd.get(), text, sizeof text) : 0;
  return got <= 0 ? process_line{}
                  : parse({text, static_cast<std::size_t>(got)});
}

bool by_parent(const process_line& a, const process_line& b) {
  return a.parent < b.parent;
}

/// The process of that line and nobody who got its number since.
int send(const process_line& to, int number) {
  // By number: glibc 2.36's <sys/pidfd.h> has no extern "C".
  owned_fd fd{static_cast<int>(::syscall(SYS_pidfd_open, to.pid, 0))};
  if (!fd && errno == ENOSYS)
    return ::kill(to.pid, number) == 0 ? 0 : errno;
  if (!fd || look_up(to.pid).start != to.start)
    return ESRCH;
  return ::syscall(SYS_pidfd_send_signal, fd.get(), number, nullptr, 0) == 0
             ? 0
             : errno;
}

} // namespace

process_line look_up(pid_t pid) {
  return read_line(AT_FDCWD, "/proc/" + std::to_string(pid));
}

std::vector<process_line> list_processes() {
  std::vector<process_line> out;
  auto* dir = ::opendir("/proc");
  if (dir == nullptr)
    return out;
  while (auto* entry = ::readdir(dir)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
      continue;
    if (auto line = read_line(::dirfd(dir), entry->d_name); line.pid > 0)
      out.push_back(line);
  }
  ::closedir(dir);
  std::sort(out.begin(), out.end(), by_parent);
  return out;
}

std::vector<process_line> descendants(const std::vector<process_line>& all,
                                      pid_t root) {
  std::vector<process_line> out;
  process_line key;
  key.parent = root;
  for (std::size_t next = 0;; ++next) {
    const auto [from, to] =
        std::equal_range(all.begin(), all.end(), key, by_parent);
    out.insert(out.end(), from, to);
    // A listing is no snapshot: a number that was given away twice may close a
    // circle.
    if (next >= out.size() || out.size() > all.size())
      return out;
    key.parent = out[next].pid;
  }
}

signal_hits signal_below(pid_t root, int number) {
  constexpr int rounds = 16;
  signal_hits out;
  std::set<std::pair<pid_t, std::uint64_t>> seen;
  const auto own_group = ::getpgrp();
  for (int round = 0; round < (number == SIGKILL ? rounds : 1); ++round) {
    auto tree = descendants(list_processes(), root);
    // Who forks faster than we look cannot escape from its group.
    std::set<pid_t> groups;
    if (number == SIGKILL)
      for (const auto& each : tree)
        if (each.group > 1 && each.group != own_group
            && groups.insert(each.group).second)
          ::kill(-each.group, SIGKILL);
    bool fresh = false;
    for (const auto& each : tree) {
      if (each.zombie() || !seen.emplace(each.pid, each.start).second)
        continue;
      fresh = true;
      const auto error = send(each, number);
      if (error == 0)
        ++out.hit;
      else if (error == EPERM)
        ++out.denied;
      if (number == SIGTERM || number == SIGHUP)
        send(each, SIGCONT);
    }
    if (!fresh)
      break;
  }
  return out;
}

void end_strays(std::uint64_t since) {
  constexpr int rounds = 16;
  const auto own_session = ::getsid(0);
  for (int round = 0; round < rounds; ++round) {
    const auto all = list_processes();
    bool any = false;
    for (const auto& child : descendants(all, ::getpid())) {
      if (child.parent != ::getpid() || child.session == own_session
          || child.start < since)
        continue;
      any = true;
      signal_below(child.pid, SIGKILL);
      if (send(child, SIGKILL) == 0 || child.zombie())
        ::waitpid(child.pid, nullptr, __WALL);
    }
    if (!any)
      return;
  }
}

} // namespace caged::mcp
