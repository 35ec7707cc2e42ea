#include <catch2/catch.hpp>

#include "actors/fleet_records.hpp"
#include "fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

// A store that is shared with other nodes, and that may be away.

TEST_CASE("a node that starts while the store is away keeps what it has") {
  node n;
  n.boot();
  auto kept = n.make_sandbox("web");
  auto moved = n.make_sandbox();
  n.halt();
  auto stray = placement_record{};
  stray.node = n.context->node_id;
  n.store->commit({}, {{operation::kind::erase, placement_key(moved), {}},
                       {operation::kind::put, placement_key("cage-stranger"),
                        encode(stray)}});
  n.store->away = true;
  n.boot();
  n.pass(10s);
  CHECK(n.state_of(kept) == phase::running);
  CHECK(n.state_of(moved) == phase::running);
  // It works as before; what has to be written is refused.
  api::exec run;
  run.sandbox = "web";
  run.argv = {"true"};
  CHECK(n.answers<api::exec_started>(n.ask(run)).size() == 1);
  auto refused = n.ask(api::up{});
  CHECK(n.error_of(refused).code == ec::unavailable);

  n.store->away = false;
  n.pass(3s);
  CHECK(n.state_of(kept) == phase::running);
  CHECK(n.state_of(moved) == phase::destroyed);
  CHECK(n.journal->history[moved].at(n.journal->history[moved].size() - 2).text
        == "its placement is gone");
  CHECK(n.store->records.count(placement_key("cage-stranger")) == 0);
  CHECK(n.store->records.count(placement_key(kept)) == 1);
}

TEST_CASE("what is made as soon as the store is back is not judged with the "
          "old ones") {
  node n;
  n.boot();
  n.make_sandbox();
  n.halt();
  n.store->away = true;
  n.boot();
  n.store->away = false;
  auto fresh = n.make_sandbox("fresh");
  n.pass(10s);
  CHECK(n.state_of(fresh) == phase::running);
  CHECK(n.store->records.count(placement_key(fresh)) == 1);
}

TEST_CASE("a placement of which nobody knows whether it was written goes") {
  node n;
  n.boot();
  n.store->lose_answers = 1;
  api::up what;
  what.spec.name = "web";
  auto asked = n.ask(what);
  CHECK(n.error_of(asked).code == ec::unavailable);
  CHECK(n.store->records.size() == 2); // it was
  n.store->away = true;
  n.pass(5s);
  n.store->away = false;
  n.pass(5s);
  CHECK(n.store->records.empty());
  CHECK(n.metrics->cpus_reserved == 0);
  // The same request is a new one.
  n.ask(what, "uid:0", "r1", asked);
  CHECK(n.answers<api::up_reply>(asked).size() == 1);
}

TEST_CASE("a destroy while the store is away frees, and is finished later") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  n.store->away = true;
  CHECK(n.error_of(n.ask(api::destroy{id})).code == ec::unavailable);
  CHECK(n.driver->running.empty());
  CHECK(n.state_of(id) == phase::stopping);
  n.store->away = false;
  n.pass(60s);
  CHECK(n.state_of(id) == phase::destroyed);
  CHECK(n.store->records.empty());
}

TEST_CASE("sandboxes and names of other nodes are none of this one's") {
  node n;
  auto theirs = placement_record{};
  theirs.node = "node-2";
  n.store->commit(
      {},
      {{operation::kind::put, placement_key("cage-theirs00"), encode(theirs)},
       {operation::kind::put, name_key("uid:0", "web"), "cage-theirs00"}});
  n.boot();
  n.pass(10s);
  CHECK(n.store->records.size() == 2);
  // A name is one owner's in the whole fleet.
  api::up what;
  what.spec.name = "web";
  auto refused = n.error_of(n.ask(what));
  CHECK(refused.code == ec::conflict);
  CHECK(refused.message == "the name \"web\" is in use by cage-theirs00");
  CHECK(n.answers<api::up_reply>(n.ask(what, "uid:7")).size() == 1);
}

TEST_CASE("a placement names its node, its owner and the request for it") {
  node n;
  n.boot();
  api::up what;
  what.spec.name = "web";
  what.spec.cpus = 3;
  auto asked = n.ask(what, "uid:7");
  auto id = n.answers<api::up_reply>(asked).at(0).sandbox.id;
  auto placement =
      decode_placement(id, n.store->records.at(placement_key(id)).value);
  REQUIRE(placement);
  CHECK(placement->node == "node-1");
  CHECK(placement->owner == "uid:7");
  CHECK(placement->name == "web");
  CHECK(placement->request_id == asked);
  CHECK(placement->digest == 1);
  CHECK(placement->takes
        == capacity{3, limits::memory_mb_default, limits::disk_gb_default});
}
