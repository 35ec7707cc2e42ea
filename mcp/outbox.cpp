#include "mcp/outbox.hpp"

#include <chrono>

namespace caged::mcp {

outbox::outbox(web_budget& budget, std::function<void()> wake)
    : budget_{budget}, wake_{std::move(wake)} {}

bool outbox::send(std::string message) {
  const auto here = std::this_thread::get_id() == io_;
  std::unique_lock guard{lock_};
  if (!here)
    while (!closed_ && bytes_ > 0
           && (bytes_ + message.size() > budget_.outbox()
               || budget_.short_of_memory()))
      // Room that others give back is not announced here: hence the time.
      room_.wait_for(guard, std::chrono::milliseconds{100});
  if (closed_)
    return false;
  bytes_ += message.size();
  budget_.waiting(message.size());
  messages_.push_back(std::move(message));
  if (!woken_ && !(here && corked_)) {
    woken_ = true;
    wake_(); // Under the lock, so that close() knows that it is over.
  }
  return true;
}

bool outbox::take(std::string& message) {
  std::lock_guard guard{lock_};
  woken_ = false;
  if (messages_.empty())
    return false;
  message = std::move(messages_.front());
  messages_.pop_front();
  return true;
}

void outbox::written(std::size_t bytes) {
  {
    std::lock_guard guard{lock_};
    if (closed_)
      return; // close() gave all of it back
    bytes_ -= bytes;
    budget_.written(bytes);
  }
  room_.notify_all();
}

bool outbox::full() const {
  std::lock_guard guard{lock_};
  return bytes_ > budget_.outbox() || (bytes_ > 0 && budget_.short_of_memory());
}

bool outbox::empty() const {
  std::lock_guard guard{lock_};
  return bytes_ == 0;
}

void outbox::close() {
  {
    std::lock_guard guard{lock_};
    if (closed_)
      return;
    closed_ = true;
    wake_ = nullptr;
    messages_.clear();
    budget_.written(bytes_);
    bytes_ = 0;
  }
  room_.notify_all();
}

} // namespace caged::mcp
