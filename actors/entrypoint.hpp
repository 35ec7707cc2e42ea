#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/history_record.hpp"
#include "actors/node_context.hpp"
#include "actors/peer_links.hpp"
#include "actors/supervisor.hpp"
#include "messages/fwd.hpp"

namespace caged {

/// From the links to other nodes.
struct peer_answer {
  std::string node;
  api::reply what;
};
struct peer_lost {
  std::string node;
  std::uint64_t up_to_hop = 0;
  failure why;
};

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::peer_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::peer_lost)

namespace caged {

/// Every request of every client comes here: who asks, may they, which
/// sandbox, and which node has it: what is another's is passed on to that, as
/// its client. Owns nothing durable. Extends stream_table_actor.
using entrypoint_actor = caf::typed_actor<
    // From the client port. Answers go to the client sink, always.
    caf::reacts_to<request_ptr>,
    // A client that is gone: route.
    caf::reacts_to<atom::gone, std::string>,
    // An exec is over: route, request id.
    caf::reacts_to<atom::ended, std::string, std::string>,
    // An answer of another node, or of this one to a call with route_home; a
    // link that is gone.
    caf::reacts_to<peer_answer>, caf::reacts_to<peer_lost>,
    // A node that is there (again).
    caf::reacts_to<atom::ready, std::string>,
    // Timer: a template is tried to be fetched again.
    caf::reacts_to<atom::recheck, std::string>,
    // Timer: a call has had its time.
    caf::reacts_to<atom::expire, std::uint64_t>,
    // The supervisor has been told to start: what came before that has waited.
    caf::reacts_to<atom::start>,
    // Timer: ends the daemon after a shutdown was answered.
    caf::reacts_to<atom::run>, caf::reacts_to<atom::stop>>;

class entrypoint_state {
public:
  using pointer = entrypoint_actor::stateful_pointer<entrypoint_state>;
  static constexpr const char* name = "entrypoint";

  explicit entrypoint_state(pointer hdl) : self{hdl} {}

  void start();
  void handle(const request_ptr& request);
  void client_gone(const std::string& route);
  void ended(const std::string& route, const std::string& id);
  void answered(peer_answer& what);
  void link_lost(const peer_lost& what);
  void node_found(const std::string& which);
  void call_due(std::uint64_t hop);
  void fetch_on(const std::string& template_name);

  pointer self;
  context_ptr context;
  supervisor_actor node;

private:
  void answer(const api::request& request, api::reply_body body);
  void refuse(const api::request& request, failure why,
              const std::string& sandbox = {});
  void refuse(const api::request& request, const caf::error& why,
              const std::string& sandbox = {});
  using on_found = std::function<void(found_sandbox&)>;
  using on_placed = std::function<void(const placement_record&)>;
  /// Looks the reference up and goes on with what was found; a sandbox of
  /// another node's is that node's to go on with.
  void with_sandbox(const request_ptr& request, const std::string& reference,
                    bool destroyed_too, const on_found& next);
  /// The same, with something else to do where it is another node's.
  void locate(const request_ptr& request, const std::string& reference,
              bool destroyed_too, const on_found& here,
              const on_placed& elsewhere);

  void exec(const request_ptr& request, const std::string& sandbox,
            bool resumes);
  void pause(const request_ptr& request, const std::string& sandbox,
             bool freeze);
  void ps(const request_ptr& request, const api::ps& what);
  void kill(const request_ptr& request, const api::kill& what);
  void get(const request_ptr& request, const api::get& what);
  void destroy(const request_ptr& request, const api::destroy& what);
  void why(const request_ptr& request, const api::why& what);
  void logs(const request_ptr& request, const api::logs& what);
  void create_token(const request_ptr& request, const api::token_create& what);
  void list_tokens(const api::request& request);
  void revoke_token(const request_ptr& request, const api::token_revoke& what);
  void authorize_key(const request_ptr& request,
                     const api::key_authorize& what);
  void revoke_key(const request_ptr& request, const api::key_revoke& what);
  void close_tokens_of(const std::string& bearer);
  void list_keys(const api::request& request);
  void list_nodes(const api::request& request);
  void get_node(const api::request& request, const api::node_get& what);
  void cordon_node(const request_ptr& request, const api::node_cordon& what);
  void remove_node(const request_ptr& request, const api::node_remove& what);
  void create_node_token(const request_ptr& request,
                         const api::node_token_create& what);
  void join(const request_ptr& request, const api::join& what);
  void stream(const request_ptr& request);
  void events(const request_ptr& request, const api::events& what);

  // entrypoint_routing.cpp: whose sandbox it is.
  struct search {
    request_ptr request;
    std::string reference;
    bool destroyed_too = false;
    on_found here;
    on_placed elsewhere;
    std::optional<found_sandbox> found; ///< here, by its prefix
    failure why;                        ///< it was not found here
    std::optional<failure> unread;      ///< why nobody knows its history
  };
  using search_ptr = std::shared_ptr<search>;
  /// This node is one of several.
  bool has_peers() const { return context->peers && context->fleet; }
  void in_view(const search_ptr& what);
  void in_store(const search_ptr& what);
  void in_memories(const search_ptr& what);
  void by_prefix(const search_ptr& what);
  void not_found(const search_ptr& what);
  void settle(const search_ptr& what, const placement_record& placed);
  void pass_on(const request_ptr& request, const placement_record& placed);
  bool answer_lost(const request_ptr& request, const placement_record& placed,
                   const node_view& of);

