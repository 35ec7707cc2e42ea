#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>

#include "agent/unique_fd.hpp"

namespace caged::agent {

using clock = std::chrono::steady_clock;

/// The agent's one thread: descriptors (epoll, level-triggered) and timers.
class event_loop {
public:
  using handler = std::function<void(std::uint32_t events)>;
  using timer_id = std::pair<clock::time_point, std::uint64_t>;

  event_loop();

  /// Calls `on_event` for EPOLLIN, EPOLLOUT, ... of fd. An fd watched already
  /// gets the new events and keeps its handler unless one is given. False:
  /// epoll refuses it (a regular file, or out of memory).
  bool watch(int fd, std::uint32_t events, handler on_event = nullptr);
  /// Before the descriptor is closed. Idempotent.
  void forget(int fd);

  timer_id after(clock::duration delay, std::function<void()> action);
  /// Idempotent; a timer that fired is cancelled already.
  void cancel(const timer_id& id);

  /// Waits for something and handles it; at most `longest`.
  void step(std::chrono::milliseconds longest);

private:
  struct entry {
    std::uint32_t events;
    std::uint32_t generation; ///< tells a closed descriptor from its successor
    handler on_event;
  };
  unique_fd epoll_;
  std::unordered_map<int, entry> entries_;
  std::map<timer_id, std::function<void()>> timers_;
  std::uint64_t next_timer_ = 0;
  std::uint32_t next_generation_ = 0;
};

} // namespace caged::agent
