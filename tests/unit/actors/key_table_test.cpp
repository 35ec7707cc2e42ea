#include <catch2/catch.hpp>

#include "actors/key_table.hpp"
#include "tests/unit/actors/fakes.hpp"

using namespace caged;
using namespace caged::fakes;

namespace {

const std::string key_a(40, '1'), key_b(40, '2');

/// A table that is told of its store as a node's follower would tell it.
struct fixture {
  std::shared_ptr<memory_store> store = std::make_shared<memory_store>();
  key_table table;
  int changes = 0;
  fixture() {
    table.on_change([this] { ++changes; });
  }
  /// How many records could not be read.
  std::size_t follow() {
    const auto unreadable = tell(table);
    table.loaded();
    return unreadable;
  }
  std::size_t tell(key_table& to) const {
    std::size_t unreadable = 0;
    const auto records = store->list("keys/");
    for (const auto& each : *records)
      unreadable += to.apply(each, false) ? 0 : 1;
    return unreadable;
  }
  result<api::key_reply> authorize(const std::string& key,
                                   const std::string& name,
                                   api::role as = api::role::user,
                                   bool shared = false) {
    return table.authorize(*store, {key, name, as, shared}, 1000);
  }
};

} // namespace

TEST_CASE("a key is let in until it is revoked, and a restart knows it") {
  fixture f;
  CHECK_FALSE(f.table.ready());
  CHECK(f.follow() == 0);
  CHECK(f.table.ready());
  CHECK_FALSE(f.table.find(key_a));
  REQUIRE(f.authorize(key_a, "alice"));
  REQUIRE(f.table.find(key_a));
  CHECK(f.table.find(key_a)->name == "alice");
  CHECK(f.store->list("keys/")->size() == 1);
  key_table again;
  CHECK(f.tell(again) == 0);
  CHECK(again.find(key_a)->as == api::role::user);
  REQUIRE(f.table.revoke(*f.store, key_a));
  CHECK_FALSE(f.table.find(key_a));
  CHECK(f.store->list("keys/")->empty());
  // What one table writes, another is told: nodes share the store.
  again.apply({key_record_of(key_a), {}, f.store->revision}, true);
  CHECK_FALSE(again.find(key_a));
  REQUIRE(again.authorize(*f.store, {key_b, "bob", api::role::viewer, false},
                          2000));
  CHECK(f.tell(f.table) == 0);
  CHECK(f.table.find(key_b)->as == api::role::viewer);
  CHECK(f.changes >= 3);
}

TEST_CASE("a name is not another key's by accident") {
  fixture f;
  f.follow();
  REQUIRE(f.authorize(key_a, "alice"));
  const auto taken = f.authorize(key_b, "alice");
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code == ec::conflict);
  CHECK(taken.error().hint.find("--name") != std::string::npos);
  REQUIRE(f.authorize(key_b, "alice", api::role::user, true));
  CHECK(f.table.of("alice").size() == 2);
  CHECK(f.table.revoke(*f.store, "alice")->size() == 2);
  CHECK(f.table.list().empty());
  CHECK(f.table.revoke(*f.store, "alice")->empty());
}

TEST_CASE("a key that is known gets its new role and keeps its age") {
  fixture f;
  f.follow();
  CHECK(f.authorize(key_a, "alice")->created);
  const auto again = f.table.authorize(
      *f.store, {key_a, "alice", api::role::viewer, false}, 5000);
  REQUIRE(again);
  CHECK_FALSE(again->created);
  CHECK(again->info.created_ms == 1000);
  CHECK(f.table.find(key_a)->as == api::role::viewer);
}

TEST_CASE("news that come late do not bring a revoked key back") {
  fixture f;
  f.follow();
  REQUIRE(f.authorize(key_a, "alice"));
  const auto old = f.store->list("keys/")->front();
  REQUIRE(f.table.revoke(*f.store, key_a));
  const auto erased = f.store->revision;
  f.table.apply(old, false);
  CHECK_FALSE(f.table.find(key_a));
  f.table.apply({old.key, {}, erased}, true);
  // And authorised again by another node it is let in again.
  f.table.apply({old.key, old.value, erased + 1}, false);
  CHECK(f.table.find(key_a));
}

TEST_CASE("records that are no keys let nobody in and are counted") {
  fixture f;
  const auto good = encode_key({key_a, "alice", api::role::admin, 1});
  const auto put = [&](const std::string& key, const std::string& value) {
    REQUIRE(f.store->commit({}, {{operation::kind::put, key, value}}));
  };
  put("keys/short", good);
  put("keys/" + key_a, good); // not the URL form
  put(key_record_of(key_b), "{}");
  CHECK(f.follow() == 3);
  CHECK(f.table.list().empty());
  for (const auto* bad :
       {"", "[]", "null", R"({"role":"root","name":"a","created_ms":1})",
        R"({"role":"user","name":"A B","created_ms":1})",
        R"({"role":"user","name":"a","created_ms":"1"})"})
    CHECK_FALSE(decode_key({key_record_of(key_a), bad, 1}));
  // Written over with something unreadable: no longer let in.
  REQUIRE(f.authorize(key_a, "alice"));
  put(key_record_of(key_a), "nonsense");
  CHECK(f.tell(f.table) == 4);
  CHECK_FALSE(f.table.find(key_a));
}

TEST_CASE("a store that is away changes nothing") {
  fixture f;
  f.follow();
  REQUIRE(f.authorize(key_a, "alice"));
  f.store->broken = true;
  CHECK_FALSE(f.authorize(key_b, "bob"));
  CHECK_FALSE(f.table.find(key_b));
  CHECK_FALSE(f.table.revoke(*f.store, key_a));
  CHECK(f.table.find(key_a));
}
