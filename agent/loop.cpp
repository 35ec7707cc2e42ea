#include "agent/loop.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include <sys/epoll.h>

namespace caged::agent {

event_loop::event_loop() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
  if (!epoll_)
    throw std::runtime_error("epoll_create1 failed");
}

bool event_loop::watch(int fd, std::uint32_t events, handler on_event) {
  auto it = entries_.find(fd);
  bool added = it == entries_.end();
  if (added)
    it = entries_.emplace(fd, entry{0, ++next_generation_, nullptr}).first;
  auto& slot = it->second;
  if (on_event)
    slot.on_event = std::move(on_event);
  if (!added && slot.events == events)
    return true;
  slot.events = events;
  epoll_event wanted{};
  wanted.events = events;
  wanted.data.u64 =
      std::uint64_t{slot.generation} << 32 | static_cast<std::uint32_t>(fd);
  if (::epoll_ctl(epoll_.get(), added ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd,
                  &wanted)
      == 0)
    return true;
  entries_.erase(it);
  return false;
}

void event_loop::forget(int fd) {
  if (entries_.erase(fd) > 0)
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

event_loop::timer_id event_loop::after(clock::duration delay,
                                       std::function<void()> action) {
  timer_id id{clock::now() + delay, ++next_timer_};
  timers_.emplace(id, std::move(action));
  return id;
}

void event_loop::cancel(const timer_id& id) {
  timers_.erase(id);
}

void event_loop::step(std::chrono::milliseconds longest) {
  auto wait = longest;
  if (!timers_.empty()) {
    auto until = std::chrono::ceil<std::chrono::milliseconds>(
        timers_.begin()->first.first - clock::now());
    wait = std::clamp(until, std::chrono::milliseconds{0}, longest);
  }
  std::array<epoll_event, 32> events;
  auto count =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                   static_cast<int>(wait.count()));
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    auto fd = static_cast<int>(event.data.u64 & 0xFFFFFFFFU);
    auto it = entries_.find(fd);
    // Closed, perhaps with a successor, by a handler of this very step.
    if (it == entries_.end() || it->second.generation != event.data.u64 >> 32)
      continue;
    auto action = it->second.on_event; // may remove itself while it runs
    action(event.events);
  }
  auto now = clock::now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto action = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    action();
  }
}

} // namespace caged::agent
