#include "mcp/git/pool.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

using clock = std::chrono::steady_clock;

tl::unexpected<failure> cancelled() {
  return fail(ec::unavailable, "the call was cancelled");
}

/// posix_spawn's objects, destroyed on every way out.
struct spawn_plan {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  spawn_plan() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~spawn_plan() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  spawn_plan(const spawn_plan&) = delete;
  spawn_plan& operator=(const spawn_plan&) = delete;
};

} // namespace

worker_pool::worker_pool(pool_options options)
    : options_{std::move(options)},
      slots_{::eventfd(options_.workers,
                       EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)} {}

worker_pool::~worker_pool() {
  for (auto& w : idle_)
    end(std::move(w));
}

std::vector<pid_t> worker_pool::idle() const {
  const std::lock_guard lock{mutex_};
  std::vector<pid_t> pids;
  for (const auto& w : idle_)
    pids.push_back(w.pid);
  return pids;
}

result<worker_pool::worker> worker_pool::start() const {
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return fail_errno(ec::unavailable, "cannot make a socket for git", errno);
  const owned_fd ours{pair[0]}, theirs{pair[1]};
  // Numbers above 4, so that neither dup2 below closes the other's source.
  const owned_fd socket{::fcntl(theirs.get(), F_DUPFD_CLOEXEC, 10)};
  const owned_fd root{::fcntl(options_.root_fd, F_DUPFD_CLOEXEC, 10)};
  if (!socket || !root)
    return fail_errno(ec::unavailable, "cannot start a git worker", errno);
  spawn_plan plan;
  auto* actions = &plan.actions;
  ::posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(actions, 0, 1);
  ::posix_spawn_file_actions_adddup2(actions, socket.get(), 3);
  ::posix_spawn_file_actions_adddup2(actions, root.get(), 4);
  sigset_t none{}, all{};
  sigemptyset(&none);
  sigfillset(&all);
  sigdelset(&all, SIGKILL);
  sigdelset(&all, SIGSTOP);
  ::posix_spawnattr_setsigmask(&plan.attributes, &none);
  ::posix_spawnattr_setsigdefault(&plan.attributes, &all);
  // Its own group: an interrupt typed at a terminal is the server's to handle.
  ::posix_spawnattr_setpgroup(&plan.attributes, 0);
  ::posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETSIGMASK
                                                   | POSIX_SPAWN_SETSIGDEF
                                                   | POSIX_SPAWN_SETPGROUP);
  std::string name = "caged-git", flag = "--git-worker",
              mode = options_.writable ? "write" : "read",
              bytes = std::to_string(options_.output_bytes),
              landlock = "no-landlock";
  std::array<char*, 6> argv{name.data(),
                            flag.data(),
                            mode.data(),
                            bytes.data(),
                            options_.use_landlock ? nullptr : landlock.data(),
                            nullptr};
  // Nothing of the environment but the time zone of new commits: no HOME, so
  // no configuration of the user, and no secrets.
  const char* zone = std::getenv("TZ");
  std::string zone_text = "TZ=" + std::string{zone != nullptr ? zone : ""};
  std::array<char*, 2> env{zone != nullptr ? zone_text.data() : nullptr,
                           nullptr};
  worker w;
  if (const int error =
          ::posix_spawn(&w.pid, options_.program.c_str(), actions,
                        &plan.attributes, argv.data(), env.data());
      error != 0)
    return fail_errno(ec::unavailable, "cannot start a git worker", error);
  w.socket = owned_fd{::fcntl(ours.get(), F_DUPFD_CLOEXEC, 0)};
  if (!w.socket) {
    const int error = errno;
    end(std::move(w));
    return fail_errno(ec::unavailable, "cannot start a git worker", error);
  }
  return w;
}

result<worker_pool::worker> worker_pool::take() {
  for (;;) {
    worker w;
    {
      const std::lock_guard lock{mutex_};
      if (idle_.empty())
        break;
      w = std::move(idle_.back());
      idle_.pop_back();
    }
    // One that ended meanwhile (idle for a minute, killed) hung up.
    pollfd at{w.socket.get(), POLLIN, 0};
    if (::poll(&at, 1, 0) == 0)
      return w;
    end(std::move(w));
  }
  return start();
}

void worker_pool::give_back(worker w) {
  w.used = true;
  const std::lock_guard lock{mutex_};
  idle_.push_back(std::move(w));
}

