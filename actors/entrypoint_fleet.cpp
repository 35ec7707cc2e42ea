#include <algorithm>
#include <memory>
#include <set>

#include "actors/entrypoint.hpp"

#include "actors/permissions.hpp"
#include "actors/store_away.hpp"
#include "messages/text.hpp"

// What no single node can answer: every one is asked, and of those that are
// silent is said what the store knows.
namespace caged {

using namespace std::chrono_literals;

namespace {

constexpr auto patience =
    std::chrono::milliseconds(limits::request_deadline_default);
/// A node that has not answered by then counts as one that does not.
constexpr auto gather_time = 1000ms;
constexpr std::size_t events_a_message = 100;

} // namespace

void entrypoint_state::list_all(const request_ptr& request) {
  struct gathering {
    api::list_reply out;
    std::set<std::string> answered; ///< nodes, by id
    std::size_t left = 0;
  };
  auto all = std::make_shared<gathering>();
  auto done = [this, request, all] {
    if (--all->left > 0)
      return;
    const auto& what = std::get<api::list>(request->body);
    std::set<std::string> seen;
    for (const auto& each : all->out.sandboxes)
      seen.insert(each.id);
    for (const auto& placed : context->fleet->placements()) {
      if (all->answered.contains(placed.node) || seen.contains(placed.sandbox)
          || !what.labels.empty() // which it has, nobody can say
          || !may_touch(*request, placed.owner)
          || (!what.all_owners && !request->admin
              && placed.owner != request->caller))
        continue;
      if (const auto of = context->fleet->node(placed.node))
        all->out.sandboxes.push_back(lost_info(placed, *of));
    }
    std::stable_sort(all->out.sandboxes.begin(), all->out.sandboxes.end(),
                     [](const auto& a, const auto& b) {
                       return a.created_ms < b.created_ms;
                     });
    all->out.notice = old_view(*context);
    answer(*request, std::move(all->out));
  };
  std::vector<std::string> others;
  for (const auto& each : context->fleet->nodes())
    if (each.live && !is_here(each.node.id))
      others.push_back(each.node.id);
  all->left = others.size() + 1;
  auto add = [all](const std::string& from, api::list_reply& got) {
    all->answered.insert(from);
    std::move(got.sandboxes.begin(), got.sandboxes.end(),
              std::back_inserter(all->out.sandboxes));
  };
  self->request(node, patience, atom::list::value, request)
      .then(
          [this, add, done](api::list_reply& got) {
            add(context->node_id, got);
            done();
          },
          [done](caf::error&) { done(); });
  for (const auto& each : others) {
    auto take = [add, done, each](api::reply_body& body) {
      if (auto* got = std::get_if<api::list_reply>(&body))
        add(each, *got);
      done();
      return true;
    };
    const auto hop =
        start_call({request, each, {}, take, false}, request->body);
    self->delayed_send(self, gather_time, atom::expire::value, hop);
  }
}

/// The history of all nodes in the order of its times; what happens as it
/// comes.
void entrypoint_state::events_of_all(const request_ptr& request) {
  struct gathering {
    std::vector<api::event> history;
    std::size_t left = 0;
  };
  const auto follow = std::get<api::events>(request->body).follow;
  auto all = std::make_shared<gathering>();
  auto done = [this, request, all] {
    if (--all->left > 0)
      return;
    auto& events = all->history;
    std::stable_sort(events.begin(), events.end(),
                     [](const auto& a, const auto& b) {
                       return a.what.time_ms < b.what.time_ms;
                     });
    for (std::size_t at = 0; at < events.size() || at == 0;
         at += events_a_message) {
      const auto end = std::min(at + events_a_message, events.size());
      api::events_reply part;
      part.events.assign(
          std::make_move_iterator(events.begin()
                                  + static_cast<std::ptrdiff_t>(at)),
          std::make_move_iterator(events.begin()
                                  + static_cast<std::ptrdiff_t>(end)));
      part.last = end == events.size();
      answer(*request, std::move(part));
    }
  };
  std::vector<std::string> nodes = {context->node_id};
  for (const auto& each : context->fleet->nodes())
    if (each.live && !is_here(each.node.id))
      nodes.push_back(each.node.id);
  all->left = nodes.size();
  if (follow) {
    context->clients->watch(request->route);
    followers_.push_back(request);
    const auto since = std::get<api::events>(request->body).since_ms;
    for (const auto& each : nodes)
      follow_at(request, each, since);
    return;
  }
  for (const auto& each : nodes) {
    auto take = [all, done](api::reply_body& body) {
      auto* part = std::get_if<api::events_reply>(&body);
      if (part)
        std::move(part->events.begin(), part->events.end(),
                  std::back_inserter(all->history));
      if (part && !part->last)
        return false;
      done();
      return true;
    };
    const auto hop =
        start_call({request, each, {}, take, false}, request->body);
    self->delayed_send(self, gather_time, atom::expire::value, hop);
  }
}

/// A node that goes away is followed again when it is back (node_found).
void entrypoint_state::follow_at(const request_ptr& request,
                                 const std::string& which,
                                 std::int64_t since_ms) {
  auto take = [this, request](api::reply_body& body) {
    auto* part = std::get_if<api::events_reply>(&body);
    if (!part)
      return true;
    part->last = false;
    answer(*request, std::move(*part));
    return false;
  };
  auto body = std::get<api::events>(request->body);
  body.since_ms = since_ms;
  start_call({request, which, {}, take, false}, body);
}

/// What happened there while it was not heard is in its history.
void entrypoint_state::node_found(const std::string& which) {
  if (is_here(which) || !has_peers())
    return;
  for (const auto& each : followers_) {
    const bool followed =
        std::any_of(calls_.begin(), calls_.end(), [&](const auto& item) {
          return item.second.request == each && item.second.node == which;
        });
    const auto view = context->fleet->node(which);
    if (!followed && view)
      follow_at(each, which, std::max<std::int64_t>(view->heard_ms, 1));
  }
}

} // namespace caged
