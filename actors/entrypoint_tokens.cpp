#include "actors/entrypoint.hpp"

#include <algorithm>

#include "messages/text.hpp"

// Tokens of the MCP gateway: made, listed and revoked.
namespace caged {

void entrypoint_state::create_token(const request_ptr& request,
                                    const api::token_create& what) {
  auto make = [this, request](const std::string& sandbox) {
    const auto& asked = std::get<api::token_create>(request->body);
    api::token_info info;
    info.owner = request->caller;
    info.sandbox = sandbox;
    info.template_name = asked.template_name;
    info.scope = asked.scope;
    info.created_ms = wall_clock_ms();
    info.expires_ms = info.created_ms + asked.ttl.count();
    offload(
        self, context->store_calls,
        [store = context->store, tokens = context->tokens,
         info]() -> result<api::token_reply> {
          return tokens->create(*store, info);
        },
        [this, request](result<api::token_reply> made) {
          if (!made)
            return refuse(*request, made.error());
          const auto& base = context->gateway_url;
          if (!base.empty())
            made->url =
                made->info.sandbox.empty()
                    ? base + "/v1/mcp"
                    : base + "/v1/sandboxes/" + made->info.sandbox + "/mcp";
          answer(*request, std::move(*made));
        });
  };
  if (!what.template_name.empty())
    return make({});
  // It may be another node's: the token is the fleet's.
  locate(
      request, what.sandbox, false,
      [make](const found_sandbox& found) { make(found.id); },
      [make](const placement_record& placed) { make(placed.sandbox); });
}

void entrypoint_state::list_tokens(const api::request& request) {
  api::token_list_reply out;
  for (auto& each : context->tokens->list(wall_clock_ms()))
    if (may_touch(request, each.owner))
      out.tokens.push_back(std::move(each));
  answer(request, std::move(out));
}

void entrypoint_state::revoke_token(const request_ptr& request,
                                    const api::token_revoke& what) {
  const auto known = context->tokens->get(what.token, wall_clock_ms());
  const bool theirs = known && may_touch(*request, known->owner);
  if (known && !theirs)
    context->refused("owner", request->caller, request->from);
  if (!theirs)
    return refuse(*request, {ec::not_found,
                             "there is no token " + caged::quoted(what.token)
                                 + ", or it has expired",
                             "caged token list shows them"});
  offload(
      self, context->store_calls,
      [store = context->store, tokens = context->tokens,
       id = known->id]() -> result<bool> { return tokens->revoke(*store, id); },
      [this, request, id = known->id](const result<bool>& done) {
        if (!done)
          return refuse(*request, done.error());
        if (context->token_revoked)
          context->token_revoked(id);
        self->send(node, atom::revoke::value, id);
        answer(*request, api::token_revoke_reply{id});
      });
}

} // namespace caged
