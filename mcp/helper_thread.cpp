#include "mcp/helper_thread.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>

namespace caged::mcp {

namespace {
/// glibc wants 16 KiB and the thread-local storage; system calls little more.
constexpr std::size_t stack_bytes = 128 * std::size_t{1024};
} // namespace

helper_thread::helper_thread() noexcept {
  pthread_attr_t how;
  if (::pthread_attr_init(&how) != 0)
    return;
  ::pthread_attr_setstacksize(&how, stack_bytes);
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  started_ = ::pthread_create(&thread_, &how, &entry, this) == 0;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&how);
}

helper_thread::~helper_thread() {
  if (!started_)
    return;
  {
    std::lock_guard lock{mutex_};
    stop_ = true;
  }
  changed_.notify_all();
  ::pthread_join(thread_, nullptr);
}

void* helper_thread::entry(void* self) {
  static_cast<helper_thread*>(self)->work();
  return nullptr;
}

void helper_thread::work() {
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || posted_ != nullptr; });
    if (stop_)
      return;
    const auto* job = posted_;
    posted_ = nullptr;
    busy_ = true;
    lock.unlock();
    (*job)();
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

void helper_thread::both(const std::function<void()>& job) {
  if (started_) {
    std::lock_guard lock{mutex_};
    posted_ = &job;
  }
  changed_.notify_all();
  job();
  std::unique_lock lock{mutex_};
  posted_ = nullptr;
  changed_.wait(lock, [this] { return !busy_; });
}

void each_range(helper_thread* with, std::size_t n, std::size_t piece,
                const std::function<void(std::size_t, std::size_t)>& run) {
  std::atomic<std::size_t> next{0};
  const auto job = [&] {
    for (;;) {
      const auto from = next.fetch_add(piece, std::memory_order_relaxed);
      if (from >= n)
        return;
      run(from, std::min(from + piece, n));
    }
  };
  if (with == nullptr || n <= piece)
    job();
  else
    with->both(job);
}

} // namespace caged::mcp
