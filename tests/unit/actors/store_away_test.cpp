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
  n.store->then_away = true;
  api::up what;
  what.spec.name = "web";
  auto asked = n.ask(what);
  CHECK(n.error_of(asked).code == ec::unavailable);
  CHECK(n.placed() == 2); // it was
  n.pass(5s);
  n.store->away = false;
  n.pass(5s);
  CHECK(n.placed() == 0);
  CHECK(n.booked() == capacity{});
  CHECK(n.metrics->cpus_reserved == 0);
  // The same request is a new one.
  n.ask(what, "uid:0", "r1", asked);
  CHECK(n.answers<api::up_reply>(asked).size() == 1);
}

TEST_CASE("a placement whose answer alone was lost is found, and stays") {
  node n;
  n.boot();
  n.store->lose_answers = 1;
  auto id = n.make_sandbox("web");
  CHECK_FALSE(id.empty());
  CHECK(n.placed() == 2);
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
  CHECK(n.placed() == 0);
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
  CHECK(n.placed() == 2);
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

TEST_CASE("what a node has booked is what its sandboxes take") {
  node n;
  n.boot();
  api::up what;
  what.spec.cpus = 3;
  what.spec.memory_mb = 1024;
  what.spec.disk_gb = 7;
  auto id = n.answers<api::up_reply>(n.ask(what)).at(0).sandbox.id;
  n.make_sandbox("web");
  const capacity both{3 + limits::cpus_default,
                      1024 + limits::memory_mb_default,
                      7 + limits::disk_gb_default};
  CHECK(n.booked() == both);
  // A failed one keeps its disk.
  caf::anon_send(n.supervisor_handle, exit_report{id, n.driver->running.at(id),
                                                  9, false, "it was killed"});
  n.run();
  REQUIRE(n.state_of(id) == phase::failed);
  CHECK(n.booked()
        == capacity{limits::cpus_default, limits::memory_mb_default,
                    7 + limits::disk_gb_default});
  n.ask(api::destroy{id});
  n.ask(api::destroy{"web"});
  CHECK(n.booked() == capacity{});
  // What is wrong is counted anew by the next daemon.
  n.make_sandbox("web");
  n.halt();
  auto& record = n.store->records.at(node_key("node-1", "reserved"));
  record.value = encode(reserved_record{{9, 9, 9}, 9});
  n.boot();
  CHECK(n.booked()
        == capacity{limits::cpus_default, limits::memory_mb_default,
                    limits::disk_gb_default});
}
