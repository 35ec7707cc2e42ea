#include "mcp/stdio_reader.hpp"

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "mcp/log.hpp"

namespace caged::mcp {

namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// How long a brief job may keep the thread that reads.
constexpr milliseconds patience{2};
/// Interrupts a read(2) in another thread. Go's runtime takes the same one for
/// this: by default it does nothing, and nobody means anything by it.
constexpr int nudge = SIGURG;

void nothing(int) {}

bool readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

} // namespace

stdio_reader::stdio_reader(std::size_t line_most, session& to,
                           std::shared_ptr<stdio_outlet> out, int signals)
    : to_{to}, out_{std::move(out)}, signals_{signals}, in_{line_most} {
  out_->lend_by([this](const auto& job) { return lend(job); });
}

stdio_reader::~stdio_reader() {
  if (other_.joinable())
    other_.join();
  out_->lend_by(nullptr);
}

void stdio_reader::run(std::function<void(ended)> finish) {
  finish_ = std::move(finish);
  work(true);
  if (other_.joinable())
    other_.join();
}

void stdio_reader::work(bool reads) {
  for (;;) {
    if (reads)
      read();
    if (!guard())
      return;
    reads = true;
  }
}

bool stdio_reader::reads_here() {
  const std::lock_guard lock{mutex_};
  return reader_ == std::this_thread::get_id() && !result_;
}

void stdio_reader::read() {
  {
    const std::lock_guard lock{mutex_};
    reader_ = std::this_thread::get_id();
    reader_thread_ = ::pthread_self();
  }
  out_->read_here();
  auto answered = false;
  for (;;) {
    while (auto line = in_.next()) {
      answered = true;
      if (in_.too_long())
        out_->send(error_response(nullptr, rpc_code::invalid_request,
                                  "a message may have at most "
                                      + std::to_string(in_.line_most())
                                      + " bytes: send less at once"));
      else
        take(*line);
      if (!reads_here())
        return;
      if (out_->crowded() && !out_->flush())
        break;
    }
    if (!out_->flush())
      return over(readable(signals_) ? ended::by_signal : ended::by_output);
    if (answered)
      start_guard();
    const auto n = fill();
    if (n == 0) {
      // A last line without its end: whole if it is JSON, else half a message.
      if (auto text = parse_text(in_.rest()))
        to_.receive(std::move(*text), out_);
      if (reads_here())
        over(ended::by_input);
      return;
    }
    const auto error = errno;
    if (n < 0 && readable(signals_))
      return over(ended::by_signal);
    if (n < 0 && error != EINTR && error != EAGAIN)
      return over(ended::by_input);
  }
}

/// As line_buffer::fill; -1 and EINTR as well when signals_ is readable.
ssize_t stdio_reader::fill() {
  bool guarded = false;
  {
    const std::lock_guard lock{mutex_};
    guarded = guarding_;
    if (told_) {
      errno = EINTR;
      return -1;
    }
  }
  if (guarded) {
    // One system call for a message: the guard looks at the signals.
    const auto n = in_.fill(STDIN_FILENO);
    if (n >= 0 || errno != EAGAIN)
      return n;
  }
  pollfd ready[] = {{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}};
  if (::poll(ready, 2, -1) < 0)
    return -1;
  if (ready[1].revents != 0) {
    errno = EINTR;
    return -1;
  }
  return in_.fill(STDIN_FILENO);
}

/// One line: parsed, and given to the session.
void stdio_reader::take(std::string_view line) {
  if (!line.empty() && line.back() == '\r')
    line.remove_suffix(1);
  if (line.empty())
    return; // no message
  auto text = parse_text(line);
  in_.done(); // a large line goes before its message is worked on
  if (text)
    to_.receive(std::move(*text), out_);
  else
    out_->send(std::move(text.error()));
}

void stdio_reader::over(ended why) {
  {
    const std::lock_guard lock{mutex_};
    if (result_)
      return;
    result_ = why;
  }
  finish_(why);
  if (over_)
    ::eventfd_write(over_.get(), 1);
}

void stdio_reader::start_guard() {
  if (over_)
    return;
  owned_fd timer{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  owned_fd end{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!timer || !end)
    return;
  struct sigaction quiet {};
  quiet.sa_handler = nothing; // without SA_RESTART: read(2) ends
  if (::sigaction(nudge, &quiet, nullptr) != 0)
    return;
  timer_ = std::move(timer);
  over_ = std::move(end);
  try {
    other_ = std::thread{[this] { work(false); }};
  } catch (const std::system_error& e) {
    // Calls go to workers then, as the long ones do.
    log::warn("no second thread for stdin", {{"error", e.what()}});
  }
}

void stdio_reader::arm(clock::duration in) {
  const auto ns = std::chrono::duration_cast<nanoseconds>(in).count();
  itimerspec when{};
  when.it_value.tv_nsec = ns > 0 ? ns : 1; // less than a second
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
  armed_ = true;
}

bool stdio_reader::lend(const stdio_outlet::job& what) {
  const auto self = std::this_thread::get_id();
  {
    const std::lock_guard lock{mutex_};
    if (!guarding_ || reader_ != self || lent_)
      return false;
    lent_ = clock::now();
    // A timer that runs already asks again when it is too early: one system
    // call for many jobs.
    if (!armed_)
      arm(patience);
  }
  what();
  const std::lock_guard lock{mutex_};
  if (reader_ == self)
    lent_.reset();
  return true;
}

bool stdio_reader::take_over() {
  lent_.reset();
  guarding_ = false;
  reader_ = std::this_thread::get_id();
  reader_thread_ = ::pthread_self();
  return true;
}

bool stdio_reader::guard() {
  {
    const std::lock_guard lock{mutex_};
    if (result_ || !over_)
      return false;
    guarding_ = true;
  }
  pollfd news[] = {{over_.get(), POLLIN, 0},
                   {timer_.get(), POLLIN, 0},
                   {signals_, POLLIN, 0}};
  int wait = -1;
  for (;;) {
    if (::poll(news, 3, wait) < 0 && errno != EINTR)
      return false;
    if (news[0].revents != 0)
      return false;
    const std::lock_guard lock{mutex_};
    if (result_)
      return false;
    if (news[2].revents != 0) {
      told_ = true;
      news[2].fd = -1;
      news[2].revents = 0;
      wait = 1; // until the reader has noticed: it may not be in read(2) yet
    }
    if (told_) {
      if (lent_)
        return take_over();
      ::pthread_kill(reader_thread_, nudge);
    }
    if (news[1].revents == 0)
      continue;
    std::uint64_t times = 0;
    static_cast<void>(::read(timer_.get(), &times, sizeof times));
    armed_ = false;
    if (!lent_)
      continue;
    const auto worked = clock::now() - *lent_;
    if (worked >= patience)
      return take_over();
    arm(patience - worked);
  }
}

} // namespace caged::mcp
