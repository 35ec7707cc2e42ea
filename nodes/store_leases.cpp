#include "nodes/store_leases.hpp"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>

namespace caged {

namespace {

using steady = std::chrono::steady_clock;

struct term {
  std::chrono::seconds ttl;
  steady::time_point end;
};

/// Random, since they must not come again after a restart.
std::int64_t fresh_id() {
  std::random_device source;
  std::uniform_int_distribution<std::int64_t> any{
      1, std::numeric_limits<std::int64_t>::max()};
  return any(source);
}

tl::unexpected<failure> no_lease(std::int64_t lease) {
  return fail(ec::not_found,
              "the lease " + std::to_string(lease) + " has ended",
              "ask for a new one");
}

} // namespace

struct store_leases::shared {
  std::function<bool(std::int64_t)> ended;
  mutable std::mutex mutex;
  std::condition_variable wake;
  std::map<std::int64_t, term> terms;
  /// Expired, and `ended` has yet to succeed.
  std::vector<std::int64_t> due;
  bool stopping = false;
  std::thread thread; ///< there from the first grant on

  bool alive(std::int64_t lease) const {
    const auto at = terms.find(lease);
    return at != terms.end() && steady::now() < at->second.end;
  }

  /// When there is something to do; moves what has expired to `due`.
  steady::time_point expire(steady::time_point now) {
    auto next = steady::time_point::max();
    for (auto at = terms.begin(); at != terms.end();) {
      if (at->second.end <= now) {
        due.push_back(at->first);
        at = terms.erase(at);
      } else {
        next = std::min(next, at->second.end);
        ++at;
      }
    }
    return next;
  }

  void run() {
    std::unique_lock guard{mutex};
    while (!stopping) {
      auto next = expire(steady::now());
      if (auto now_due = std::exchange(due, {}); !now_due.empty()) {
        guard.unlock();
        std::erase_if(now_due, [&](auto lease) { return ended(lease); });
        guard.lock();
        due.insert(due.end(), now_due.begin(), now_due.end());
        if (!due.empty())
          next = std::min(next, steady::now() + std::chrono::seconds{1});
        else
          continue; // time has passed
      }
      if (stopping)
        return;
      if (next == steady::time_point::max())
        wake.wait(guard);
      else
        wake.wait_until(guard, next);
    }
  }
};

store_leases::store_leases(std::function<bool(std::int64_t)> ended)
    : shared_{std::make_unique<shared>()} {
  shared_->ended = std::move(ended);
}

store_leases::~store_leases() {
  {
    std::lock_guard guard{shared_->mutex};
    shared_->stopping = true;
  }
  shared_->wake.notify_all();
  if (shared_->thread.joinable())
    shared_->thread.join();
}

result<store_lease> store_leases::grant(std::chrono::seconds ttl) {
  if (ttl.count() < 1)
    return fail(ec::bad_request,
                "a lease of " + std::to_string(ttl.count())
                    + " seconds is less than 1",
                "ask for a second or more");
  std::lock_guard guard{shared_->mutex};
  const store_lease made{fresh_id(), ttl};
  shared_->terms[made.id] = {ttl, steady::now() + ttl};
  if (!shared_->thread.joinable())
    shared_->thread = std::thread{[state = shared_.get()] { state->run(); }};
  shared_->wake.notify_all();
  return made;
}

result<void> store_leases::keep_alive(std::int64_t lease) {
  std::lock_guard guard{shared_->mutex};
  if (!shared_->alive(lease))
    return no_lease(lease);
  auto& mine = shared_->terms[lease];
  mine.end = steady::now() + mine.ttl;
  return {};
}

bool store_leases::alive(std::int64_t lease) const {
  std::lock_guard guard{shared_->mutex};
  return shared_->alive(lease);
}

result<void>
store_leases::check(const std::vector<operation>& operations) const {
  for (const auto& item : operations)
    if (item.lease != 0 && !alive(item.lease))
      return no_lease(item.lease);
  return {};
}

void store_leases::drop(std::int64_t lease) {
  std::lock_guard guard{shared_->mutex};
  shared_->terms.erase(lease);
}

} // namespace caged
