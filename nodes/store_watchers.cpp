#include "nodes/store_watchers.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace caged {

namespace {

struct watcher {
  std::string prefix;
  store::watch_handler handler;
  std::recursive_mutex running; ///< a handler may drop its own token
  bool ended = false;           ///< under running
};

} // namespace

struct store_watchers::shared {
  /// A change, and those who watched when it was made.
  struct delivery {
    change what;
    std::vector<std::shared_ptr<watcher>> to;
  };
  std::mutex mutex;
  std::condition_variable wake;
  bool ended = false;
  std::deque<delivery> queue;
  std::vector<std::weak_ptr<watcher>> watchers;
  std::thread thread;

  void run() {
    std::unique_lock guard{mutex};
    for (;;) {
      wake.wait(guard, [&] { return ended || !queue.empty(); });
      if (ended)
        return;
      auto next = std::move(queue.front());
      queue.pop_front();
      guard.unlock();
      for (const auto& one : next.to) {
        std::lock_guard busy{one->running};
        if (!one->ended)
          one->handler(next.what.first, next.what.second);
      }
      guard.lock();
    }
  }
};

store_watchers::store_watchers() : shared_{std::make_shared<shared>()} {
  shared_->thread = std::thread{[state = shared_.get()] { state->run(); }};
}

store_watchers::~store_watchers() {
  {
    std::lock_guard guard{shared_->mutex};
    shared_->ended = true;
  }
  shared_->wake.notify_all();
  shared_->thread.join();
}

void store_watchers::changed(std::vector<change> changes) {
  std::lock_guard guard{shared_->mutex};
  std::erase_if(shared_->watchers,
                [](const auto& weak) { return weak.expired(); });
  for (auto& item : changes) {
    shared::delivery next{std::move(item), {}};
    for (const auto& weak : shared_->watchers)
      if (auto one = weak.lock();
          one && next.what.first.key.starts_with(one->prefix))
        next.to.push_back(std::move(one));
    if (!next.to.empty())
      shared_->queue.push_back(std::move(next));
  }
  shared_->wake.notify_all();
}

std::shared_ptr<void> store_watchers::add(std::string prefix,
                                          store::watch_handler handler) {
  auto made = std::make_shared<watcher>();
  made->prefix = std::move(prefix);
  made->handler = std::move(handler);
  std::lock_guard guard{shared_->mutex};
  shared_->watchers.push_back(made);
  auto* raw = made.get();
  return {raw, [made = std::move(made)](void*) mutable {
            std::lock_guard busy{made->running};
            made->ended = true;
          }};
}

} // namespace caged
