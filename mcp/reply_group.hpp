#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "mcp/session.hpp"

namespace caged::mcp {

/// The requests of one text and where their answers go: at once, or, for a
/// batch, together when the last one is there. Thread-safe.
class reply_group {
public:
  reply_group(std::shared_ptr<outlet> to, bool batch)
      : to_{std::move(to)}, batch_{batch} {}

  /// Each expect() is followed by one answer() or drop(); the first one of both
  /// is by whoever made the group.
  void expect() {
    std::lock_guard lock{mutex_};
    ++open_;
  }
  /// False: the peer is gone.
  bool answer(std::string message) {
    auto there = true;
    if (batch_)
      collect(std::move(message));
    else
      there = to_->send(std::move(message));
    drop();
    return there;
  }
  /// A part of a batch that belongs to no request.
  void collect(std::string message) {
    std::lock_guard lock{mutex_};
    answers_ += answers_.empty() ? '[' : ',';
    answers_ += message;
  }
  void drop() {
    std::string all;
    {
      std::lock_guard lock{mutex_};
      if (--open_ > 0)
        return;
      all = std::move(answers_);
    }
    if (!all.empty())
      to_->send(std::move(all += ']'));
    to_->finished();
  }
  /// As outlet::lend. A batch's requests run beside each other.
  bool lend(const std::function<void()>& job) {
    return !batch_ && to_->lend(job);
  }
  /// A notification that concerns a request of this text.
  bool tell(std::string message) { return to_->send(std::move(message)); }

private:
  std::shared_ptr<outlet> to_;
  const bool batch_;
  std::mutex mutex_;
  std::size_t open_ = 1;
  std::string answers_;
};

} // namespace caged::mcp
