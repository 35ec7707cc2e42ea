#include "mcp/http_sessions.hpp"

#include <algorithm>
#include <vector>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

/// A client may pause for so long before its session goes to make room.
constexpr std::chrono::seconds least_idle{60};

} // namespace

bool http_session::in_use() const {
  return of->busy() > 0 || (events && events->attached())
         || std::any_of(streams.begin(), streams.end(),
                        [](const auto& s) { return s.second->attached(); });
}

std::shared_ptr<http_session> http_sessions::find(const std::string& id) {
  const auto at = all_.find(id);
  return at == all_.end() ? nullptr : at->second;
}

bool http_sessions::make_room(clock::time_point now) {
  if (all_.size() < most_)
    return true;
  std::shared_ptr<http_session> oldest;
  for (const auto& [id, each] : all_)
    if (now - each->used >= least_idle && (!oldest || each->used < oldest->used)
        && !each->in_use())
      oldest = each;
  if (!oldest)
    return false;
  end(oldest);
  return true;
}

std::shared_ptr<http_session> http_sessions::add(std::shared_ptr<session> of,
                                                 clock::time_point now) {
  auto one = std::make_shared<http_session>();
  one->id = make_uuid();
  one->of = std::move(of);
  one->replay = std::make_shared<replay_store>(budget_);
  one->used = now;
  all_.emplace(one->id, one);
  budget_.sessions(all_.size());
  return one;
}

void http_sessions::end(const std::shared_ptr<http_session>& one) {
  if (all_.erase(one->id) == 0)
    return;
  budget_.sessions(all_.size());
  // Streams first: a worker that waits for a slow reader goes on.
  for (const auto& [number, stream] : one->streams)
    stream->close();
  if (one->events)
    one->events->close();
  one->of->close();
}

void http_sessions::expire(clock::time_point now,
                           std::chrono::milliseconds idle) {
  std::vector<std::shared_ptr<http_session>> over;
  for (const auto& item : all_) {
    const auto& each = item.second;
    each->replay->trim();
    std::erase_if(each->streams, [&](const auto& s) {
      return s.second->look().finished && !s.second->attached()
             && !each->replay->knows(s.first);
    });
    if (now - each->used > idle && !each->in_use())
      over.push_back(each);
  }
  for (const auto& each : over)
    end(each);
}

void http_sessions::end_all() {
  while (!all_.empty())
    end(std::shared_ptr<http_session>{all_.begin()->second});
}

std::size_t http_sessions::busy() const {
  std::size_t sum = 0;
  for (const auto& [id, each] : all_)
    sum += each->of->busy();
  return sum;
}

} // namespace caged::mcp
