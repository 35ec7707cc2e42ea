#include <catch2/catch.hpp>

#include "messages/join_token.hpp"
#include "tests/unit/actors/fakes.hpp"

using namespace caged;
using namespace caged::fakes;

// Tokens for hosts, as the entrypoint makes them and uses them up.
namespace {

const std::string new_key(40, '5');

struct fixture : node {
  fixture() {
    context->listen = "tcp://10.0.0.1:7400";
    context->public_key = std::string(40, '1');
    context->joining.make_key = [] {
      return result<key_pair>{
          key_pair{{}, std::string(40, '2'), std::string(40, '3')}};
    };
    context->joining.access = [this]() -> result<api::store_access> {
      if (unreadable)
        return fail(ec::io, "the file is gone");
      return api::store_access{"etcds://a/x", "ca", {}, {}, "caged", "secret"};
    };
    context->refused = [this](std::string_view reason, const std::string& who,
                              const std::string& from) {
      if (reason == "join_token")
        refusals.emplace_back(who, from);
      else
        others.emplace_back(reason);
    };
  }
  join_token make_token() {
    const auto made =
        answers<api::node_token_reply>(ask(api::node_token_create{}));
    REQUIRE(made.size() == 1);
    CHECK(made.front().address == context->listen);
    return decode_join_token(made.front().token).value();
  }
  std::string ask_with(const join_token& token, const std::string& host,
                       const std::string& key = new_key) {
    auto request = std::make_shared<api::request>();
    request->route = "r2";
    request->id = make_uuid();
    request->joiner = true;
    request->caller = "join:" + url_form(token.key.public_key);
    request->from = "10.0.0.2";
    request->body = api::join{host + "-id", host, key, "test", token.cluster};
    caf::anon_send(entry, request_ptr{request});
    run();
    return request->id;
  }
  bool unreadable = false;
  std::vector<std::pair<std::string, std::string>> refusals;
  std::vector<std::string> others; ///< reasons
};

} // namespace

TEST_CASE("a host gets the store with a token, once, or its answer again") {
  fixture n;
  n.boot();
  const auto token = n.make_token();
  CHECK(token.server_key == n.context->public_key);
  CHECK(n.context->joins->knows(token.key.public_key));
  for (const auto& [_, each] : n.store->records)
    CHECK(each.value.find(token.key.secret_key) == std::string::npos);
  for (int i = 0; i < 2; ++i) {
    const auto got = n.answers<api::join_reply>(n.ask_with(token, "two"));
    REQUIRE(got.size() == 1);
    CHECK(got.front().cluster == token.cluster);
    CHECK(got.front().store.url == "etcds://a/x");
    CHECK(got.front().store.password == "secret");
  }
  CHECK(n.refusals.empty());
  const auto why = n.error_of(n.ask_with(token, "three", std::string(40, '6')));
  CHECK(why.code == ec::denied);
  CHECK(why.message.find("was used, by two at") != std::string::npos);
  REQUIRE(n.refusals.size() == 1);
  CHECK(n.refusals.front().first.find("three") != std::string::npos);
  CHECK(n.refusals.front().second == "10.0.0.2");
}

TEST_CASE("what fails before a token is used leaves it good") {
  fixture n;
  n.join("node-2", "two", true);
  n.boot();
  const auto token = n.make_token();
  CHECK(n.error_of(n.ask_with(token, "two")).code == ec::conflict);
  n.unreadable = true;
  CHECK(n.error_of(n.ask_with(token, "three")).code == ec::io);
  n.unreadable = false;
  auto elsewhere = token;
  elsewhere.cluster = make_uuid();
  CHECK(n.error_of(n.ask_with(elsewhere, "three")).code == ec::denied);
  n.store->away = true;
  CHECK(n.error_of(n.ask_with(token, "three")).code == ec::unavailable);
  n.store->away = false;
  CHECK(n.answers<api::join_reply>(n.ask_with(token, "three")).size() == 1);
}

TEST_CASE("a commit whose answer is lost is asked for again by the same host") {
  fixture n;
  n.boot();
  const auto token = n.make_token();
  n.store->lose_answers = 1;
  CHECK(n.error_of(n.ask_with(token, "two")).code == ec::unavailable);
  CHECK(n.error_of(n.ask_with(token, "three", std::string(40, '6'))).code
        == ec::denied);
  CHECK(n.answers<api::join_reply>(n.ask_with(token, "two")).size() == 1);
}

TEST_CASE("nodes that cannot take others in make no tokens, nor do others") {
  fixture n;
  n.context->listen.clear();
  n.boot();
  CHECK(n.error_of(n.ask(api::node_token_create{})).code == ec::unsupported);
  CHECK(n.error_of(n.ask(api::node_token_create{}, "key:alice")).code
        == ec::denied);
  CHECK(n.others == std::vector<std::string>{"role"});
  CHECK(n.error_of(n.ask(api::join{})).code == ec::bad_request);
  node alone;
  alone.boot();
  for (const auto& id :
       {alone.ask(api::node_token_create{}), alone.ask(api::join{})}) {
    const auto why = alone.error_of(id);
    CHECK(why.code == ec::unsupported);
    CHECK(why.message
          == "this node keeps its own store; several hosts need etcd");
  }
}
