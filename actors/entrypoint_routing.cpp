#include "actors/entrypoint.hpp"

#include <type_traits>
#include <variant>

#include "messages/text.hpp"

// Whose sandbox a request is about. What this node has is looked for first,
// then its view of the fleet, then the store, of which the view may be a moment
// behind; a prefix counts only when nothing bears the reference itself, so that
// who asks to destroy "web" never hits "web-2".
namespace caged {

using namespace std::chrono_literals;

namespace {

constexpr auto patience =
    std::chrono::milliseconds(limits::request_deadline_default);
/// For an answer of every node that may remember a destroyed sandbox.
constexpr auto memory_time = 1000ms;

/// The same request about this sandbox.
api::request_body about(const api::request_body& body, const std::string& id) {
  auto out = body;
  std::visit(
      [&](auto& what) {
        if constexpr (requires { what.sandbox = id; })
          what.sandbox = id;
      },
      out);
  return out;
}

bool is_named(const placement_record& what, const std::string& reference) {
  return what.sandbox == reference || what.name == reference;
}

bool is_named(const found_sandbox& what, const std::string& reference) {
  return what.id == reference || what.info.spec.name == reference;
}

} // namespace

void entrypoint_state::with_sandbox(const request_ptr& request,
                                    const std::string& reference,
                                    bool destroyed_too, const on_found& next) {
  locate(request, reference, destroyed_too, next,
         [this, request](const placement_record& placed) {
           pass_on(request, placed);
         });
}

void entrypoint_state::locate(const request_ptr& request,
                              const std::string& reference, bool destroyed_too,
                              const on_found& here,
                              const on_placed& elsewhere) {
  auto what = std::make_shared<search>();
  what->request = request;
  what->reference = reference;
  what->destroyed_too = destroyed_too;
  what->here = here;
  what->elsewhere = elsewhere;
  self->request(node, patience, atom::lookup::value, reference, request,
                destroyed_too)
      .then(
          [this, what](found_sandbox& found) {
            if (!has_peers() || what->request->hop != 0
                || is_named(found, what->reference))
              return what->here(found);
            what->found = found;
            in_view(what);
          },
          [this, what](caf::error& why) {
            what->why = to_failure(why);
            if (!has_peers() || what->request->hop != 0
                || (what->why.code != ec::not_found
                    && what->why.code != ec::ambiguous))
              return not_found(what);
            in_view(what);
          });
}

/// A placement that bears the reference itself.
void entrypoint_state::in_view(const search_ptr& what) {
  const auto& from = *what->request;
  const auto found = context->fleet->find(what->reference, from.caller,
                                          from.admin || from.viewer);
  if (found && is_named(*found, what->reference))
    return settle(what, *found);
  in_store(what);
}

void entrypoint_state::in_store(const search_ptr& what) {
  if (context->store_away && context->store_away())
    return in_memories(what); // the view is what there is
  offload(
      self, context->store_calls,
      [store = context->store, reference = what->reference,
       owner =
           what->request->caller]() -> result<std::optional<placement_record>> {
        auto id = reference;
        if (!is_valid_id(id)) {
          const auto named = store->get(name_key(owner, reference));
          if (!named)
            return tl::unexpected<failure>(named.error());
          if (!*named)
            return std::nullopt;
          id = (*named)->value;
        }
        const auto placed = store->get(placement_key(id));
        if (!placed)
          return tl::unexpected<failure>(placed.error());
        if (!*placed)
          return std::nullopt;
        auto read = decode_placement(id, (*placed)->value);
        if (!read)
          return tl::unexpected<failure>(read.error());
        return std::optional{std::move(*read)};
      },
      [this, what](const result<std::optional<placement_record>>& got) {
        if (got && *got && may_touch(*what->request, (*got)->owner))
          return settle(what, **got);
        in_memories(what);
      });
}

/// Destroyed ones are remembered by the node that had them: all are asked for
/// one that bears the reference itself. By name only where a supervisor would
/// look so, too (supervisor_state::lookup): else the name is free again.
void entrypoint_state::in_memories(const search_ptr& what) {
  std::vector<std::string> asked;
  const auto& body = what->request->body;
  const bool by_name = std::holds_alternative<api::destroy>(body)
                       || std::holds_alternative<api::why>(body);
  if (what->destroyed_too && (by_name || is_valid_id(what->reference)))
    for (const auto& each : context->fleet->nodes())
      if (each.live && !is_here(each.node.id))
        asked.push_back(each.node.id);
  if (asked.empty())
    return in_copies(what);
  auto left = std::make_shared<std::size_t>(asked.size());
  for (const auto& each : asked) {
    auto take = [this, what, left, node = each](api::reply_body& got) {
      const auto* known = std::get_if<api::why_reply>(&got);
      if (known && *left > 0) {
        *left = 0; // the others are too late
        placement_record there;
        there.sandbox = known->id;
        there.node = node;
        what->elsewhere(there);
      } else if (*left > 0 && --*left == 0) {
        in_copies(what);
      }
      return true;
    };
    const auto hop = start_call({what->request, each, {}, take, false},
                                api::why{what->reference});
    self->delayed_send(self, memory_time, atom::expire::value, hop);
  }
}

void entrypoint_state::by_prefix(const search_ptr& what) {
  const auto& from = *what->request;
  const auto seen = context->fleet->find(what->reference, from.caller,
                                         from.admin || from.viewer);
  if (!seen && seen.error().code != ec::not_found)
    return refuse(from, seen.error());
  if (!what->found) {
    if (!seen || what->why.code != ec::not_found)
      return not_found(what);
    return settle(what, *seen);
  }
  if (seen && seen->sandbox != what->found->id)
    return refuse(from, {ec::ambiguous,
                         caged::quoted(what->reference) + " could be "
                             + what->found->id + " or " + seen->sandbox,
                         "name it by its id"});
  what->here(*what->found);
}

/// Nothing, or nothing that its sender may see. Ids are not guessed: who names
/// another's has it from somewhere, and somebody should know.
void entrypoint_state::not_found(const search_ptr& what) {
  const auto& from = *what->request;
  const auto of = context->fleet && from.hop == 0
                      ? context->fleet->placement(what->reference)
                      : std::nullopt;
  if (of && !may_touch(from, of->owner))
    context->refused("owner", from.caller, from.from);
  refuse(from, what->unread && what->why.code == ec::not_found ? *what->unread
                                                               : what->why);
}

/// A placement was found. One of this node's that its supervisor does not know
/// (yet, or any more) is looked for there once more.
void entrypoint_state::settle(const search_ptr& what,
                              const placement_record& placed) {
  if (!is_here(placed.node))
    return what->elsewhere(placed);
  self->request(node, patience, atom::lookup::value, placed.sandbox,
                what->request, what->destroyed_too)
      .then([what](found_sandbox& found) { what->here(found); },
            [this, what](caf::error& why) { refuse(*what->request, why); });
}

void entrypoint_state::pass_on(const request_ptr& request,
                               const placement_record& placed) {
  if (const auto view = context->fleet->node(placed.node);
      view && !view->live && answer_lost(request, placed, *view))
    return;
  start_call({request, placed.node, placed.sandbox, {}, false},
             about(request->body, placed.sandbox));
}

/// What can be said of a sandbox whose node is silent. False: the request needs
/// the node.
bool entrypoint_state::answer_lost(const request_ptr& request,
                                   const placement_record& placed,
                                   const node_view& of) {
  if (std::holds_alternative<api::get>(request->body)) {
    api::get_reply out;
    out.sandbox = lost_info(placed, of);
    answer(*request, std::move(out));
    return true;
  }
  if (std::holds_alternative<api::why>(request->body)) {
    why_lost(request, placed, lost_info(placed, of).last_cause);
    return true;
  }
  return false;
}

} // namespace caged
