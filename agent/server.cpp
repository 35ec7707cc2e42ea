#include "agent/server.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <linux/random.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caged_version.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace ap = agent_protocol;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

/// Unfinished input of all connections together. Its specification allows
/// 1 MiB; less keeps the peak below 3 MB with everything else at its worst.
constexpr std::size_t unfinished_most = 144 * 1024;
/// Answers that wait for their readers, of all connections together.
constexpr std::size_t answers_most = 112 * 1024;
/// Promised input of all streams, and what a starving one gets in any case.
constexpr std::uint64_t promise_most = 128 * 1024;
constexpr std::uint64_t promise_least = 512;
/// What removals may take of one turn of the loop.
constexpr auto removal_slice = 10ms;
/// After everything has ended: for answers that clients have not taken yet.
constexpr auto flush_grace = 1s;

std::uint64_t env_number(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : 0;
}

} // namespace

server::server(config options, bool as_init)
    : options_{std::move(options)},
      init_{as_init},
      boot_{make_uuid()},
      files_{options_.workspace},
      metrics_{options_.workspace} {
  metrics_.change_limits(env_number("CAGED_MEMORY_BYTES"),
                         env_number("CAGED_CPUS"));
}

server::~server() {
  connections_.clear();
  dials_.clear();
  execs_.clear();
}

result<void> server::listen() {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (options_.socket.size() >= sizeof to.sun_path)
    return fail(ec::bad_request, "--socket: the path has "
                                     + std::to_string(options_.socket.size())
                                     + " bytes; the most is "
                                     + std::to_string(sizeof to.sun_path - 1));
  std::memcpy(to.sun_path, options_.socket.c_str(), options_.socket.size() + 1);
  // Somebody may be listening there; a file that nobody listens on is stale.
  struct stat about {};
  if (::lstat(options_.socket.c_str(), &about) == 0) {
    if (!S_ISSOCK(about.st_mode))
      return fail(ec::conflict, options_.socket
                                    + " exists and is no socket; remove it or "
                                      "choose another --socket");
    unique_fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::connect(probe.get(), reinterpret_cast<sockaddr*>(&to), sizeof to)
        == 0)
      return fail(ec::conflict, "another agent listens on " + options_.socket
                                    + "; stop it or choose another --socket");
    ::unlink(options_.socket.c_str());
  } else {
    // Its directory may be missing: one level, as for /run/caged.
    auto slash = options_.socket.rfind('/');
    if (slash != std::string::npos && slash > 0)
      ::mkdir(options_.socket.substr(0, slash).c_str(), 0700);
  }
  listener_ = unique_fd{
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  auto mask = ::umask(0177); // 0600 from the first moment on
  int bound =
      ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
  int error = errno;
  ::umask(mask);
  if (bound != 0 || ::listen(listener_.get(), 128) != 0)
    return fail_errno(ec::io, "cannot listen on " + options_.socket,
                      bound != 0 ? error : errno);
  return {};
}

