#include "agent/spawn.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "messages/text.hpp"

namespace caged::agent {

namespace {

/// Pointers into a spawn_request, for the child.
struct prepared {
  const spawn_request* what;
  std::vector<std::string> candidates;
  std::vector<char*> argv, env, script; ///< script: /bin/sh candidate argv...
  std::string oom;
  std::string name; ///< for messages, harmless
};

std::vector<char*> pointers(const std::vector<std::string>& from) {
  std::vector<char*> out;
  out.reserve(from.size() + 1);
  for (const auto& text : from)
    out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

void say(const char* text) {
  [[maybe_unused]] auto ignored = ::write(2, text, std::strlen(text));
}

[[noreturn]] void refuse(const prepared& with, const char* what, int error,
                         int code) {
  say("caged-agent: ");
  say(with.name.c_str());
  say(": ");
  say(what);
  if (error != 0) {
    const char* text = ::strerrordesc_np(error);
    say(text ? text : "error");
  }
  say("\n");
  ::_exit(code);
}

/// Raw system calls: glibc's wrappers for ids talk to other threads, which a
/// child that shares the parent's memory must not do.
bool become(const identity& user) {
  if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0)
    return false;
  return ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) == 0
         && ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) == 0;
}

/// Runs in the child of vfork, on the parent's memory: it must neither return
/// nor allocate.
[[noreturn]] void child_main(const prepared& with) {
  const auto& what = *with.what;
  ::setsid();
  if (::dup2(what.in, 0) < 0 || ::dup2(what.out, 1) < 0
      || ::dup2(what.err, 2) < 0)
    ::_exit(126);
  if (what.tty)
    ::ioctl(0, TIOCSCTTY, 0);
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number)
    ::sigaction(number, &plain, nullptr); // ignored ones would be inherited
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  if (!with.oom.empty()) {
    auto fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
      [[maybe_unused]] auto ignored =
          ::write(fd, with.oom.data(), with.oom.size());
      ::close(fd);
    }
  }
  if (what.change_user && !become(what.user))
    refuse(with, "cannot change the user: ", errno, 126);
  if (::fchdir(what.cwd) != 0)
    refuse(with, "cannot enter the working directory: ", errno, 126);
  int found = ENOENT;
  for (const auto& candidate : with.candidates) {
    ::execve(candidate.c_str(), with.argv.data(), with.env.data());
    if (errno == ENOEXEC) {
      // A script without "#!", as execvp(3) and shells treat it.
      auto** script = const_cast<char**>(with.script.data());
      script[1] = const_cast<char*>(candidate.c_str());
      ::execve("/bin/sh", script, with.env.data());
    }
    if (errno != ENOENT && errno != ENOTDIR)
      found = errno;
  }
  if (found == ENOENT)
    refuse(with, "command not found", 0, 127);
  refuse(with, "", found, 126);
}

std::vector<std::string> candidates_of(const spawn_request& what) {
  if (what.program.find('/') != std::string::npos)
    return {what.program};
  std::string_view path;
  for (const auto& pair : what.env)
    if (pair.rfind("PATH=", 0) == 0)
      path = std::string_view{pair}.substr(5);
  std::vector<std::string> out;
  while (!what.program.empty()) {
    auto end = path.find(':');
    std::string dir{path.substr(0, end)};
    out.push_back((dir.empty() ? "." : dir) + "/" + what.program);
    if (end == std::string_view::npos)
      break;
    path.remove_prefix(end + 1);
  }
  return out;
}

} // namespace

result<pid_t> spawn(const spawn_request& what) {
  prepared with;
  with.what = &what;
  with.candidates = candidates_of(what);
  with.argv = pointers(what.argv);
  with.env = pointers(what.env);
  with.script.push_back(const_cast<char*>("sh"));
  with.script.push_back(nullptr); // the candidate
  for (std::size_t i = 1; i < with.argv.size(); ++i)
    with.script.push_back(with.argv[i]);
  if (what.oom_score_adj != 0)
    with.oom = std::to_string(what.oom_score_adj);
  with.name = escape_text(what.program, 128);
  // Nothing may interrupt the child while it stands on our stack.
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  // posix_spawn(3) can neither set a controlling terminal nor explain itself
  // on stderr; the child makes system calls only.
  // NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork)
  auto pid = ::vfork();
  if (pid == 0)
    // NOLINTNEXTLINE(clang-analyzer-unix.Vfork)
    child_main(with);
  auto error = errno;
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0)
    return fail_errno(ec::resource, "no process can be started", error);
  return pid;
}

result<pipe_pair> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0)
    return fail_errno(ec::resource, "no pipe can be made", errno);
  return pipe_pair{unique_fd{fds[0]}, unique_fd{fds[1]}};
}

result<pty_pair> make_pty(unsigned rows, unsigned cols) {
  pty_pair out;
  out.master.reset(
      ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!out.master)
    return fail_errno(ec::resource, "no terminal: /dev/ptmx", errno);
  int unlock = 0;
  if (::ioctl(out.master.get(), TIOCSPTLCK, &unlock) != 0)
    return fail_errno(ec::resource, "no terminal can be unlocked", errno);
  // By the master and not by /dev/pts/N: no path that a tenant could replace.
  out.slave.reset(
      ::ioctl(out.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!out.slave)
    return fail_errno(ec::resource, "no terminal can be opened", errno);
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(cols);
  ::ioctl(out.master.get(), TIOCSWINSZ, &size);
  return out;
}

} // namespace caged::agent
