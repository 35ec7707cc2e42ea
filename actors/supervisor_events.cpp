#include <algorithm>

#include "actors/supervisor.hpp"

#include "messages/text.hpp"

// `events`: the journal's history, then what happens. A follower that does not
// keep up loses its connection (the outbox of the client port is bounded).
namespace caged {

namespace {

constexpr std::size_t history_most = 10000;
constexpr std::size_t events_a_message = 100;

bool same(const api::event& a, const api::event& b) {
  return a.sandbox == b.sandbox && a.what.time_ms == b.what.time_ms
         && a.what.to == b.what.to && a.what.text == b.what.text;
}

} // namespace

/// What a sandbox has recorded, to everybody who follows it.
void supervisor_state::spread(const sandbox_changed& what) {
  for (auto& who : followers_) {
    if (!may_touch(*who.request, what.info.owner)
        || (!who.sandbox.empty() && who.sandbox != what.info.id))
      continue;
    api::events_reply out;
    for (const auto& news : what.news)
      out.events.push_back({what.info.id, what.info.spec.name, news});
    if (out.events.empty())
      continue;
    if (who.live)
      context->clients->send(
          {who.request->route, who.request->id, std::move(out)});
    else
      who.early.insert(who.early.end(), out.events.begin(), out.events.end());
  }
}

void supervisor_state::unfollow(const std::string& route) {
  std::erase_if(followers_, [&](const follower& who) {
    return who.request->route == route;
  });
}

void supervisor_state::follow(const request_ptr& request) {
  const auto& what = std::get<api::events>(request->body);
  std::string wanted;
  if (!what.sandbox.empty()) {
    std::vector<std::pair<std::string, std::string>> visible;
    for (const auto& [id, item] : sandboxes_)
      if (may_touch(*request, item.info.owner))
        visible.emplace_back(id, item.info.spec.name);
    auto id = resolve_reference(what.sandbox, visible);
    auto gone = destroyed_.find(what.sandbox);
    if (id)
      wanted = *id;
    else if (gone != destroyed_.end()
             && may_touch(*request, gone->second.owner))
      wanted = gone->first;
    else
      return refuse(*request, id.error());
  }
  if (what.follow) {
    followers_.push_back({request, wanted, false, {}});
    context->clients->watch(request->route);
  }
  offload(
      self, context->records,
      [journal = context->journal, since = what.since_ms] {
        return journal->events(since, history_most);
      },
      [this, request, wanted, follow = what.follow](
          result<std::vector<std::pair<std::string, cause>>> got) {
        if (!got) {
          unfollow(request->route);
          return refuse(*request, got.error());
        }
        std::vector<api::event> history;
        for (auto& [id, why] : *got) {
          const sandbox_info* info = nullptr;
          if (auto it = sandboxes_.find(id); it != sandboxes_.end())
            info = &it->second.info;
          else if (auto old = destroyed_.find(id); old != destroyed_.end())
            info = &old->second;
          if (!info || !may_touch(*request, info->owner)
              || (!wanted.empty() && wanted != id))
            continue;
          history.push_back({id, info->spec.name, std::move(why)});
        }
        auto who = std::find_if(
            followers_.begin(), followers_.end(),
            [&](const follower& item) { return item.request == request; });
        if (who != followers_.end()) {
          for (auto& early : who->early)
            if (std::none_of(
                    history.begin(), history.end(),
                    [&](const auto& seen) { return same(seen, early); }))
              history.push_back(std::move(early));
          who->early.clear();
          who->live = true;
        }
        for (std::size_t at = 0; at < history.size() || at == 0;
             at += events_a_message) {
          api::events_reply part;
          auto end = std::min(at + events_a_message, history.size());
          part.events.assign(history.begin() + static_cast<std::ptrdiff_t>(at),
                             history.begin()
                                 + static_cast<std::ptrdiff_t>(end));
          part.last = !follow && end == history.size();
          context->clients->send(
              {request->route, request->id, std::move(part)});
        }
      });
}

} // namespace caged
