#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace caged::mcp {

/// How much memory all connections of a server may use for messages together,
/// and from that what one connection may. Any thread.
class web_budget {
public:
  /// `message` is the most bytes of one message of a client.
  explicit web_budget(std::size_t message)
      : most_incoming_{message + incoming_spare} {}

  /// Connections there are now: each may keep an equal part of the memory.
  void connections(std::size_t count) {
    outbox_.store(share(outgoing_total, count, 16U << 10U, 256U << 10U),
                  std::memory_order_relaxed);
  }
  /// The same for what sessions keep to send again, those of HTTP and the
  /// resumable ones of WebSocket. I/O thread alone.
  void sessions(std::size_t count) {
    sessions_ = count;
    share_replay();
  }
  void resumable_sessions(std::size_t count) {
    resumable_ = count;
    share_replay();
  }
  /// Bytes of messages that one connection may have waiting.
  std::size_t outbox() const { return outbox_.load(std::memory_order_relaxed); }
  /// Bytes that one session may keep to send again.
  std::size_t replay() const { return replay_.load(std::memory_order_relaxed); }

  void waiting(std::size_t more) {
    outgoing_.fetch_add(more, std::memory_order_relaxed);
  }
  void written(std::size_t less) {
    outgoing_.fetch_sub(less, std::memory_order_relaxed);
  }
  /// So much waits for peers that do not read that a large message has to wait
  /// too, and that the slowest peers are closed.
  bool short_of_memory() const {
    return outgoing_.load(std::memory_order_relaxed) > outgoing_total;
  }

  /// Bytes of messages that have not arrived completely. False: too many in
  /// all, nothing was added.
  bool arriving(std::size_t more) {
    if (incoming_.load(std::memory_order_relaxed) + more > most_incoming_)
      return false;
    incoming_.fetch_add(more, std::memory_order_relaxed);
    return true;
  }
  void arrived(std::size_t less) {
    incoming_.fetch_sub(less, std::memory_order_relaxed);
  }

private:
  static constexpr std::size_t incoming_spare = 8U << 20U;
  static constexpr std::size_t outgoing_total = 16U << 20U;
  static constexpr std::size_t replay_total = 16U << 20U;

  static std::size_t share(std::size_t total, std::size_t count,
                           std::size_t least, std::size_t most) {
    return std::clamp(total / std::max<std::size_t>(count, 1), least, most);
  }

  void share_replay() {
    replay_.store(
        share(replay_total, sessions_ + resumable_, 16U << 10U, 1U << 20U),
        std::memory_order_relaxed);
  }

  const std::size_t most_incoming_;
  std::size_t sessions_ = 0, resumable_ = 0;
  std::atomic<std::size_t> outbox_ = 256U << 10U;
  std::atomic<std::size_t> replay_ = 1U << 20U;
  std::atomic<std::size_t> outgoing_ = 0;
  std::atomic<std::size_t> incoming_ = 0;
};

} // namespace caged::mcp