int server::run() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  signals_ = unique_fd{::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)};
  loop_.watch(signals_.get(), EPOLLIN, [this](auto) { on_signal(); });
  loop_.watch(listener_.get(), EPOLLIN, [this](auto) { accept(); });
  loop_.after(options_.heartbeat_interval, [this] { beat(); });
  loop_.after(options_.metrics_interval, [this] { measure(); });
  log::info("listening", {{"socket", options_.socket},
                          {"version", CAGED_VERSION},
                          {"boot", boot_}});
  reap(); // whoever ended before the signals were watched
  while (!done_) {
    settle();
    if (!done_)
      loop_.step(!removals_.empty() ? 0ms
                 : stopping_        ? 20ms
                                    : std::chrono::milliseconds(60'000));
  }
  ::unlink(options_.socket.c_str());
  log::info("ended", {{"reason", stop_reason_}});
  return 0;
}

void server::remove_on() {
  if (removals_.empty())
    return;
  auto& job = removals_.front();
  if (!job.work->step(clock::now() + removal_slice))
    return;
  // Who asked may be gone; the tree is all the same.
  if (auto it = connections_.find(job.connection); it != connections_.end()) {
    if (job.work->error())
      it->second->error(job.id, *job.work->error());
    else
      it->second->reply(job.id, {{"removed", job.work->removed()}});
  }
  removals_.erase(removals_.begin());
}

/// What is due before the loop waits.
void server::settle() {
  remove_on();
  for (int round = 0; round < 4; ++round) {
    if (forget_) {
      forget_ = false;
      std::erase_if(execs_, [](auto& item) { return item.second->over(); });
      std::erase_if(dials_, [](auto& item) { return item.second->over(); });
    }
    if (room_made_) {
      room_made_ = false;
      for (auto& [_, item] : execs_)
        item->resume_reading();
      for (auto& [_, item] : dials_)
        item->resume_reading();
    }
    auto ready = std::exchange(flush_, {});
    for (auto* who : ready)
      if (!who->dead())
        who->flush();
    bound_answers();
    std::erase_if(connections_, [](auto& item) { return item.second->dead(); });
    if (!forget_ && !room_made_ && flush_.empty())
      break;
  }
  for (auto it = flush_.begin(); it != flush_.end();) {
    // A connection that was freed just now must not be flushed later.
    bool lives =
        std::any_of(connections_.begin(), connections_.end(),
                    [&](const auto& item) { return item.second.get() == *it; });
    it = lives ? std::next(it) : flush_.erase(it);
  }
  if (stopping_)
    shutdown_step();
}

/// Each connection's answers are bounded by not reading from it; all of them
/// together by giving up who owes most.
void server::bound_answers() {
  for (;;) {
    std::size_t sum = 0;
    connection* worst = nullptr;
    for (auto& [_, item] : connections_) {
      if (item->dead())
        continue;
      sum += item->queued();
      if (!worst || item->queued() > worst->queued())
        worst = item.get();
    }
    if (sum <= answers_most)
      return;
    log::warn("closing a connection that does not read its answers",
              {{"bytes", worst->queued()}});
    worst->die();
  }
}

void server::wants_flush(connection* who) {
  if (who && !who->dead())
    flush_.insert(who);
}

std::uint64_t server::promise(std::uint64_t wanted, bool starving) {
  auto room = promise_most > promised_ ? promise_most - promised_ : 0;
  auto given = std::min(wanted, room);
  if (given < promise_least && starving)
    given = std::min(wanted, promise_least);
  promised_ += given;
  return given;
}

void server::take_back(std::uint64_t bytes) {
  promised_ -= std::min(promised_, bytes);
}

void server::check_input(connection& last) {
  std::size_t sum = 0;
  for (auto& [_, item] : connections_)
    sum += item->unfinished();
  if (sum <= unfinished_most || last.unfinished() == 0)
    return;
  last.drop_unfinished();
  last.error({}, failure{ec::too_large,
                         "all connections together have more than "
                             + std::to_string(unfinished_most)
                             + " bytes of unfinished input",
                         {}});
}

void server::accept() {
  for (int i = 0; i < 16; ++i) {
    unique_fd fd{::accept4(listener_.get(), nullptr, nullptr,
                           SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!fd)
      return;
    if (connections_.size() >= limits::agent_connections_max) {
      auto refusal = ap::encode_line(
          "error", {},
          {{"code", "too_large"},
           {"message", "there are "
                           + std::to_string(limits::agent_connections_max)
                           + " connections, which is the most"}});
      // One try: whoever does not read it gets the close alone.
      static_cast<void>(::send(fd.get(), refusal.data(), refusal.size(),
                               MSG_DONTWAIT | MSG_NOSIGNAL));
      continue;
    }
    auto number = next_connection_++;
    connections_.emplace(
        number, std::make_unique<connection>(*this, std::move(fd), number));
  }
}

// -- processes ---------------------------------------------------------------

void server::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info)
         == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD)
      continue; // below: several may have become one
    if (init_) {
      log::warn("ignored a signal", {{"signal", info.ssi_signo}});
      continue; // a tenant could send it (agent_protocol.md, section 8)
    }
    begin_shutdown(5s, "signal");
  }
  reap();
}

