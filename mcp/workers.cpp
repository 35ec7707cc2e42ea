#include "mcp/workers.hpp"

#include <chrono>
#include <system_error>

#include "mcp/log.hpp"

namespace caged::mcp {

namespace {
constexpr std::chrono::seconds idle_most{10};
}

workers::workers(unsigned most) : most_{most == 0 ? 1 : most} {
  threads_.reserve(most_);
}

workers::~workers() {
  {
    std::lock_guard lock{mutex_};
    stop_ = true;
  }
  wake_.notify_all();
  // Nobody adds to it any more: submit must have ended with its callers.
  for (auto& each : threads_)
    if (each.joinable())
      each.join();
}

workers::outcome workers::submit(const std::shared_ptr<lane>& of, job what,
                                 std::size_t most_waiting) {
  std::unique_lock lock{mutex_};
  // The job that a thread takes at once does not wait.
  if (of->waiting_.size() >= most_waiting + (idle_ > pending_ ? 1 : 0))
    return outcome::full;
  if (idle_ <= pending_) {
    std::thread ended;
    try {
      if (!ended_.empty()) {
        const auto at = ended_.back();
        ended = std::move(threads_[at]);
        threads_[at] = std::thread{[this, at] { work(at); }};
        ended_.pop_back();
      } else if (threads_.size() < most_) {
        const auto at = threads_.size();
        threads_.emplace_back([this, at] { work(at); });
      }
    } catch (const std::system_error& e) {
      log::warn("no further thread for calls", {{"error", e.what()}});
      if (ended.joinable())
        threads_[ended_.back()].swap(ended);
      if (threads_.size() == ended_.size())
        return outcome::no_thread;
    }
    if (ended.joinable())
      ended.join(); // it has left work() but for its last instructions
  }
  of->waiting_.push_back(std::move(what));
  ++pending_;
  if (!of->queued_) {
    of->queued_ = true;
    ready_.push_back(of);
  }
  lock.unlock();
  wake_.notify_one();
  return outcome::taken;
}

void workers::work(std::size_t self) {
  std::unique_lock lock{mutex_};
  for (;;) {
    if (ready_.empty()) {
      ++idle_;
      const auto woken = wake_.wait_for(
          lock, idle_most, [this] { return stop_ || !ready_.empty(); });
      --idle_;
      if (ready_.empty()) {
        if (!woken)
          ended_.push_back(self);
        return;
      }
    }
    auto of = std::move(ready_.front());
    ready_.pop_front();
    auto what = std::move(of->waiting_.front());
    of->waiting_.pop_front();
    --pending_;
    if (of->waiting_.empty())
      of->queued_ = false;
    else
      ready_.push_back(std::move(of));
    lock.unlock();
    what();
    what = nullptr; // what it holds goes before the lock is taken
    lock.lock();
  }
}

} // namespace caged::mcp