std::string worker_pool::end(worker w) {
  if (w.pid <= 0)
    return {};
  int status = 0;
  // It may have ended by itself, which is what the caller wants to know.
  pid_t got = ::waitpid(w.pid, &status, WNOHANG);
  if (got == 0) {
    ::kill(w.pid, SIGKILL);
    do
      got = ::waitpid(w.pid, &status, 0);
    while (got < 0 && errno == EINTR);
  }
  if (got != w.pid)
    return {};
  if (WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    return name != nullptr ? std::string{"SIG"} + name : "a signal";
  }
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

result<worker_reply> worker_pool::exchange(worker w, const json& request,
                                           cancellation& cancel,
                                           clock::time_point until,
                                           bool& died) {
  const frame_wait wait{until, cancel.fd()};
  const frame ask{request.dump(-1, ' ', false, json::error_handler_t::replace),
                  {}};
  auto how = send_frame(w.socket.get(), ask, wait);
  frame reply;
  if (how == frame_end::done) {
    // Texts are bounded by the worker; JSON has each path again, escaped.
    const auto most = static_cast<std::uint32_t>(options_.output_bytes);
    how = receive_frame(w.socket.get(), reply,
                        {(16U << 20U) + most, most + (64U << 10U)}, wait);
  }
  died = how == frame_end::closed;
  if (died) {
    // A moment, so that the reason is the process's own end, not our signal.
    siginfo_t info{};
    pollfd none{-1, 0, 0};
    for (int i = 0; i < 20 && info.si_pid == 0; ++i) {
      if (::waitid(P_PID, static_cast<id_t>(w.pid), &info,
                   WEXITED | WNOHANG | WNOWAIT)
          != 0)
        break;
      if (info.si_pid == 0)
        ::poll(&none, 1, 5);
    }
  }
  if (how != frame_end::done) {
    const auto reason = end(std::move(w));
    switch (how) {
    case frame_end::cancelled:
      return cancelled();
    case frame_end::timeout:
      return fail(ec::timeout,
                  "git took longer than " + format_duration(options_.timeout)
                      + " and was ended",
                  "name fewer files with path, or use terminal_exec for a "
                  "long git command");
    case frame_end::too_large:
      return fail(ec::internal, "the git worker answered too much");
    default:
      return fail(ec::internal,
                  "the git worker ended in the middle of the call (" + reason
                      + ")",
                  "the repository may be damaged: `git fsck` tells more");
    }
  }
  auto head = json::parse(reply.head, nullptr, false);
  // The worker read a repository that nobody vouches for: its reply is checked
  // as anything from outside.
  if (head.is_object()) {
    if (auto at = head.find("structured");
        at != head.end() && at->is_object()) {
      give_back(std::move(w));
      return worker_reply{std::move(*at), std::move(reply.body)};
    }
    if (auto at = head.find("error"); at != head.end() && at->is_object()) {
      const auto text = [&](const char* name) {
        auto member = at->find(name);
        return member != at->end() && member->is_string()
                   ? member->get<std::string>()
                   : std::string{};
      };
      give_back(std::move(w));
      return fail(ec_from_string(text("code")), text("message"), text("hint"));
    }
  }
  end(std::move(w));
  return fail(ec::internal, "the git worker answered something else");
}

result<worker_reply> worker_pool::ask(const json& request,
                                      cancellation& cancel) {
  const auto until = clock::now() + options_.timeout;
  // A free worker, or the call's end.
  for (;;) {
    if (cancel.cancelled())
      return cancelled();
    eventfd_t one = 0;
    if (::eventfd_read(slots_.get(), &one) == 0)
      break;
    if (errno != EAGAIN)
      return fail_errno(ec::unavailable, "cannot wait for a git worker", errno);
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - clock::now());
    if (left.count() <= 0)
      return fail(ec::timeout, "all git workers are busy", "try again later");
    std::array<pollfd, 2> fds{
        {{slots_.get(), POLLIN, 0}, {cancel.fd(), POLLIN, 0}}};
    // Without a descriptor for cancellation, look again now and then.
    const auto most = cancel.fd() < 0 ? 50L : left.count();
    ::poll(fds.data(), fds.size(),
           static_cast<int>(std::min<std::int64_t>(left.count(), most)));
  }
  struct release {
    int fd;
    ~release() { ::eventfd_write(fd, 1); }
  } const slot{slots_.get()};
  auto w = take();
  if (!w)
    return tl::unexpected(w.error());
  if (w->used && request.value("op", std::string{}) == "commit") {
    end(std::move(*w));
    w = start();
    if (!w)
      return tl::unexpected(w.error());
  }
  const bool again = w->used;
  bool died = false;
  auto reply = exchange(std::move(*w), request, cancel, until, died);
  if (!died || !again)
    return reply;
  w = start();
  if (!w)
    return tl::unexpected(w.error());
  return exchange(std::move(*w), request, cancel, until, died);
}

} // namespace caged::mcp::git