  // entrypoint_history.cpp: what the store has of those whose node is away.
  void in_copies(const search_ptr& what);
  void why_lost(const request_ptr& request, const placement_record& placed,
                const cause& silent);
  void tell_copy(const api::request& request, const history_record& copy);
  bool repeats_gone(const request_ptr& request);

  // entrypoint_calls.cpp: what another node, or this one, works on.
  /// Takes one answer; true when it was the last. An error is one.
  using on_answer = std::function<bool(api::reply_body&)>;
  struct node_call {
    request_ptr request; ///< the client's
    std::string node;    ///< id; this one's own for a call with route_home
    std::string sandbox; ///< for errors; may be empty
    on_answer take;      ///< empty: answers are the client's
    bool watched = false;
  };
  std::uint64_t start_call(node_call what, api::request_body body);
  void stream_on(std::uint64_t hop, const api::request& what);
  void end_calls_of(const std::string& route);
  void end_call(std::uint64_t hop);
  void probed(const std::string& which, std::uint64_t hop);
  void fail_call(std::uint64_t hop, failure why);
  failure away(const std::string& which, const std::string& sandbox,
               const failure& why) const;
  bool is_here(const std::string& which) const {
    return which == context->node_id;
  }

  // entrypoint_place.cpp: which node an `up` goes to.
  struct placing {
    request_ptr request;
    std::vector<std::string> left; ///< ids of nodes, the best last
    std::set<std::string> tried;
    failure last;
    bool looked = false; ///< for an earlier try of it in the store
  };
  using placing_ptr = std::shared_ptr<placing>;
  void place(const request_ptr& request);
  void place_next(const placing_ptr& what);
  void place_at(const placing_ptr& what, const std::string& which);
  void placed_before(const placing_ptr& what, const std::string& asked,
                     api::error_reply error);
  std::vector<node_view> views() const;

  // entrypoint_templates.cpp: an `up` whose template is on another node.
  struct template_fetch {
    struct waiter {
      request_ptr up;
      std::int64_t until_ms = 0; ///< wall clock; 0: it has no deadline
    };
    std::string name;
    std::vector<waiter> waiting;
    std::string from;            ///< node that is asked
    std::set<std::string> tried; ///< since the last piece came
    unsigned rounds = 0;         ///< in vain, since then
    unsigned damaged = 0;        ///< how often the whole was not right
    failure last;
    template_archive what;                          ///< as `from` says
    std::uint64_t asked = 0, came = 0, written = 0; ///< bytes
    /// Counts the sources: an answer that is older is to nobody.
    std::uint64_t turn = 0;
    std::int64_t told_ms = 0;
  };
  using fetch_ptr = std::shared_ptr<template_fetch>;
  void up(const request_ptr& request);
  void wait_for_template(const request_ptr& request);
  void fetch_from_next(const fetch_ptr& what);
  void fetch_begin(const fetch_ptr& what, const api::template_chunk& first);
  void fetch_more(const fetch_ptr& what);
  void fetch_piece(const fetch_ptr& what, api::template_chunk& piece);
  void fetch_install(const fetch_ptr& what);
  failure source_failure(const template_fetch& what, const failure& why) const;
  void fetch_failed(const fetch_ptr& what, const failure& why);
  void fetch_over(const fetch_ptr& what, const std::optional<failure>& why);
  void fetch_told(const fetch_ptr& what);
  using on_chunk = std::function<void(api::template_chunk&)>;
  void ask_for_piece(const fetch_ptr& what, std::uint64_t offset,
                     std::chrono::milliseconds patience, const on_chunk& next);
  void give_template(const request_ptr& request,
                     const api::template_read& what);

  // entrypoint_fleet.cpp: what all nodes have to answer.
  void list_all(const request_ptr& request);
  void events_of_all(const request_ptr& request);
  void follow_at(const request_ptr& request, const std::string& which,
                 std::int64_t since_ms);

  /// (route, request id) -> sandbox of a running exec.
  std::map<std::pair<std::string, std::string>, sandbox_actor> streams_;
  std::map<std::uint64_t, node_call> calls_; ///< by hop
  /// Those of clients: (route, request id) -> hop.
  std::map<std::pair<std::string, std::string>, std::uint64_t> hops_;
  std::uint64_t last_hop_ = 0;
  std::vector<request_ptr> followers_;       ///< of the events of all nodes
  std::map<std::string, fetch_ptr> fetches_; ///< by template
  bool started_ = false;
  std::vector<request_ptr> early_; ///< came before start
};

/// Routes of calls to this very node begin with it: what it answers comes back
/// as peer_answer, by the sink of clients.
inline constexpr std::string_view route_home = "home/";

entrypoint_actor::behavior_type entrypoint(entrypoint_state::pointer self,
                                           context_ptr context,
                                           supervisor_actor node);

} // namespace caged
