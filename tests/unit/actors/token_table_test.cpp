#include <catch2/catch.hpp>

#include "actors/token_table.hpp"
#include "messages/text.hpp"
#include "tests/unit/actors/fakes.hpp"

using namespace caged;
using namespace caged::fakes;
using namespace std::chrono_literals;

namespace {

std::string marked(std::string_view secret) {
  return "digest of " + std::string{secret};
}

api::token_info for_an_hour() {
  api::token_info out;
  out.owner = "uid:0";
  out.sandbox = "cage-abc12345";
  out.created_ms = wall_clock_ms();
  out.expires_ms = out.created_ms + std::chrono::milliseconds(1h).count();
  return out;
}

} // namespace

TEST_CASE("a token is known by its secret until it is revoked") {
  memory_store store;
  token_table table{marked};
  const auto made = table.create(store, for_an_hour());
  REQUIRE(made);
  const auto now = wall_clock_ms();
  REQUIRE(table.find(made->secret, now));
  CHECK(table.find(made->secret, now)->sandbox == "cage-abc12345");
  CHECK(table.get(made->info.id, now));
  CHECK(table.list(now).size() == 1);
  // One letter of another secret, another length, another id.
  auto wrong = made->secret;
  wrong.back() = wrong.back() == 'a' ? 'b' : 'a';
  CHECK_FALSE(table.find(wrong, now));
  CHECK_FALSE(table.find(made->secret + "a", now));
  CHECK_FALSE(table.find(made->info.id, now));
  CHECK_FALSE(table.find("", now));
  CHECK(*table.revoke(store, made->info.id));
  CHECK_FALSE(table.find(made->secret, now));
  CHECK_FALSE(*table.revoke(store, made->info.id));
}

TEST_CASE("the store never has a token's secret, and a restart knows it") {
  memory_store store;
  std::string secret;
  {
    token_table table{marked};
    secret = table.create(store, for_an_hour())->secret;
  }
  const auto records = store.list("tokens/");
  REQUIRE(records);
  REQUIRE(records->size() == 1);
  CHECK(records->front().value.find("digest of") != std::string::npos);
  token_table again{[](std::string_view) { return std::string{"other"}; }};
  CHECK(*again.load(store) == 0);
  CHECK_FALSE(again.find(secret, wall_clock_ms()));
  token_table same{marked};
  CHECK(*same.load(store) == 0);
  CHECK(same.find(secret, wall_clock_ms()));
}

TEST_CASE("an expired token lets nobody in and is cleared away by the next") {
  memory_store store;
  token_table table{marked};
  auto brief = for_an_hour();
  brief.expires_ms = wall_clock_ms() - 1;
  const auto made = table.create(store, brief);
  REQUIRE(made);
  CHECK_FALSE(table.find(made->secret, wall_clock_ms()));
  CHECK(table.find(made->secret, brief.expires_ms - 1));
  CHECK(table.list(wall_clock_ms()).empty());
  REQUIRE(table.create(store, for_an_hour()));
  CHECK(store.list("tokens/")->size() == 1);
}

TEST_CASE("records of the store that are no tokens are left out and counted") {
  memory_store store;
  const auto good = encode_token(for_an_hour(), "x");
  for (const auto* bad :
       {"", "{", "[]", "null", "{\"id\":1}", "{\"id\":\"tok-aaaaaaaa\"}"})
    CHECK_FALSE(decode_token(bad));
  REQUIRE(
      store.commit({}, {{operation::kind::put, "tokens/tok-aaaaaaaa", "{}"},
                        {operation::kind::put, "tokens/tok-bbbbbbbb", good}}));
  token_table table{marked};
  CHECK(*table.load(store) == 2); // the second names another id
}

TEST_CASE("a token's id is read from its secret, or it is none") {
  const auto secret = "caged-abc12345-" + std::string(40, 'x');
  CHECK(*token_id_of(secret) == "tok-abc12345");
  for (const auto& bad :
       {std::string{}, secret + "x", secret.substr(1),
        "Caged" + secret.substr(5), "caged-ABC12345-" + std::string(40, 'x'),
        "caged-abc12345_" + std::string(40, 'x')})
    CHECK_FALSE(token_id_of(bad));
}
