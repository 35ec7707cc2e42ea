#include "nodes/oci/sys.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace caged::sys {

using namespace std::chrono_literals;

void unique_fd::reset(int fd) noexcept {
  if (fd_ >= 0)
    ::close(fd_);
  fd_ = fd;
}

std::string remedy(int error) {
  switch (error) {
  case EAGAIN:
    return "the node may start no more processes: raise pids.max of its "
           "cgroup (TasksMax= of its unit) or kernel.pid_max";
  case EMFILE:
    return "the node has no descriptors left: raise LimitNOFILE= of its unit";
  case ENFILE:
    return "the host has no descriptors left: raise fs.file-max";
  case ENOSPC:
  case EDQUOT:
    return "free space there, then try again";
  case EROFS:
    return "its file system is read-only: see dmesg, mend it and remount it";
  case ENOMEM:
    return "the host has no memory left";
  default:
    return {};
  }
}

tl::unexpected<failure> fail_host(ec code, std::string message, int error) {
  auto why = fail_errno(code, std::move(message), error);
  why.value().hint = remedy(error);
  return why;
}

result<void> descriptors_left(unsigned reserve) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  // The lowest free number is what the kernel gives: all below are in use.
  unique_fd lowest{::eventfd(0, EFD_CLOEXEC)};
  auto used = lowest ? static_cast<std::uint64_t>(lowest.get())
                     : std::uint64_t{limit.rlim_cur};
  if (used + reserve < limit.rlim_cur)
    return {};
  return fail(ec::resource,
              "the node has " + std::to_string(used) + " of at most "
                  + std::to_string(limit.rlim_cur)
                  + " descriptors open and keeps the last "
                  + std::to_string(reserve) + " for what runs already",
              remedy(EMFILE));
}

std::optional<std::string> read_small(const std::filesystem::path& path) {
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd)
    return std::nullopt;
  std::string text;
  char buffer[4096];
  for (;;) {
    auto n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return std::nullopt;
    if (n == 0)
      return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

int write_small(const std::filesystem::path& path, std::string_view text) {
  unique_fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (!fd)
    return errno;
  return ::write(fd.get(), text.data(), text.size()) < 0 ? errno : 0;
}

result<void> write_file(const std::filesystem::path& path,
                        std::string_view text, mode_t mode) {
  unique_fd fd{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)};
  if (!fd)
    return fail_errno(ec::io, "cannot create " + path.string(), errno);
  while (!text.empty()) {
    auto n = ::write(fd.get(), text.data(), text.size());
    if (n < 0 && errno != EINTR)
      return fail_errno(ec::io, "cannot write " + path.string(), errno);
    if (n > 0)
      text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

unique_fd pidfd_open(pid_t pid) {
  return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

int pidfd_signal(int pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) < 0 ? errno
                                                                         : 0;
}

namespace {

std::uint64_t start_time_of(pid_t pid, bool zombies) {
  auto text = read_small("/proc/" + std::to_string(pid) + "/stat");
  if (!text)
    return 0;
  // The name, field 2, may contain blanks and parentheses.
  auto at = text->rfind(')');
  if (at == std::string::npos || at + 2 >= text->size())
    return 0;
  if (auto state = (*text)[at + 2]; !zombies && (state == 'Z' || state == 'X'))
    return 0;
  for (int field = 2; field < 22; ++field) {
    at = text->find(' ', at + 1);
    if (at == std::string::npos)
      return 0;
  }
  return std::strtoull(text->c_str() + at, nullptr, 10);
}

} // namespace

std::uint64_t start_time(pid_t pid) {
  return start_time_of(pid, false);
}

std::uint64_t start_time_any(pid_t pid) {
  return start_time_of(pid, true);
}

bool wait_end(int pidfd, std::chrono::milliseconds timeout) {
  auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd item{pidfd, POLLIN, 0};
    auto n = ::poll(&item, 1, static_cast<int>(std::max(0ms, left).count()));
    if (n > 0)
      return true;
    if (n == 0 || errno != EINTR)
      return false;
  }
}

bool wait_until(std::chrono::milliseconds timeout,
                const std::function<bool()>& done) {
  auto deadline = std::chrono::steady_clock::now() + timeout;
  auto pause = 250us;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= deadline)
      return false;
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::microseconds>(pause * 2, 10ms);
  }
  return true;
}

result<void> set_host_name(pid_t pid, const std::string& name) {
  unique_fd space{::open(("/proc/" + std::to_string(pid) + "/ns/uts").c_str(),
                         O_RDONLY | O_CLOEXEC)};
  if (!space)
    return fail(ec::not_found, "there is no process " + std::to_string(pid));
  int error = 0;
  std::thread{[&] {
    if (::setns(space.get(), CLONE_NEWUTS) < 0
        || ::sethostname(name.data(), name.size()) < 0)
      error = errno;
  }}.join();
  if (error != 0)
    return fail_errno(ec::resource, "cannot set the host name " + name, error);
  return {};
}

result<command_result> run(const std::vector<std::string>& argv,
                           std::chrono::milliseconds timeout) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0)
    return fail_host(ec::resource, "cannot make a pipe", errno);
  unique_fd in{ends[0]}, out{ends[1]};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, out.get(), 2);
  std::vector<char*> args;
  args.reserve(argv.size() + 1);
  for (const auto& arg : argv)
    args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  pid_t pid = -1;
  auto error =
      ::posix_spawnp(&pid, args[0], &actions, nullptr, args.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    auto why = fail_host(error == ENOENT ? ec::host_setup : ec::resource,
                         "cannot run " + argv[0], error);
    if (error == ENOENT)
      why.value().hint = "install the program, or mend PATH";
    return why;
  }
  out.reset();
  command_result done;
  auto deadline = std::chrono::steady_clock::now() + timeout;
  bool late = false;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd item{in.get(), POLLIN, 0};
    auto n = ::poll(&item, 1, static_cast<int>(std::max(0ms, left).count()));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      late = true;
      ::kill(pid, SIGKILL);
      break;
    }
    char buffer[4096];
    auto got = ::read(in.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      break;
    if (done.output.size() < 1024 * 1024)
      done.output.append(buffer, static_cast<std::size_t>(got));
  }
  while (::waitpid(pid, &done.status, 0) < 0 && errno == EINTR)
    ;
  if (late)
    return fail(ec::timeout, argv[0] + " did not end within "
                                 + std::to_string(timeout.count()) + " ms");
  return done;
}

} // namespace caged::sys
