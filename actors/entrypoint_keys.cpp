#include "actors/entrypoint.hpp"

#include "messages/text.hpp"

// Keys of clients over tcp: authorised, listed and revoked.
namespace caged {

void entrypoint_state::authorize_key(const request_ptr& request,
                                     const api::key_authorize& what) {
  const auto before = context->keys->find(what.key);
  offload(
      self, context->store_calls,
      [store = context->store, keys = context->keys,
       what]() -> result<api::key_reply> {
        return keys->authorize(*store, what, wall_clock_ms());
      },
      [this, request, before](result<api::key_reply> done) {
        if (!done)
          return refuse(*request, done.error());
        if (before)
          close_tokens_of(before->name);
        answer(*request, std::move(*done));
      });
}

void entrypoint_state::revoke_key(const request_ptr& request,
                                  const api::key_revoke& what) {
  offload(
      self, context->store_calls,
      [store = context->store, keys = context->keys,
       key = what.key]() -> result<std::vector<api::key_info>> {
        return keys->revoke(*store, key);
      },
      [this, request](result<std::vector<api::key_info>> gone) {
        if (!gone)
          return refuse(*request, gone.error());
        const auto& asked = std::get<api::key_revoke>(request->body).key;
        if (gone->empty())
          return refuse(*request, {ec::not_found,
                                   "no authorised key is or belongs to "
                                       + caged::quoted(asked),
                                   "caged key list shows them"});
        for (const auto& each : *gone)
          close_tokens_of(each.name);
        answer(*request, api::key_revoke_reply{std::move(*gone)});
      });
}

/// Who may run nothing by key must not by a token that was made with it: those
/// of a name without such a key are revoked.
void entrypoint_state::close_tokens_of(const std::string& bearer) {
  for (const auto& key : context->keys->of(bearer))
    if (key.as != api::role::viewer)
      return;
  for (const auto& each : context->tokens->list(wall_clock_ms())) {
    if (each.owner != key_owner(bearer))
      continue;
    offload(
        self, context->store_calls,
        [store = context->store, tokens = context->tokens,
         id = each.id]() -> result<bool> { return tokens->revoke(*store, id); },
        [this, id = each.id](const result<bool>& done) {
          if (!done)
            return context->metrics->error(done.error().code);
          if (context->token_revoked)
            context->token_revoked(id);
          self->send(node, atom::revoke::value, id);
        });
  }
}

void entrypoint_state::list_keys(const api::request& request) {
  answer(request, api::key_list_reply{context->keys->list()});
}

} // namespace caged
