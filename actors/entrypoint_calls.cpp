#include "actors/entrypoint.hpp"

#include <algorithm>
#include <type_traits>
#include <variant>

#include "messages/text.hpp"

// Calls to other nodes, and to this one where an answer is not the client's as
// it is: each has a number, the hop, that its answers bear.
namespace caged {

namespace {

/// Whether nothing comes after this answer. The exit of a stream is not the
/// end: its acknowledgement is still to be passed on.
bool is_last(const api::request_body& asked, const api::reply_body& answer) {
  if (std::holds_alternative<api::error_reply>(answer))
    return true;
  if (const auto* exec = std::get_if<api::exec>(&asked))
    return exec->detach && std::holds_alternative<api::exec_started>(answer);
  if (std::holds_alternative<api::dial>(asked))
    return false;
  if (const auto* chunk = std::get_if<api::log_chunk>(&answer))
    return chunk->last;
  if (const auto* part = std::get_if<api::events_reply>(&answer))
    return part->last;
  return !std::holds_alternative<api::up_progress>(answer);
}

/// Its client has to be watched: it may go away in the middle.
bool is_stream(const api::request_body& asked) {
  if (const auto* events = std::get_if<api::events>(&asked))
    return events->follow;
  return std::holds_alternative<api::exec>(asked)
         || std::holds_alternative<api::dial>(asked);
}

} // namespace

std::uint64_t entrypoint_state::start_call(node_call what,
                                           api::request_body body) {
  const auto hop = ++last_hop_;
  api::request out;
  out.id = what.request->id;
  out.caller = what.request->caller;
  out.admin = what.request->admin;
  out.viewer = what.request->viewer;
  out.remaining = what.request->remaining;
  out.digest = what.request->digest;
  out.body = std::move(body);
  out.hop = hop;
  if (!what.take) {
    if (is_stream(out.body)) {
      what.watched = true;
      context->clients->watch(what.request->route);
    }
    hops_[{what.request->route, what.request->id}] = hop;
  }
  const auto target = what.node;
  const auto sandbox = what.sandbox;
  calls_.emplace(hop, std::move(what));
  if (is_here(target)) {
    out.route = std::string{route_home} + std::to_string(hop);
    auto mine = std::make_shared<const api::request>(std::move(out));
    if (std::holds_alternative<api::events>(mine->body))
      self->send(node, atom::changed::value, request_ptr{mine});
    else
      up(mine);
    return hop;
  }
  const auto view = context->fleet->node(target);
  if (!view || !view->live || view->node.address.empty()) {
    const failure none{ec::unavailable,
                       "cannot be reached by other nodes: it runs without "
                       "--listen",
                       {}};
    fail_call(hop, away(target, sandbox, none));
    return hop;
  }
  context->peers->send({target, view->node.address, view->node.public_key},
                       std::move(out));
  return hop;
}

/// One sentence that says which node, which sandbox, and since when.
failure entrypoint_state::away(const std::string& which,
                               const std::string& sandbox,
                               const failure& why) const {
  const auto view = context->fleet->node(which);
  const auto title = "node " + caged::quoted(view ? view->node.name : which);
  const auto has = sandbox.empty() ? std::string{} : ", which has " + sandbox;
  if (!view)
    return {ec::lost, title + has + ", is not in the fleet any more",
            "caged node list shows the nodes"};
  if (view->live)
    return {ec::unavailable,
            title + has + (has.empty() ? " " : ", ") + why.message,
            "try again; caged node list shows the nodes"};
  std::string since;
  if (view->silent_since_ms != 0)
    since = " for "
            + std::to_string((wall_clock_ms() - view->silent_since_ms) / 1000)
            + " s";
  return {ec::lost,
          title + has + (has.empty() ? " " : ", ") + "is silent" + since,
          sandbox.empty() ? "caged node list shows the nodes"
                          : "it goes on when the node returns; caged node list "
                            "shows the nodes"};
}

/// A message of a stream that another node's sandbox is at the end of.
void entrypoint_state::stream_on(std::uint64_t hop, const api::request& what) {
  const auto& to = calls_.at(hop);
  const auto view = context->fleet->node(to.node);
  if (!view)
    return; // its link ends at any moment
  auto out = what;
  out.hop = hop;
  // The gateway names its caller once a stream.
  out.caller = to.request->caller;
  out.admin = to.request->admin;
  out.viewer = to.request->viewer;
  const auto* ack = std::get_if<api::stream_ack>(&out.body);
  const bool over = ack && ack->on == api::channel::exit;
  context->peers->send({to.node, view->node.address, view->node.public_key},
                       std::move(out));
  if (over)
    end_call(hop);
}

/// Their client is gone: whoever works for it is told.
void entrypoint_state::end_calls_of(const std::string& route) {
  std::erase_if(followers_,
                [&](const request_ptr& each) { return each->route == route; });
  std::vector<std::uint64_t> ended;
  for (const auto& [hop, each] : calls_)
    if (each.request->route == route)
      ended.push_back(hop);
  for (const auto hop : ended) {
    const auto& to = calls_.at(hop);
    if (is_here(to.node)) {
      self->send(node, atom::gone::value,
                 std::string{route_home} + std::to_string(hop));
    } else if (const auto view = context->fleet->node(to.node)) {
      api::request out;
      out.id = to.request->id;
      out.caller = to.request->caller;
      out.admin = to.request->admin;
      out.viewer = to.request->viewer;
      out.hop = hop;
      out.body = api::client_gone{};
      context->peers->send({to.node, view->node.address, view->node.public_key},
                           std::move(out));
    }
    end_call(hop);
  }
}

void entrypoint_state::end_call(std::uint64_t hop) {
  const auto at = calls_.find(hop);
  if (at == calls_.end())
    return;
  if (at->second.watched)
    context->clients->unwatch(at->second.request->route);
  const auto of =
      hops_.find({at->second.request->route, at->second.request->id});
  if (of != hops_.end() && of->second == hop)
    hops_.erase(of);
  calls_.erase(at);
}

void entrypoint_state::fail_call(std::uint64_t hop, failure why) {
  const auto at = calls_.find(hop);
  if (at == calls_.end())
    return;
  const auto ended = std::move(at->second);
  at->second = {ended.request, ended.node, {}, {}, ended.watched};
  api::reply_body body =
      api::error_reply{std::move(why), ended.sandbox, context->node};
  end_call(hop);
  if (ended.take) {
    ended.take(body);
    return;
  }
  // The link ended with the lease: as if the node had been known to be silent.
  if (const auto placed = context->fleet->placement(ended.sandbox))
    if (const auto of = context->fleet->node(placed->node);
        of && !of->live && answer_lost(ended.request, *placed, *of))
      return;
  context->metrics->error(std::get<api::error_reply>(body).why.code);
  answer(*ended.request, std::move(body));
}

void entrypoint_state::answered(peer_answer& what) {
  auto hop = what.what.hop;
  if (std::holds_alternative<api::probe>(what.what.body))
    return probed(what.node, hop);
  if (hop == 0) {
    // It could not even read what it was asked (another version?): then it
    // answers by the request's id alone.
    const auto of =
        std::find_if(calls_.begin(), calls_.end(), [&](const auto& each) {
          return each.second.node == what.node
                 && each.second.request->id == what.what.id;
        });
    if (of == calls_.end())
      return;
    hop = of->first;
  }
  const auto at = calls_.find(hop);
  if (at == calls_.end() || at->second.node != what.node)
    return; // an answer to what was given up
  if (at->second.take) {
    const auto take = at->second.take; // it may end the call itself
    if (take(what.what.body))
      end_call(hop);
    return;
  }
  const bool last = is_last(at->second.request->body, what.what.body);
  answer(*at->second.request, std::move(what.what.body));
  if (last)
    end_call(hop);
}

/// A node that works for somebody who is not there any more is told so: what
/// was said when they went may have come before it began.
void entrypoint_state::probed(const std::string& which, std::uint64_t hop) {
  const auto view = context->fleet->node(which);
  if (calls_.contains(hop) || !view)
    return;
  api::request out;
  out.id = make_uuid();
  out.caller = "node:" + context->node_id;
  out.hop = hop;
  out.body = api::client_gone{};
  context->peers->send({which, view->node.address, view->node.public_key},
                       std::move(out));
}

void entrypoint_state::link_lost(const peer_lost& what) {
  std::vector<std::uint64_t> lost;
  for (const auto& [hop, each] : calls_)
    if (each.node == what.node && hop <= what.up_to_hop)
      lost.push_back(hop);
  for (const auto hop : lost)
    if (const auto at = calls_.find(hop); at != calls_.end())
      fail_call(hop, away(what.node, at->second.sandbox, what.why));
}

void entrypoint_state::call_due(std::uint64_t hop) {
  if (const auto at = calls_.find(hop); at != calls_.end())
    fail_call(hop, away(at->second.node, at->second.sandbox,
                        {ec::timeout, "has not answered in time", {}}));
}

} // namespace caged
