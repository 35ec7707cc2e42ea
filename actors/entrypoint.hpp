#pragma once

#include <map>
#include <string>
#include <utility>

#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/node_context.hpp"
#include "actors/supervisor.hpp"
#include "messages/fwd.hpp"

namespace caged {

/// Every request of every client comes here: who asks, may they, which
/// sandbox. Owns nothing durable. Extends stream_table_actor.
using entrypoint_actor = caf::typed_actor<
    // From the client port. Answers go to the client sink, always.
    caf::reacts_to<request_ptr>,
    // A client that is gone: route.
    caf::reacts_to<atom::gone, std::string>,
    // An exec is over: route, request id.
    caf::reacts_to<atom::ended, std::string, std::string>,
    // Timer: ends the daemon after a shutdown was answered.
    caf::reacts_to<atom::run>, caf::reacts_to<atom::stop>>;

class entrypoint_state {
public:
  using pointer = entrypoint_actor::stateful_pointer<entrypoint_state>;
  static constexpr const char* name = "entrypoint";

  explicit entrypoint_state(pointer hdl) : self{hdl} {}

  void handle(const request_ptr& request);
  void client_gone(const std::string& route);
  void ended(const std::string& route, const std::string& id);

  pointer self;
  context_ptr context;
  supervisor_actor node;

private:
  void answer(const api::request& request, api::reply_body body);
  void refuse(const api::request& request, failure why,
              const std::string& sandbox = {});
  void refuse(const api::request& request, const caf::error& why,
              const std::string& sandbox = {});
  /// Looks the reference up and goes on with what was found.
  template <class Next>
  void with_sandbox(const request_ptr& request, const std::string& reference,
                    bool destroyed_too, Next next);

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
  void stream(const request_ptr& request);

  /// (route, request id) -> sandbox of a running exec.
  std::map<std::pair<std::string, std::string>, sandbox_actor> streams_;
};

entrypoint_actor::behavior_type entrypoint(entrypoint_state::pointer self,
                                           context_ptr context,
                                           supervisor_actor node);

} // namespace caged
