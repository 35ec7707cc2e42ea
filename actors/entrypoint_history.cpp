#include "actors/entrypoint.hpp"

#include <variant>

#include "actors/booking.hpp"
#include "actors/histories.hpp"
#include "actors/permissions.hpp"
#include "messages/text.hpp"

// What the store keeps of sandboxes whose node cannot be asked: the copy of
// their history (docs/adr/0014), and that a request has had its sandbox.
namespace caged {

namespace {

constexpr const char* hint = "try again when the store answers";

} // namespace

/// The owner's copy of a destroyed or forgotten one that bears the reference
/// itself. For `why` alone: there is nothing else to be said of it.
void entrypoint_state::in_copies(const search_ptr& what) {
  if (!std::holds_alternative<api::why>(what->request->body))
    return by_prefix(what);
  const auto unread = [what](const std::string& why) {
    what->unread = failure{ec::unavailable,
                           "no sandbox " + caged::quoted(what->reference)
                               + " is there, and whether one was cannot be "
                                 "read: "
                               + why,
                           hint};
  };
  if (const auto away =
          context->store_away ? context->store_away() : std::nullopt) {
    unread(away->message);
    return by_prefix(what);
  }
  const auto& from = *what->request;
  offload(
      self, context->store_calls,
      [store = context->store, reference = what->reference,
       caller = from.caller, all = from.admin || from.viewer] {
        return find_history(*store, reference, caller, all);
      },
      [this, what, unread](const result<std::optional<history_record>>& got) {
        if (got && *got)
          return tell_copy(*what->request, **got);
        if (!got)
          unread(got.error().message);
        by_prefix(what);
      });
}

/// A placement whose node is silent: its history as far as it was copied, then
/// that.
void entrypoint_state::why_lost(const request_ptr& request,
                                const placement_record& placed,
                                const cause& silent) {
  const auto alone = [this, request, id = placed.sandbox,
                      silent](const std::string& why) {
    auto last = silent;
    if (!why.empty())
      last.text += "; what was before cannot be read: " + escape_text(why);
    answer(*request, api::why_reply{id, {std::move(last)}});
  };
  if (const auto away =
          context->store_away ? context->store_away() : std::nullopt)
    return alone(away->message);
  offload(
      self, context->store_calls,
      [store = context->store, id = placed.sandbox] {
        return read_history(*store, id);
      },
      [this, request, alone,
       silent](const result<std::optional<history_record>>& got) {
        if (!got || !*got)
          return alone(got ? std::string{} : got.error().message);
        const auto& copy = **got;
        api::why_reply out{copy.sandbox, told(copy)};
        if (!is_over(copy)) {
          out.causes.push_back(silent);
          out.causes.back().from = copy.state;
        }
        answer(*request, std::move(out));
      });
}

/// No placement speaks of it any more.
void entrypoint_state::tell_copy(const api::request& request,
                                 const history_record& copy) {
  api::why_reply out{copy.sandbox, told(copy)};
  if (const auto of = context->fleet->node(copy.node);
      !is_over(copy) && (!of || !of->live)) {
    const auto since = of ? of->silent_since_ms : 0;
    out.causes.push_back(
        {since != 0 ? since : wall_clock_ms(), copy.state, phase::lost, "fleet",
         "node " + escape_text(copy.node_name, 128)
             + (of ? " is silent" : " is not in the fleet any more")});
  }
  answer(request, std::move(out));
}

/// A repeat of an `up` whose sandbox was destroyed, on whichever node: answered
/// as its own node does it.
bool entrypoint_state::repeats_gone(const request_ptr& request) {
  const auto before = context->fleet->gone(request->caller, request->id);
  if (!before)
    return false;
  auto why = repeat_of_gone(request->id, request->digest, *before);
  context->metrics->error(why.code);
  answer(*request,
         api::error_reply{std::move(why), before->sandbox, before->node_name});
  return true;
}

} // namespace caged
