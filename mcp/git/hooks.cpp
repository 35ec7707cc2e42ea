#include "mcp/git/hooks.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

using clock = std::chrono::steady_clock;
constexpr std::size_t output_most = 64U << 10U;

std::vector<std::string> hook_environment() {
  std::vector<std::string> env{"GIT_EDITOR=:"};
  bool path = false;
  for (const auto* name :
       {"PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR", "TZ"})
    if (const char* value = std::getenv(name)) {
      env.push_back(std::string{name} + "=" + value);
      path = path || std::string_view{name} == "PATH";
    }
  if (!path)
    env.emplace_back("PATH=/usr/local/bin:/usr/bin:/bin");
  return env;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (auto& text : texts)
    all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

result<pid_t> start(const std::string& program,
                    std::vector<std::string> arguments, int cwd, int output) {
  arguments.insert(arguments.begin(), program);
  auto env = hook_environment();
  const auto argv = pointers(arguments), envp = pointers(env);
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  ::posix_spawn_file_actions_adddup2(&actions, output, 2);
  ::posix_spawn_file_actions_addfchdir_np(&actions, cwd);
  sigset_t none{}, some{};
  sigemptyset(&none);
  sigfillset(&some);
  sigdelset(&some, SIGKILL);
  sigdelset(&some, SIGSTOP);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &some);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK
                                              | POSIX_SPAWN_SETSIGDEF
                                              | POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, &attributes,
                                  argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0)
    return fail_errno(ec::io, "cannot start the hook " + caged::quoted(program),
                      error);
  return pid;
}

/// Reads until the hook ends; false when it did not by itself.
bool collect(pid_t pid, int output, cancellation& cancel,
             clock::time_point until, std::string& text, int& status) {
  bool open = true;
  for (;;) {
    // A hook's background child may hold the pipe: the hook's end counts.
    if (::waitpid(pid, &status, WNOHANG) == pid)
      open = false;
    std::array<char, 4096> piece{};
    for (ssize_t n = 0; (n = ::read(output, piece.data(), piece.size())) > 0;)
      text.append(piece.data(),
                  std::min(static_cast<std::size_t>(n),
                           output_most - std::min(output_most, text.size())));
    if (!open)
      return true;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - clock::now());
    if (left.count() <= 0 || cancel.cancelled())
      return false;
    std::array<pollfd, 2> fds{{{output, POLLIN, 0}, {cancel.fd(), POLLIN, 0}}};
    // 20 ms: the end of the pipe is not the end of the hook.
    ::poll(fds.data(), fds.size(),
           static_cast<int>(std::min<std::int64_t>(left.count(), 20)));
  }
}

} // namespace

result<void> run_hook(const workspace& where, const std::string& hook,
                      const std::vector<std::string>& arguments,
                      const std::string& worktree, cancellation& cancel,
                      std::chrono::milliseconds timeout) {
  auto program = where.open_at(hook, O_PATH);
  if (!program) {
    if (program.error().code == ec::not_found)
      return {};
    return tl::unexpected(program.error());
  }
  struct stat seen {};
  if (::fstat(program->get(), &seen) != 0 || !S_ISREG(seen.st_mode)
      || (seen.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
    return {};
  auto cwd = where.open_at(worktree, O_PATH | O_DIRECTORY);
  if (!cwd)
    return tl::unexpected(cwd.error());
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return fail_errno(ec::io, "cannot make a pipe for a hook", errno);
  const owned_fd read_end{ends[0]};
  owned_fd write_end{ends[1]};
  ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  auto pid = start(hook, arguments, cwd->get(), write_end.get());
  write_end = owned_fd{};
  if (!pid)
    return tl::unexpected(pid.error());
  std::string output;
  int status = 0;
  const bool ended = collect(*pid, read_end.get(), cancel,
                             clock::now() + timeout, output, status);
  ::kill(-*pid, SIGKILL); // what it left behind goes with it
  if (!ended)
    while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
    }
  const auto name = hook.substr(hook.rfind('/') + 1);
  if (!ended && cancel.cancelled())
    return fail(ec::unavailable, "the call was cancelled");
  if (!ended)
    return fail(ec::timeout,
                "the hook " + name + " took longer than "
                    + format_duration(timeout) + " and was ended",
                "run what it does through terminal_exec");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return {};
  while (!output.empty() && output.back() == '\n')
    output.pop_back();
  return fail(ec::wrong_state,
              "the hook " + name + " refused the commit"
                  + (output.empty() ? std::string{} : ":\n" + output),
              "repair what it names and call git_commit again");
}

} // namespace caged::mcp::git
