#include "mcp/http_stream.hpp"

#include <chrono>

namespace caged::mcp {

http_stream::http_stream(web_budget& budget,
                         std::shared_ptr<replay_store> store,
                         std::uint64_t number)
    : budget_{budget}, store_{std::move(store)}, number_{number} {}

bool http_stream::send(std::string message) {
  std::unique_lock guard{lock_};
  if (std::this_thread::get_id() != io_)
    while (!closed_ && attached_ && bytes_ > 0
           && (bytes_ + message.size() > budget_.outbox()
               || budget_.short_of_memory()))
      // Room that others give back is not announced here: hence the time.
      room_.wait_for(guard, std::chrono::milliseconds{100});
  if (closed_)
    return false;
  stream_event event{{number_, ++last_},
                     std::make_shared<const std::string>(std::move(message))};
  if (recording_)
    store_->add(event);
  // An answer may come before its connection waits for it: receive() is first.
  if (attached_ || !(recording_ || lost_))
    push(std::move(event));
  return true;
}

void http_stream::push(stream_event event) {
  bytes_ += event.text->size();
  budget_.waiting(event.text->size());
  pending_.push_back(std::move(event));
  wake_locked();
}

void http_stream::wake_locked() {
  if (woken_ || !listener_.wake)
    return;
  woken_ = true;
  listener_.wake(); // Under the lock, so that detach() knows that it is over.
}

void http_stream::finished() {
  std::lock_guard guard{lock_};
  finished_ = true;
  if (recording_)
    store_->finish(number_);
  wake_locked();
}

void http_stream::attach(listener by) {
  std::function<void()> evicted;
  {
    std::lock_guard guard{lock_};
    evicted = std::move(listener_.evicted);
    if (evicted)
      drop_pending();
    listener_ = std::move(by);
    attached_ = true;
    woken_ = false;
  }
  if (evicted)
    evicted();
}

bool http_stream::attach_after(const event_id& last, listener by) {
  std::function<void()> evicted;
  {
    std::lock_guard guard{lock_};
    if (closed_ || !recording_)
      return false;
    auto missed = store_->after(last);
    if (!missed)
      return false;
    drop_pending();
    evicted = std::move(listener_.evicted);
    listener_ = std::move(by);
    attached_ = true;
    woken_ = false;
    for (auto& event : *missed)
      push(std::move(event));
  }
  if (evicted)
    evicted();
  return true;
}

void http_stream::detach() {
  {
    std::lock_guard guard{lock_};
    listener_ = {};
    woken_ = false;
    attached_ = false;
    lost_ = true;
    // 2025-11-25 and before: the end of a connection cancels nothing, and what
    // is sent is kept or dropped without a word.
    closed_ = closed_ || !store_;
    drop_pending();
  }
  room_.notify_all();
}

void http_stream::drop_pending() {
  pending_.clear();
  budget_.written(bytes_);
  bytes_ = 0;
}

bool http_stream::attached() const {
  std::lock_guard guard{lock_};
  return attached_;
}

void http_stream::record() {
  std::lock_guard guard{lock_};
  if (!store_ || recording_)
    return;
  recording_ = true;
  store_->open(number_);
  for (const auto& event : pending_)
    store_->add(event);
  if (finished_)
    store_->finish(number_);
}

void http_stream::close() {
  {
    std::lock_guard guard{lock_};
    closed_ = true;
    finished_ = true;
    drop_pending();
    woken_ = false;
    wake_locked(); // The connection ends with it.
    listener_ = {};
    attached_ = false;
  }
  room_.notify_all();
}

bool http_stream::take(stream_event& event) {
  std::lock_guard guard{lock_};
  woken_ = false;
  if (pending_.empty())
    return false;
  event = std::move(pending_.front());
  pending_.pop_front();
  return true;
}

void http_stream::written(std::size_t bytes) {
  {
    std::lock_guard guard{lock_};
    const auto less = std::min(bytes, bytes_); // detach() gave all of it back
    bytes_ -= less;
    budget_.written(less);
  }
  room_.notify_all();
}

http_stream::progress http_stream::look() {
  std::lock_guard guard{lock_};
  woken_ = false;
  return {pending_.size(), finished_};
}

std::uint64_t http_stream::last() const {
  std::lock_guard guard{lock_};
  return last_;
}

} // namespace caged::mcp
