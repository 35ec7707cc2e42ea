#include <algorithm>

#include "actors/entrypoint.hpp"

#include "actors/booking.hpp"
#include "actors/scheduler.hpp"
#include "actors/store_away.hpp"
#include "messages/text.hpp"

// Which node an `up` goes to: the best by this node's view, and when that one
// turns out to have no room or not to answer, the next (ADR 10). One request id
// makes one sandbox, whichever nodes it reaches: the store has its key.
namespace caged {

namespace {

/// Whether another node may do better.
bool tries_on(ec code) {
  return code == ec::no_capacity || code == ec::shutting_down
         || code == ec::unavailable || code == ec::lost;
}

} // namespace

/// The fleet as this node sees it, with what it has sent on its way and not yet
/// seen booked: else many at once would all go to the one that was emptiest.
std::vector<node_view> entrypoint_state::views() const {
  auto out = context->fleet->nodes();
  std::erase_if(out, [&](const node_view& each) {
    return each.node.address.empty() && !is_here(each.node.id);
  });
  for (auto& each : out)
    if (is_here(each.node.id))
      each.live = true; // it is asked; its lease it may not have seen yet
  for (const auto& [_, each] : calls_) {
    const auto* what = std::get_if<api::up>(&each.request->body);
    if (!what
        || context->fleet->of_request(each.request->caller, each.request->id))
      continue;
    const auto& target = each.node; // clang 14 captures no binding
    const auto at =
        std::find_if(out.begin(), out.end(), [&](const node_view& view) {
          return view.node.id == target;
        });
    if (at == out.end())
      continue;
    reserve(at->reserved.what.used, what->spec, phase::pending);
    ++at->reserved.what.sandboxes;
  }
  return out;
}

void entrypoint_state::place(const request_ptr& request) {
  auto what = std::make_shared<placing>();
  what->request = request;
  if (const auto before =
          context->fleet->of_request(request->caller, request->id)) {
    what->looked = true;
    return place_at(what, before->node);
  }
  if (auto valid = validate(std::get<api::up>(request->body).spec); !valid)
    return refuse(*request, valid.error());
  if (auto there = obtainable(
          views(), std::get<api::up>(request->body).spec.template_name);
      !there)
    return refuse(*request, there.error());
  // No node can book while the store is away: each would find that out anew.
  if (auto why = no_booking(*context))
    return refuse(*request, std::move(*why));
  place_next(what);
}

void entrypoint_state::place_next(const placing_ptr& what) {
  const auto& request = *what->request;
  const auto& asked = std::get<api::up>(request.body);
  const wish wanted{asked.spec, asked.node, asked.require};
  if (const auto named = context->fleet->node(wanted.node);
      named && named->node.address.empty() && !is_here(named->node.id))
    return refuse(request,
                  {ec::unsupported,
                   "node " + caged::quoted(named->node.name)
                       + " cannot be reached by other nodes: it runs without "
                         "--listen",
                   "ask that node itself, or start it with --listen"});
  auto nodes = views();
  std::erase_if(nodes, [&](const node_view& each) {
    return what->tried.contains(each.node.id);
  });
  if (nodes.empty() && what->tried.empty()) // nobody has said what it is yet
    return place_at(what, context->node_id);
  auto best = order(nodes, wanted, request.id);
  if (best && !best->empty())
    return place_at(what, nodes[best->front()].node.id);
  if (what->tried.empty())
    return refuse(request, best ? failure{ec::no_capacity, "no node has room",
                                          "try again"}
                                : best.error());
  // Those that were tried refused; the sentence is about all of them, unless
  // it would be that there is room.
  nodes = views();
  if (best = order(nodes, wanted, request.id);
      !best && what->last.code == ec::no_capacity)
    return refuse(request, best.error());
  refuse(request, what->last);
}

void entrypoint_state::place_at(const placing_ptr& what,
                                const std::string& which) {
  what->tried.insert(which);
  auto take = [this, what, which](api::reply_body& body) {
    auto* error = std::get_if<api::error_reply>(&body);
    const bool last = !std::holds_alternative<api::up_progress>(body);
    if (error && error->why.code == ec::conflict && !what->looked) {
      placed_before(what, which, std::move(*error));
    } else if (error && tries_on(error->why.code) && !what->looked) {
      what->last = std::move(error->why);
      place_next(what);
    } else {
      if (error)
        context->metrics->error(error->why.code);
      answer(*what->request, std::move(body));
    }
    return last;
  };
  start_call({what->request, which, {}, take, false}, what->request->body);
}

/// A name that is in use, or this very request has reached another node before
/// (its answer was lost): the store knows which.
void entrypoint_state::placed_before(const placing_ptr& what,
                                     const std::string& asked,
                                     api::error_reply error) {
  what->looked = true;
  offload(
      self, context->store_calls,
      [store = context->store, owner = what->request->caller,
       id = what->request->id] { return find_request(*store, owner, id); },
      [this, what, asked,
       error](const result<std::optional<placement_record>>& got) mutable {
        if (got && *got && (*got)->node != asked)
          return place_at(what, (*got)->node);
        context->metrics->error(error.why.code);
        answer(*what->request, std::move(error));
      });
}

} // namespace caged
