#include "nodes/store_follower.hpp"

#include <chrono>
#include <utility>

namespace caged {

namespace {

/// Between two tries at a store that is away.
constexpr std::chrono::seconds retry_interval{1};

} // namespace

store_follower::store_follower(std::shared_ptr<store> from, std::string prefix,
                               handler changed, std::function<void()> loaded)
    : from_{std::move(from)},
      prefix_{std::move(prefix)},
      changed_{std::move(changed)},
      loaded_{std::move(loaded)},
      thread_{[this] { run(); }} {}

store_follower::~store_follower() {
  {
    const std::lock_guard guard{mutex_};
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
  watch_.reset();
}

void store_follower::run() {
  while (!begin()) {
    std::unique_lock guard{mutex_};
    if (stop_.wait_for(guard, retry_interval, [this] { return stopping_; }))
      return;
  }
}

/// The watch before the listing, so that nothing falls between the two.
bool store_follower::begin() {
  if (!watch_) {
    auto watch = from_->watch(prefix_, [this](const record& what, bool erased) {
      tell(what, erased);
    });
    if (!watch)
      return false;
    watch_ = std::move(*watch);
  }
  const auto all = from_->list(prefix_);
  if (!all)
    return false;
  for (const auto& each : *all)
    tell(each, false);
  if (loaded_)
    loaded_();
  return true;
}

void store_follower::tell(const record& what, bool erased) {
  const std::lock_guard guard{told_mutex_};
  const auto at = told_.find(what.key);
  if (at != told_.end() && at->second >= what.revision)
    return; // the listing was younger
  if (!erased)
    told_[what.key] = what.revision;
  else if (at != told_.end())
    told_.erase(at);
  changed_(what, erased);
}

} // namespace caged