/// One table of children for all: as PID 1 whoever loses its parent comes here
/// too, and is only reaped.
void server::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0)
    for (auto& [_, item] : execs_)
      if (item->pid() == pid && item->running()) {
        item->ended(status);
        break;
      }
}

// -- clocks ------------------------------------------------------------------

std::string server::heartbeat_line() {
  auto uptime = std::chrono::duration_cast<std::chrono::milliseconds>(
      clock::now() - started_);
  return ap::encode_line("heartbeat", {},
                         {{"sequence", sequence_},
                          {"uptime_ms", uptime.count()},
                          {"agent", CAGED_VERSION},
                          {"boot", boot_}});
}

std::string server::metrics_line() {
  return ap::encode_line("metrics", {}, ap::to_json(metrics_.sample()));
}

void server::beat() {
  loop_.after(options_.heartbeat_interval, [this] { beat(); });
  ++sequence_;
  std::string text;
  for (auto& [_, item] : connections_)
    if (item->greeted && item->heartbeats && item->queued() < 64 * 1024) {
      if (text.empty())
        text = heartbeat_line();
      item->send(text);
    }
}

void server::measure() {
  loop_.after(options_.metrics_interval, [this] { measure(); });
  std::string text;
  for (auto& [_, item] : connections_)
    if (item->greeted && item->metrics && item->queued() < 64 * 1024) {
      if (text.empty())
        text = metrics_line();
      item->send(text);
    }
}

// -- the end -----------------------------------------------------------------

void server::on_shutdown(connection& from, line& message) {
  auto deadline =
      ap::number_or(message.payload, "deadline_ms", 5000, 1000ULL * 3600);
  if (!deadline)
    return from.error(message.id, deadline.error());
  from.reply(message.id, json::object());
  begin_shutdown(std::chrono::milliseconds(*deadline), "shutdown");
}

void server::begin_shutdown(std::chrono::milliseconds deadline,
                            const std::string& reason) {
  if (stopping_)
    return;
  stopping_ = true;
  stop_reason_ = reason;
  stop_deadline_ = clock::now() + deadline;
  log::info("shutting down", {{"reason", reason}, {"execs", execs_.size()}});
  for (auto& [_, item] : execs_)
    item->terminate("shutdown");
}

void server::shutdown_step() {
  auto now = clock::now();
  auto running = [this] {
    return std::any_of(execs_.begin(), execs_.end(),
                       [](auto& item) { return item.second->running(); });
  };
  if (running() && now < stop_deadline_)
    return;
  if (!killed_) {
    killed_ = true;
    for (auto& [_, item] : execs_)
      item->kill_tree();
    stop_deadline_ = now + flush_grace;
  }
  // Exits and output go out first, then the farewell.
  auto unfinished = [this] {
    return std::any_of(execs_.begin(), execs_.end(),
                       [](auto& item) {
                         return item.second->link()
                                && !item.second->told_exit();
                       })
           || std::any_of(connections_.begin(), connections_.end(),
                          [](auto& item) { return !item.second->idle(); });
  };
  if (now < stop_deadline_ && unfinished())
    return;
  if (!bye_said_) {
    bye_said_ = true;
    stop_deadline_ = now + flush_grace;
    for (auto& [_, item] : connections_)
      item->send(ap::encode_line("bye", {}, {{"reason", stop_reason_}}));
    return;
  }
  done_ = now >= stop_deadline_
          || std::none_of(connections_.begin(), connections_.end(),
                          [](auto& item) { return !item.second->idle(); });
}

} // namespace caged::agent
