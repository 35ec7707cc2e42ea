#include "actors/entrypoint.hpp"

#include "messages/join_token.hpp"
#include "messages/text.hpp"

// Hosts that join the fleet: tokens are made and used up.
namespace caged {

namespace {

constexpr std::string_view by_token = "join:";

failure alone() {
  return {ec::unsupported,
          "this node keeps its own store; several hosts need etcd",
          "start it with --store etcd://HOST:2379/PREFIX, or etcds:// for TLS"};
}

/// The key of the token that a request came with; nothing: with none.
std::optional<std::string> token_of(const api::request& request) {
  const std::string_view who = request.caller;
  if (!request.joiner || !who.starts_with(by_token))
    return std::nullopt;
  auto key = parse_public_key(who.substr(by_token.size()));
  return key ? std::optional{std::move(*key)} : std::nullopt;
}

struct made_token {
  api::node_token_reply reply;
  record in_store;
};

} // namespace

void entrypoint_state::create_node_token(const request_ptr& request,
                                         const api::node_token_create& what) {
  if (!context->joining.access)
    return refuse(*request, alone());
  if (context->listen.empty())
    return refuse(*request,
                  {ec::unsupported,
                   "this node does not listen, so that nobody can join by it",
                   "start it with --listen tcp://ADDRESS:7400"});
  join_record token;
  token.by = request->caller;
  token.created_ms = wall_clock_ms();
  token.expires_ms = token.created_ms + what.ttl.count();
  offload(
      self, context->store_calls,
      [with = context, token]() mutable -> result<made_token> {
        const auto cluster = open_cluster(*with->store);
        if (!cluster)
          return tl::unexpected<failure>(cluster.error());
        auto keys = with->joining.make_key();
        if (!keys)
          return tl::unexpected<failure>(keys.error());
        token.key = keys->public_key;
        auto written = offer_join(*with->store, token);
        if (!written)
          return tl::unexpected<failure>(written.error());
        return made_token{
            {encode(join_token{cluster->id, with->public_key, std::move(*keys),
                               token.expires_ms}),
             token.expires_ms, with->listen},
            std::move(*written)};
      },
      [this, request](result<made_token> made) {
        if (!made)
          return refuse(*request, made.error());
        // Its bearer may be faster than what the store tells.
        context->joins->apply(made->in_store, false);
        answer(*request, std::move(made->reply));
      });
}

void entrypoint_state::join(const request_ptr& request, const api::join& what) {
  if (!context->joining.access)
    return refuse(*request, alone());
  const auto token = token_of(*request);
  if (!token)
    return refuse(*request,
                  {ec::bad_request, "only the bearer of a join token joins",
                   "caged node token makes one; caged-node join "
                   "uses it"});
  const auto& called = what.name.empty() ? what.node : what.name;
  for (const auto& each : context->fleet->nodes())
    if (each.node.id != what.node && each.node.name == called)
      return refuse(*request, {ec::conflict,
                               "the fleet has a node that is called "
                                   + caged::quoted(called),
                               "choose another name: --node-name NAME"});
  join_use use{what.node, called, what.public_key, wall_clock_ms()};
  offload(
      self, context->store_calls,
      [with = context, token = *token, use,
       wanted = what.cluster]() -> result<api::join_reply> {
        // What can fail without the token comes first.
        auto access = with->joining.access();
        if (!access)
          return tl::unexpected<failure>(access.error());
        const auto cluster = open_cluster(*with->store);
        if (!cluster)
          return tl::unexpected<failure>(cluster.error());
        if (cluster->id != wanted)
          return fail(ec::denied,
                      "this node is of cluster " + cluster->id
                          + ", and the token of " + wanted,
                      "make another on this node: caged node token");
        if (auto done = take_join(*with->store, token, use); !done)
          return tl::unexpected<failure>(done.error());
        // It may have been a node before.
        if (auto done = with->store->commit(
                {}, {{operation::kind::erase, removed_key(use.node), {}}});
            !done)
          return tl::unexpected<failure>(done.error());
        return api::join_reply{cluster->id, with->node, std::move(*access)};
      },
      [this, request, use](result<api::join_reply> done) {
        if (done)
          return answer(*request, std::move(*done));
        if (done.error().code == ec::denied)
          context->refused("join_token",
                           use.name + ", " + request->caller + ": "
                               + done.error().message,
                           request->from);
        refuse(*request, done.error());
      });
}

} // namespace caged
