#include "actors/entrypoint.hpp"

#include <algorithm>

#include "messages/text.hpp"

// An `up` whose template this node does not have: the template comes from a
// node that has it, as one archive in pieces, several of them asked for ahead.
// What has come stays on the disk: another source, or a later try, goes on from
// there. All who want the same template wait for the same fetch; it goes on
// when they are gone.
namespace caged {

using namespace std::chrono_literals;

namespace {

/// Before the first piece the source packs the template: job_timeout for its
/// reading, and something for the way.
constexpr std::chrono::milliseconds pack_patience = job_timeout + 10s;
constexpr std::chrono::milliseconds piece_patience = 10s;
/// What is under way at once: fills a link of 1 Gbit/s over 4 ms.
constexpr std::uint64_t window = 8 * limits::frame_max;
/// Each source is tried so often without one more piece from any: a daemon
/// that is started again is back by then.
constexpr unsigned most_rounds = 10;
constexpr std::chrono::milliseconds between_rounds = 1s;
constexpr std::chrono::milliseconds between_news = 500ms;

constexpr std::uint64_t mega = 1'000'000;

} // namespace

/// An `up` that is this node's to do.
void entrypoint_state::up(const request_ptr& request) {
  const auto& wanted = std::get<api::up>(request->body).spec.template_name;
  const auto here = context->fleet ? context->fleet->node(context->node_id)
                                   : result<node_view>{tl::unexpect, failure{}};
  if (!has_peers() || !context->templates || !is_valid_name(wanted)
      || (here && here->templates.contains(wanted))
      || context->fleet->of_request(request->caller, request->id)) {
    self->send(node, atom::run::value, request);
    return;
  }
  offload(
      self, context->templates_in,
      [templates = context->templates, wanted]() -> result<bool> {
        return templates->has(wanted);
      },
      [this, request](const result<bool>& has) {
        if (has && *has)
          self->send(node, atom::run::value, request);
        else
          wait_for_template(request);
      });
}

void entrypoint_state::wait_for_template(const request_ptr& request) {
  const auto& wanted = std::get<api::up>(request->body).spec.template_name;
  const auto until = request->remaining.count() == 0
                         ? 0
                         : wall_clock_ms() + request->remaining.count();
  auto& fetch = fetches_[wanted];
  if (fetch) {
    fetch->waiting.push_back({request, until});
    return fetch_told(fetch);
  }
  fetch = std::make_shared<template_fetch>();
  fetch->name = wanted;
  fetch->waiting.push_back({request, until});
  fetch_from_next(fetch_ptr{fetch});
}

/// The next node that has it. When there was none at all, the supervisor says
/// what it says of a template that nobody has.
void entrypoint_state::fetch_from_next(const fetch_ptr& what) {
  const auto nodes = context->fleet->nodes();
  const auto next =
      std::find_if(nodes.begin(), nodes.end(), [&](const node_view& each) {
        return each.live && !is_here(each.node.id) && !each.node.address.empty()
               && each.templates.contains(what->name)
               && !what->tried.contains(each.node.id);
      });
  if (next == nodes.end()) {
    if (what->tried.empty() && what->rounds == 0)
      return fetch_over(what, std::nullopt);
    if (++what->rounds >= most_rounds)
      return fetch_over(what, what->last);
    what->tried.clear();
    for (const auto& each : what->waiting)
      answer(*each.up,
             api::up_progress{what->last.message + "; it is tried again"});
    self->delayed_send(self, between_rounds, atom::recheck::value, what->name);
    return;
  }
  what->from = next->node.id;
  what->what = {};
  what->tried.insert(what->from);
  ++what->turn;
  ask_for_piece(
      what, 0, pack_patience,
      [this, what](api::template_chunk& first) { fetch_begin(what, first); });
}

void entrypoint_state::fetch_on(const std::string& template_name) {
  if (const auto at = fetches_.find(template_name); at != fetches_.end())
    fetch_from_next(fetch_ptr{at->second});
}

void entrypoint_state::ask_for_piece(const fetch_ptr& what,
                                     std::uint64_t offset,
                                     std::chrono::milliseconds patience,
                                     const on_chunk& next) {
  api::request asked;
  asked.id = make_uuid();
  asked.caller = "node:" + context->node_id;
  asked.admin = true; // what nodes are to each other (ADR 13)
  asked.remaining = patience;
  asked.body = api::template_read{what->name, what->what.digest, offset};
  auto take = [this, what, next, turn = what->turn](api::reply_body& got) {
    if (turn != what->turn)
      return true;
    if (auto* piece = std::get_if<api::template_chunk>(&got))
      next(*piece);
    else if (const auto* error = std::get_if<api::error_reply>(&got))
      fetch_failed(what, error->why);
    else
      fetch_failed(what, {ec::malformed, "it answers something else", {}});
    return true;
  };
  auto body = asked.body;
  const auto hop =
      start_call({std::make_shared<const api::request>(std::move(asked)),
                  what->from,
                  {},
                  take,
                  false},
                 std::move(body));
  if (calls_.contains(hop))
    self->delayed_send(self, patience, atom::expire::value, hop);
}

void entrypoint_state::fetch_begin(const fetch_ptr& what,
                                   const api::template_chunk& first) {
  what->what = {first.digest, first.size};
  offload(
      self, context->templates_in,
      [templates = context->templates, name = what->name,
       archive = what->what] { return templates->begin(name, archive); },
      [this, what, turn = what->turn](const result<std::uint64_t>& from) {
        if (turn != what->turn)
          return;
        if (!from)
          return fetch_over(what, from.error()); // no other source helps
        what->asked = what->came = what->written = *from;
        fetch_told(what);
        fetch_more(what);
      });
}

void entrypoint_state::fetch_more(const fetch_ptr& what) {
  const auto turn = what->turn;
  while (what->asked < what->what.size && what->asked < what->written + window
         && turn == what->turn) {
    const auto at = what->asked;
    what->asked += limits::frame_max;
    ask_for_piece(
        what, at, piece_patience,
        [this, what](api::template_chunk& piece) { fetch_piece(what, piece); });
  }
  if (what->written >= what->what.size && turn == what->turn)
    fetch_install(what);
}

void entrypoint_state::fetch_piece(const fetch_ptr& what,
                                   api::template_chunk& piece) {
  const auto size =
      std::min<std::uint64_t>(limits::frame_max, what->what.size - what->came);
  if (template_archive{piece.digest, piece.size} != what->what
      || piece.offset != what->came || piece.bytes.size() != size)
    return fetch_failed(what, {ec::malformed,
                               "it sent another piece than that at byte "
                                   + std::to_string(what->came),
                               {}});
  what->came += size;
  offload(
      self, context->templates_in,
      [templates = context->templates, name = what->name, archive = what->what,
       part = std::make_shared<api::template_chunk>(std::move(piece))] {
        return templates->append(name, archive, *part);
      },
      [this, what, size, turn = what->turn](const result<void>& done) {
        if (turn != what->turn)
          return;
        if (!done && done.error().code == ec::malformed)
          return fetch_failed(what, done.error());
        if (!done)
          return fetch_over(what, done.error());
        what->written += size;
        what->rounds = 0;
        what->tried = {what->from};
        if (wall_clock_ms() - what->told_ms >= between_news.count())
          fetch_told(what);
        fetch_more(what);
      });
}

void entrypoint_state::fetch_install(const fetch_ptr& what) {
  ++what->turn; // no piece is missing any more
  offload(
      self, context->templates_in,
      [templates = context->templates, name = what->name,
       archive = what->what] { return templates->install(name, archive); },
      [this, what](const result<void>& done) {
        if (done)
          return fetch_over(what, std::nullopt);
        if (done.error().code != ec::malformed)
          return fetch_over(what, done.error());
        // Damaged: it was thrown away, and is fetched anew, once.
        if (what->damaged++ == 0)
          return fetch_failed(what, done.error());
        fetch_over(what, source_failure(*what, done.error()));
      });
}

failure entrypoint_state::source_failure(const template_fetch& what,
                                         const failure& why) const {
  const auto of = context->fleet->node(what.from);
  return {ec::unavailable,
          "template " + caged::quoted(what.name)
              + " could not be fetched from node "
              + caged::quoted(of ? of->node.name : what.from) + ": "
              + why.message,
          "try again: what has come is kept"};
}

void entrypoint_state::fetch_failed(const fetch_ptr& what, const failure& why) {
  ++what->turn;
  what->last = source_failure(*what, why);
  fetch_from_next(what);
}

void entrypoint_state::fetch_over(const fetch_ptr& what,
                                  const std::optional<failure>& why) {
  ++what->turn;
  fetches_.erase(what->name);
  const auto now = wall_clock_ms();
  auto refusal = why.value_or(failure{});
  if (refusal.code == ec::resource) // another node may have room for it
    refusal.code = ec::no_capacity;
  for (const auto& [up, until] : what->waiting)
    if (why)
      refuse(*up, refusal);
    else if (until != 0 && until < now) // nobody wants it any more
      refuse(*up, {ec::timeout,
                   "template " + caged::quoted(what->name)
                       + " has come too late for this request",
                   "ask again: the node has it now"});
    else
      self->send(node, atom::run::value, up);
}

void entrypoint_state::fetch_told(const fetch_ptr& what) {
  what->told_ms = wall_clock_ms();
  if (what->what.size == 0)
    return;
  const auto of = context->fleet->node(what->from);
  for (const auto& each : what->waiting)
    answer(*each.up,
           api::up_progress{
               "template " + what->name + " comes from node "
               + (of ? of->node.name : what->from) + ": "
               + std::to_string(what->written / mega) + " of "
               + std::to_string((what->what.size + mega - 1) / mega) + " MB"});
}

/// For another node.
void entrypoint_state::give_template(const request_ptr& request,
                                     const api::template_read& what) {
  if (!context->templates)
    return refuse(
        *request,
        {ec::unsupported, "this node gives no templates to others", {}});
  offload(
      self, context->templates_out,
      [templates = context->templates, what] { return templates->read(what); },
      [this, request](result<api::template_chunk> got) {
        if (got)
          answer(*request, std::move(*got));
        else
          refuse(*request, got.error());
      });
}

} // namespace caged
