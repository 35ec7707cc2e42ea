#include "mcp/replay.hpp"

namespace caged::mcp {

namespace {

/// Many small events must not cost more than a few large ones: list entry,
/// reference count and string of each.
constexpr std::size_t event_overhead = 128;

std::size_t cost(const stream_event& event) {
  return event.text->size() + event_overhead;
}

} // namespace

void replay_store::open(std::uint64_t number) {
  std::lock_guard guard{lock_};
  streams_.try_emplace(number);
}

void replay_store::add(const stream_event& event) {
  std::lock_guard guard{lock_};
  auto& of = streams_[event.id.stream];
  of.last = event.id.number;
  ++of.kept;
  events_.push_back(event);
  bytes_ += cost(event);
  trim_locked();
}

void replay_store::finish(std::uint64_t number) {
  std::lock_guard guard{lock_};
  const auto at = streams_.find(number);
  if (at == streams_.end())
    return;
  at->second.finished = true;
  if (at->second.kept == 0)
    streams_.erase(at);
}

void replay_store::trim_locked() {
  while (bytes_ > budget_.replay() && !events_.empty()) {
    const auto& oldest = events_.front();
    bytes_ -= cost(oldest);
    const auto at = streams_.find(oldest.id.stream);
    if (--at->second.kept == 0 && at->second.finished)
      streams_.erase(at);
    events_.pop_front();
  }
}

bool replay_store::knows(std::uint64_t number) const {
  std::lock_guard guard{lock_};
  return streams_.contains(number);
}

std::size_t replay_store::kept(std::uint64_t number) const {
  std::lock_guard guard{lock_};
  const auto at = streams_.find(number);
  return at == streams_.end() ? 0 : at->second.kept;
}

void replay_store::trim() {
  std::lock_guard guard{lock_};
  trim_locked();
}

std::size_t replay_store::bytes() const {
  std::lock_guard guard{lock_};
  return bytes_;
}

std::optional<std::vector<stream_event>>
replay_store::after(const event_id& last) const {
  std::lock_guard guard{lock_};
  const auto of = streams_.find(last.stream);
  // Number 0 is the event that opens a stream, before any message.
  if (of == streams_.end() || last.number > of->second.last)
    return std::nullopt;
  const auto missing = of->second.last - last.number;
  if (missing > of->second.kept)
    return std::nullopt; // the oldest of them went
  std::vector<stream_event> out;
  out.reserve(missing);
  for (const auto& event : events_)
    if (event.id.stream == last.stream && event.id.number > last.number)
      out.push_back(event);
  return out;
}

} // namespace caged::mcp
