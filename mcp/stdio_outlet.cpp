#include "mcp/stdio_outlet.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace caged::mcp {

namespace {
/// Workers wait above it; the reader writes before it reads on.
constexpr std::size_t outbox_most = 256U << 10U;
} // namespace

stdio_outlet::stdio_outlet(int signals, int stop)
    : signals_{signals}, stop_{stop}, reader_{std::this_thread::get_id()} {
  struct stat about {};
  // A pipe or socket is ours alone, in contrast to a terminal: there a flag
  // would be the shell's, too.
  if (::fstat(STDOUT_FILENO, &about) == 0
      && (S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode))) {
    flags_ = ::fcntl(STDOUT_FILENO, F_GETFL);
    if (flags_ >= 0)
      ::fcntl(STDOUT_FILENO, F_SETFL, flags_ | O_NONBLOCK);
  }
}

stdio_outlet::~stdio_outlet() {
  if (flags_ >= 0)
    ::fcntl(STDOUT_FILENO, F_SETFL, flags_);
}

bool stdio_outlet::send(std::string message) {
  std::unique_lock lock{mutex_};
  if (std::this_thread::get_id() == reader_) {
    add(message);
    return !gone_;
  }
  await_room(lock);
  if (gone_)
    return false;
  add(message);
  drain(lock);
  return !gone_;
}

bool stdio_outlet::lend(const job& what) {
  return lender_ != nullptr && lender_(what);
}

void stdio_outlet::lend_by(std::function<bool(const job&)> lender) {
  lender_ = std::move(lender);
}

void stdio_outlet::read_here() {
  const std::lock_guard lock{mutex_};
  reader_ = std::this_thread::get_id();
}

bool stdio_outlet::flush() {
  std::unique_lock lock{mutex_};
  // A worker that writes takes it along; but its turn may be long.
  drain(lock);
  await_room(lock);
  return !gone_;
}

bool stdio_outlet::crowded() {
  const std::lock_guard lock{mutex_};
  return pending_.size() >= outbox_most;
}

void stdio_outlet::abandon() {
  const std::lock_guard lock{mutex_};
  gone_ = true;
  room_.notify_all();
}

void stdio_outlet::await_room(std::unique_lock<std::mutex>& lock) {
  ++waiting_;
  room_.wait(lock, [this] { return gone_ || pending_.size() < outbox_most; });
  --waiting_;
}

void stdio_outlet::add(std::string& message) {
  message += '\n';
  if (pending_.empty() && message.size() > 4096)
    pending_.swap(message);
  else
    pending_ += message;
}

/// Writes until nothing is left, unless another thread does already.
void stdio_outlet::drain(std::unique_lock<std::mutex>& lock) {
  if (writing_)
    return;
  writing_ = true;
  while (!pending_.empty() && !gone_) {
    auto text = std::move(pending_);
    pending_.clear();
    if (waiting_ > 0)
      room_.notify_all();
    lock.unlock();
    const auto written = write_all(text);
    lock.lock();
    if (!written)
      gone_ = true;
    else if (pending_.empty() && text.capacity() <= outbox_most) {
      text.clear();
      pending_.swap(text); // its memory is of use again
    }
  }
  writing_ = false;
  if (waiting_ > 0)
    room_.notify_all();
}

bool stdio_outlet::write_all(std::string_view text) const {
  while (!text.empty()) {
    const auto n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno != EAGAIN)
      return false;
    pollfd ready[] = {
        {STDOUT_FILENO, POLLOUT, 0}, {signals_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (::poll(ready, 3, -1) < 0 && errno != EINTR)
      return false;
    if (ready[1].revents != 0 || ready[2].revents != 0)
      return false;
  }
  return true;
}

} // namespace caged::mcp
