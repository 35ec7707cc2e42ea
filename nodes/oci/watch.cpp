#include "nodes/oci/watch.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/limits.hpp"

namespace caged::oci {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

// -- agent_log

result<std::unique_ptr<agent_log>> agent_log::open(const fs::path& dir) {
  auto fifo = dir / "agent.stderr", file = dir / "agent.log";
  if (::mkfifo(fifo.c_str(), 0600) < 0 && errno != EEXIST)
    return sys::fail_host(ec::io, "cannot create " + fifo.string(), errno);
  auto log = std::make_unique<agent_log>();
  log->dir_ = dir;
  log->fifo_.reset(
      ::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!log->fifo_)
    return sys::fail_host(ec::io, "cannot open " + fifo.string(), errno);
  log->file_.reset(
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log->file_)
    return sys::fail_host(ec::io, "cannot open " + file.string(), errno);
  struct stat info {};
  if (::fstat(log->file_.get(), &info) == 0)
    log->size_ = static_cast<std::size_t>(info.st_size);
  return log;
}

void agent_log::append(std::string_view bytes) {
  if (size_ + bytes.size() > limits::agent_log_max) {
    auto file = dir_ / "agent.log", older = dir_ / "agent.log.1";
    if (auto old = sys::read_small(older))
      lost_ += static_cast<std::uint64_t>(
          std::count(old->begin(), old->end(), '\n'));
    ::rename(file.c_str(), older.c_str());
    file_.reset(
        ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    size_ = 0;
    if (lost_ > 0 && file_) {
      auto note = "(" + std::to_string(lost_) + " earlier lines are lost)\n";
      if (::write(file_.get(), note.data(), note.size()) > 0)
        size_ = note.size();
    }
  }
  // A full disk loses log lines, nothing else.
  if (file_ && ::write(file_.get(), bytes.data(), bytes.size()) > 0)
    size_ += bytes.size();
}

void agent_log::drain() {
  std::array<char, 65536> buffer;
  for (int i = 0; i < 4; ++i) {
    auto n = ::read(fifo_.get(), buffer.data(), buffer.size());
    if (n <= 0)
      return;
    append({buffer.data(), static_cast<std::size_t>(n)});
  }
}

std::string agent_log::tail(const fs::path& dir) {
  constexpr std::size_t most = 65536;
  auto text = sys::read_small(dir / "agent.log").value_or("");
  if (text.size() < most)
    text.insert(0, sys::read_small(dir / "agent.log.1").value_or(""));
  if (text.size() > most) {
    text.erase(0, text.size() - most);
    text.erase(0, text.find('\n') + 1);
  }
  return text;
}

// -- watch

struct watch::entry {
  std::string id;
  process_ref process;
  std::string group;
  sys::unique_fd pidfd, oom_event, oom_file;
  std::unique_ptr<agent_log> log;
  std::uint64_t kills = 0;      ///< already reported
  steady::time_point recheck{}; ///< until when the count may still rise
  std::uint64_t key = 0;
  bool done = false; ///< its end was reported
};

namespace {

// The low bits of an event's data say which descriptor of the entry it is.
enum source : std::uint64_t { is_pid = 0, is_log = 1, is_oom = 2 };
constexpr std::uint64_t wake_key = ~std::uint64_t{0};

void watch_fd(int epoll, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

std::string describe(int status, bool oom) {
  if (oom)
    return "the kernel killed the sandbox's init: its memory limit is reached";
  if (status == -1)
    return "the sandbox's init has ended";
  if (WIFSIGNALED(status))
    return "the sandbox's init was killed by signal "
           + std::to_string(WTERMSIG(status));
  return "the sandbox's init exited with code "
         + std::to_string(WEXITSTATUS(status));
}

} // namespace

watch::watch(const cgroup::tree& groups)
    : groups_{groups},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  watch_fd(epoll_.get(), wake_.get(), EPOLLIN, wake_key);
  thread_ = std::thread{[this] { loop(); }};
}

watch::~watch() {
  stop_ = true;
  std::uint64_t one = 1;
  while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR)
    ;
  thread_.join();
}

void watch::on_exit(runtime::exit_handler handler) {
  std::lock_guard guard{handlers_lock_};
  exit_ = std::move(handler);
}

void watch::on_oom(std::function<void(std::string, std::uint64_t)> handler) {
  std::lock_guard guard{handlers_lock_};
  oom_ = std::move(handler);
}

void watch::arm_oom(entry& item) {
  if (item.group.empty())
    return;
  item.kills = groups_.oom_kills(item.group);
  auto dir = groups_.dir(item.group, "memory");
  if (groups_.kind() == cgroup::layout::v2) {
    // A change of the file wakes a poll for EPOLLPRI (cgroup-v2.rst).
    item.oom_file.reset(
        ::open((dir / "memory.events").c_str(), O_RDONLY | O_CLOEXEC));
    if (item.oom_file)
      watch_fd(epoll_.get(), item.oom_file.get(), EPOLLPRI | EPOLLET,
               item.key * 4 + is_oom);
    return;
  }
  item.oom_event.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  item.oom_file.reset(
      ::open((dir / "memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
  if (!item.oom_event || !item.oom_file)
    return;
  auto text = std::to_string(item.oom_event.get()) + " "
              + std::to_string(item.oom_file.get());
  if (sys::write_small(dir / "cgroup.event_control", text) == 0)
    watch_fd(epoll_.get(), item.oom_event.get(), EPOLLIN,
             item.key * 4 + is_oom);
}

void watch::add(const std::string& id, const process_ref& process,
                sys::unique_fd pidfd, const std::string& group,
                std::unique_ptr<agent_log> log) {
  remove(id);
  auto item = std::make_shared<entry>();
  item->id = id;
  item->process = process;
  item->group = group;
  item->pidfd = std::move(pidfd);
  item->log = std::move(log);
  std::lock_guard guard{mutex_};
  item->key = next_++;
  entries_.emplace(item->key, item);
  arm_oom(*item);
  if (item->log)
    watch_fd(epoll_.get(), item->log->fd(), EPOLLIN, item->key * 4 + is_log);
  watch_fd(epoll_.get(), item->pidfd.get(), EPOLLIN, item->key * 4 + is_pid);
}

bool watch::settle(const std::string& id, std::chrono::milliseconds timeout) {
  return sys::wait_until(timeout, [&] {
    std::lock_guard guard{mutex_};
    return std::none_of(entries_.begin(), entries_.end(), [&](auto& x) {
      return x.second->id == id && !x.second->done;
    });
  });
}

void watch::remove(const std::string& id) {
  std::lock_guard guard{mutex_};
  for (auto it = entries_.begin(); it != entries_.end();)
    it = it->second->id == id ? entries_.erase(it) : std::next(it);
}

void watch::ended(const std::shared_ptr<entry>& item) {
  exit_report out;
  out.id = item->id;
  out.process = item->process;
  siginfo_t info{};
  auto pid = static_cast<id_t>(item->process.pid);
  // By pid, which the zombie keeps; not ours after recover(): ECHILD.
  if (::waitid(P_PID, pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0)
    out.status =
        info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
  if (!item->group.empty()) {
    auto kills = groups_.oom_kills(item->group);
    out.oom_killed =
        kills > item->kills && (out.status == -1 || out.status == SIGKILL);
  }
  out.text = describe(out.status, out.oom_killed);
  if (item->log)
    item->log->drain();
  {
    std::lock_guard guard{handlers_lock_};
    if (exit_)
      exit_(out);
  }
  std::lock_guard guard{mutex_};
  item->done = true;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, item->pidfd.get(), nullptr);
}

void watch::check_oom() {
  std::vector<std::pair<std::string, std::uint64_t>> news;
  {
    std::lock_guard guard{mutex_};
    for (auto& [key, item] : entries_) {
      if (item->recheck == steady::time_point{})
        continue;
      if (auto kills = groups_.oom_kills(item->group); kills > item->kills) {
        item->kills = kills;
        news.emplace_back(item->id, kills);
      }
      if (steady::now() > item->recheck)
        item->recheck = {};
    }
  }
  std::lock_guard guard{handlers_lock_};
  for (auto& [id, kills] : news)
    if (oom_)
      oom_(id, kills);
}

void watch::loop() {
  std::array<epoll_event, 64> events;
  while (!stop_) {
    bool pending = false;
    {
      std::lock_guard guard{mutex_};
      for (auto& [key, item] : entries_)
        pending = pending || item->recheck != steady::time_point{};
    }
    auto n = ::epoll_wait(epoll_.get(), events.data(),
                          static_cast<int>(events.size()), pending ? 2 : -1);
    for (int i = 0; i < n; ++i) {
      auto data = events[static_cast<std::size_t>(i)].data.u64;
      if (data == wake_key)
        continue;
      std::shared_ptr<entry> item;
      {
        std::lock_guard guard{mutex_};
        if (auto it = entries_.find(data / 4); it != entries_.end())
          item = it->second;
      }
      if (!item)
        continue;
      switch (data % 4) {
      case is_pid:
        ended(item);
        break;
      case is_log:
        item->log->drain();
        break;
      default: {
        std::uint64_t count = 0;
        if (item->oom_event
            && ::read(item->oom_event.get(), &count, sizeof count) < 0)
          break;
        std::lock_guard guard{mutex_};
        // The event comes before the kill is counted: look for a while. v1
        // also fires once more when the group is removed.
        item->recheck = steady::now() + 200ms;
      }
      }
    }
    check_oom();
  }
}

} // namespace caged::oci
