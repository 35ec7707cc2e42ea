#include <catch2/catch.hpp>

#include <set>

#include "actors/permissions.hpp"
#include "tests/support/every_request.hpp"
#include "tests/unit/actors/fakes.hpp"

using namespace caged;
using namespace caged::fakes;

// Every verb of the protocol against every role: a verb that is added has to be
// put down here, too.
namespace {

const std::set<std::string_view> users = {
    "hello",        "up",         "list",         "get",         "exec",
    "destroy",      "logs",       "why",          "data",        "ack",
    "credit",       "eof",        "signal",       "resize",      "pause",
    "resume",       "ps",         "kill",         "events",      "dial",
    "token_create", "token_list", "token_revoke", "node_status", "node_list",
    "node_get"};
const std::set<std::string_view> viewers = {
    "hello", "list",   "get",         "logs",      "why",
    "ps",    "events", "node_status", "node_list", "node_get"};
const std::set<std::string_view> admins_alone = {
    "node_audit", "node_shutdown", "key_authorize", "key_revoke",
    "key_list",   "node_cordon",   "node_remove",   "node_token_create",
    "join",       "client_gone",   "template_read"};

api::request from(bool admin, bool viewer, api::request_body body) {
  api::request out;
  out.caller = "key:alice";
  out.admin = admin;
  out.viewer = viewer;
  out.body = std::move(body);
  return out;
}

} // namespace

TEST_CASE("every verb has its row of permissions, in the order of the verbs") {
  for (const auto& body : test::every_request())
    CHECK(permissions[body.index()].verb == api::verb_of(body));
  CHECK(users.size() + admins_alone.size() == permissions.size());
}

TEST_CASE("each role may use its verbs and is told why not the others") {
  for (const auto& body : test::every_request()) {
    const auto verb = api::verb_of(body);
    CAPTURE(verb);
    CHECK_FALSE(refusal_of(from(true, false, body)));
    CHECK(refusal_of(from(false, false, body)).has_value()
          == (users.count(verb) == 0));
    CHECK(refusal_of(from(false, true, body)).has_value()
          == (viewers.count(verb) == 0));
    if (auto why = refusal_of(from(false, true, body))) {
      CHECK(why->code == ec::denied);
      CHECK(why->message.find(verb) != std::string::npos);
      CHECK_FALSE(why->hint.empty());
    }
  }
}

TEST_CASE("the bearer of a join token may join, and nothing else") {
  for (const auto& body : test::every_request()) {
    const auto verb = api::verb_of(body);
    CAPTURE(verb);
    auto request = from(false, false, body);
    request.joiner = true;
    const auto why = refusal_of(request);
    CHECK(why.has_value() == (verb != "join"));
    if (why) {
      CHECK(why->code == ec::denied);
      CHECK(why->message.find(verb) != std::string::npos);
    }
    request.viewer = true; // it is a joiner all the same
    CHECK(refusal_of(request).has_value() == (verb != "join"));
  }
}

TEST_CASE("a user sees its own, a viewer and an admin everybody's") {
  CHECK(may_touch(from(false, false, api::list{}), "key:alice"));
  CHECK_FALSE(may_touch(from(false, false, api::list{}), "key:bob"));
  CHECK(may_touch(from(false, true, api::list{}), "key:bob"));
  CHECK(may_touch(from(true, false, api::list{}), "key:bob"));
}

TEST_CASE("a viewer reads everybody's sandboxes and changes none") {
  node n;
  n.boot();
  const auto id = n.make_sandbox("web", "key:alice");
  REQUIRE_FALSE(id.empty());
  const auto ask = [&](api::request_body body) {
    auto request =
        std::make_shared<api::request>(from(false, true, std::move(body)));
    request->caller = "key:eve";
    request->route = "r9";
    request->id = make_uuid();
    caf::anon_send(n.entry, request_ptr{request});
    n.run();
    return request->id;
  };
  const auto seen = n.answers<api::list_reply>(ask(api::list{true, false, {}}));
  REQUIRE(seen.size() == 1);
  CHECK(seen.front().sandboxes.size() == 1);
  CHECK(n.answers<api::get_reply>(ask(api::get{"web"})).size() == 1);
  CHECK(n.answers<api::why_reply>(ask(api::why{"web"})).size() == 1);
  CHECK(n.error_of(ask(api::destroy{"web"})).code == ec::denied);
  api::exec run;
  run.sandbox = "web";
  run.argv = {"true"};
  CHECK(n.error_of(ask(run)).code == ec::denied);
  CHECK(n.error_of(ask(api::up{})).code == ec::denied);
  CHECK(n.error_of(ask(api::stream_data{})).code == ec::denied);
  CHECK(n.metrics->refusals["role"] == 4);
  // Its owner may, and another user does not even find it.
  CHECK(n.error_of(n.ask(api::get{"web"}, "key:bob")).code == ec::not_found);
  CHECK(n.error_of(n.ask(api::destroy{id}, "key:bob")).code == ec::not_found);
  CHECK(n.metrics->refusals["owner"] == 1); // by its id alone
  CHECK(n.answers<api::destroy_reply>(n.ask(api::destroy{"web"}, "key:alice"))
            .size()
        == 1);
}

TEST_CASE("keys are authorised, listed and revoked by admins alone") {
  node n;
  n.boot();
  const std::string key(40, '1');
  const api::key_authorize alice{key, "alice", api::role::user, false};
  CHECK(n.error_of(n.ask(alice, "key:bob")).code == ec::denied);
  CHECK(n.error_of(n.ask(api::key_list{}, "key:bob")).code == ec::denied);
  const auto made = n.answers<api::key_reply>(n.ask(alice));
  REQUIRE(made.size() == 1);
  CHECK(made.front().created);
  const auto all = n.answers<api::key_list_reply>(n.ask(api::key_list{}));
  REQUIRE(all.size() == 1);
  REQUIRE(all.front().keys.size() == 1);
  CHECK(all.front().keys.front().name == "alice");
  CHECK(n.error_of(n.ask(api::key_revoke{"nobody"})).code == ec::not_found);
  // A token that she made goes with her last key.
  const auto token = n.answers<api::token_reply>(
      n.ask(api::token_create{{}, "minimal"}, "key:alice"));
  REQUIRE(token.size() == 1);
  const auto gone =
      n.answers<api::key_revoke_reply>(n.ask(api::key_revoke{"alice"}));
  REQUIRE(gone.size() == 1);
  CHECK(gone.front().keys.size() == 1);
  CHECK_FALSE(n.context->keys->find(key));
  CHECK_FALSE(n.context->tokens->find(token.front().secret, wall_clock_ms()));
}
