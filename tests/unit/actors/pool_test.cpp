#include <catch2/catch.hpp>

#include "actors/fleet_records.hpp"
#include "actors/placements.hpp"
#include "fakes.hpp"
#include "messages/text.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

namespace {

/// A node with a pool of so many, filled.
void boot_with_pool(node& n, unsigned size) {
  n.context->pools = {{"minimal", size}};
  n.boot();
}

std::size_t ready(node& n) {
  return n.metrics->pool_ready["minimal"];
}

api::up named(const std::string& name) {
  api::up what;
  what.spec.name = name;
  return what;
}

std::size_t starts(node& n) {
  return static_cast<std::size_t>(std::count_if(
      n.driver->calls.begin(), n.driver->calls.end(),
      [](const auto& call) { return call.rfind("start ", 0) == 0; }));
}

} // namespace

TEST_CASE("a pool is filled with frozen sandboxes that nobody sees or pays") {
  node n;
  boot_with_pool(n, 3);
  CHECK(ready(n) == 3);
  CHECK(n.driver->running.size() == 3);
  CHECK(n.driver->frozen.size() == 3);
  CHECK(n.metrics->cpus_reserved == 0);
  CHECK(n.metrics->known.empty()); // no series of their own
  CHECK(n.metrics->states.empty());
  CHECK(n.store->list("placements/")->empty());
  auto listed = n.ask(api::list{});
  CHECK(n.answers<api::list_reply>(listed).at(0).sandboxes.empty());
  auto status = n.answers<api::node_status_reply>(n.ask(api::node_status{}));
  REQUIRE(status.at(0).pools.size() == 1);
  CHECK(status[0].pools[0].ready == 3);
  CHECK(status[0].pools[0].size == 3);
  // Its member is not to be reached by anybody, by id either.
  auto id = n.driver->running.begin()->first;
  CHECK(n.error_of(n.ask(api::get{id})).code == ec::not_found);
  CHECK(n.error_of(n.ask(api::destroy{id})).code == ec::not_found);
  // And the audit knows it.
  auto audit = n.answers<api::audit_reply>(n.ask(api::node_audit{}));
  for (const auto& row : audit.at(0).rows)
    CHECK(row.verdict == "owned");
}

TEST_CASE("a member that was booked when the daemon died is nobody's") {
  node n;
  boot_with_pool(n, 1);
  const auto member = n.driver->running.begin()->first;
  n.halt();
  // The store had its part, the journal had not.
  sandbox_record given;
  given.id = member;
  given.owner = "uid:0";
  given.request_id = make_uuid();
  given.digest = 1;
  given.spec.name = "web";
  REQUIRE(place(*n.store, given, n.context->node_id, n.context->total));
  n.boot();
  // The client comes back, before and after the member is gone.
  for (int i = 0; i < 2; ++i) {
    const auto again =
        n.ask(named("web"), "uid:0", "r1", given.request_id, given.digest);
    const auto got = n.answers<api::up_reply>(again);
    REQUIRE_FALSE(got.empty());
    CHECK(got.back().sandbox.id != member);
    CHECK(got.back().sandbox.state == phase::running);
  }
  CHECK(n.store->list("placements/")->size() == 1);
}

TEST_CASE("a sandbox from the pool has its tenant's limits, name and setup") {
  node n;
  boot_with_pool(n, 1);
  auto member = n.driver->running.begin()->first;
  api::up what = named("web");
  what.spec.cpus = 4;
  what.spec.memory_mb = 2048;
  what.spec.pids = 77;
  what.spec.env = {{"TOKEN", "secret"}};
  auto asked = n.ask(what, "uid:7");
  auto got = n.answers<api::up_reply>(asked);
  REQUIRE(got.size() == 1);
  CHECK(got[0].sandbox.id == member);
  CHECK(got[0].sandbox.state == phase::running);
  CHECK(got[0].sandbox.owner == "uid:7");
  CHECK(n.driver->tuned[member].cpus == 4);
  CHECK(n.driver->tuned[member].memory_mb == 2048);
  CHECK(n.driver->tuned[member].pids == 77);
  CHECK(n.driver->tuned[member].name == "web");
  CHECK(n.driver->frozen.count(member) == 0);
  CHECK(n.metrics->cpus_reserved == 4);
  CHECK(n.metrics->known.count(member) == 1);
  CHECK(n.metrics->pool_hits == 1);
  const auto& record = n.journal->records[member];
  CHECK(record.owner == "uid:7");
  CHECK(record.state == phase::running);
  CHECK(record.request_id == asked);
  CHECK(n.store->get(name_key("uid:7", "web"))->value().value == member);
  // The agent was told before `up` was answered.
  bool told = false;
  for (const auto& line : n.agents->dialled.at(0)->seen)
    if (line.type == "resumed" && line.payload["env"].contains("TOKEN")) {
      told = true;
      CHECK(line.payload["memory_bytes"] == 2048ull << 20U);
      CHECK(line.payload["cpus"] == 4);
      CHECK(line.payload.contains("entropy"));
      CHECK(line.payload.contains("time_ns"));
    }
  CHECK(told);
  // It is like any other from here on; the pool is filled up again.
  api::exec run;
  run.sandbox = "web";
  run.argv = {"true"};
  CHECK(n.answers<api::exec_started>(n.ask(run, "uid:7")).size() == 1);
  CHECK(ready(n) == 0);
  n.pass(1s);
  CHECK(ready(n) == 1);
  CHECK(n.driver->running.size() == 2);
  // A repeat of the request finds it.
  auto again = n.ask(what, "uid:7", "r1", asked);
  CHECK(n.answers<api::up_reply>(again).back().sandbox.id == member);
}

TEST_CASE("a member is never reused after a tenant") {
  node n;
  boot_with_pool(n, 1);
  auto first = n.make_sandbox("a");
  n.ask(api::destroy{"a"});
  n.pass(1s);
  CHECK(n.driver->running.count(first) == 0);
  CHECK(n.make_sandbox("a") != first);
}

TEST_CASE("what the pool does not suit is made anew") {
  node n;
  boot_with_pool(n, 1);
  auto member = n.driver->running.begin()->first;
  api::up bigger;
  bigger.spec.disk_gb = 20;
  auto got = n.answers<api::up_reply>(n.ask(bigger));
  REQUIRE(got.size() == 1);
  CHECK(got[0].sandbox.id != member);
  CHECK(n.metrics->pool_misses == 1);
  CHECK(ready(n) == 1);
}

TEST_CASE(
    "an init script of a sandbox from the pool runs before it is answered") {
  node n;
  boot_with_pool(n, 1);
  api::up what;
  what.spec.init_script = "echo hello";
  auto asked = n.ask(what);
  CHECK(n.answers<api::up_reply>(asked).empty());
  bool seen = false;
  for (const auto& line : n.agents->dialled.at(0)->seen)
    seen = seen || line.type == "write";
  CHECK(seen);
}

TEST_CASE("no capacity is taken by members, and what does not fit is refused") {
  node n;
  n.context->total = {2, 2048, 20};
  boot_with_pool(n, 4);
  CHECK(ready(n) == 4);
  api::up what;
  what.spec.cpus = 2;
  CHECK(n.answers<api::up_reply>(n.ask(what)).size() == 1);
  CHECK(n.error_of(n.ask(what)).code == ec::no_capacity);
  CHECK(n.metrics->pool_hits == 1);
}

TEST_CASE("the pool waits while the host is busy") {
  node n;
  unsigned busy = 100;
  n.context->host_busy = [&] { return busy; };
  boot_with_pool(n, 2);
  n.pass(10s);
  CHECK(n.driver->running.empty());
  // Without a pool that is filled, sandboxes are made as ever.
  CHECK_FALSE(n.make_sandbox().empty());
  busy = 20;
  n.pass(1s);
  CHECK(ready(n) == 2);
}

TEST_CASE("a burst has the machine to itself until half of the pool is gone") {
  node n;
  boot_with_pool(n, 6);
  REQUIRE(starts(n) == 6);
  for (const auto* name : {"a", "b", "c"}) {
    CHECK(n.answers<api::up_reply>(n.ask(named(name))).size() == 1);
    n.pass(60ms);
  }
  CHECK(starts(n) == 6); // 180 ms after the first, 60 ms after the last
  CHECK(n.answers<api::up_reply>(n.ask(named("d"))).size() == 1);
  n.pass(60ms);
  CHECK(starts(n) > 6); // 2 of 6 are left: no more waiting
  n.pass(2s);
  CHECK(ready(n) == 6);
}

TEST_CASE("members of an earlier daemon are freed and made anew") {
  node n;
  boot_with_pool(n, 2);
  auto before = n.driver->running;
  n.halt();
  n.boot();
  n.pass(1s);
  CHECK(ready(n) == 2);
  CHECK(n.driver->running.size() == 2);
  for (const auto& [id, _] : before) {
    CHECK(n.driver->running.count(id) == 0);
    CHECK(n.state_of(id) == phase::destroyed);
  }
  n.halt();
  n.context->pools.clear(); // and not at all when there is no pool any more
  n.boot();
  n.pass(1s);
  CHECK(n.driver->running.empty());
}

TEST_CASE(
    "a daemon that dies at a hand-out leaves neither name nor placement") {
  node n;
  boot_with_pool(n, 1);
  auto member = n.driver->running.begin()->first;
  n.halt();
  // The store has its part, the journal has not.
  n.store->commit({},
                  {{operation::kind::put, placement_key(member), "n1"},
                   {operation::kind::put, name_key("uid:0", "web"), member}});
  n.boot();
  n.pass(1s);
  CHECK(n.driver->running.count(member) == 0);
  CHECK_FALSE(n.store->get(placement_key(member))->has_value());
  CHECK_FALSE(n.store->get(name_key("uid:0", "web"))->has_value());
  CHECK_FALSE(n.make_sandbox("web").empty());
}

TEST_CASE("a hand-out that was journalled is finished after a restart") {
  node n;
  boot_with_pool(n, 1);
  auto id = n.make_sandbox("web");
  n.halt();
  n.driver->tuned.clear(); // the daemon died before it came to the limits
  n.driver->frozen.insert(id);
  n.boot();
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.driver->tuned.count(id) == 1);
  CHECK(n.driver->frozen.count(id) == 0);
}

TEST_CASE("an init script of a hand-out is run by the next daemon, too") {
  node n;
  boot_with_pool(n, 1);
  n.agents->last().answers = false; // the daemon dies before it is told
  api::up what;
  what.spec.init_script = "echo hello";
  auto asked = n.ask(what);
  n.halt();
  n.boot();
  bool seen = false;
  for (const auto& agent : n.agents->dialled)
    for (const auto& line : agent->seen)
      seen = seen || line.type == "write";
  CHECK(seen);
}

TEST_CASE("a hand-out that fails is one error and frees the member") {
  node n;
  boot_with_pool(n, 1);
  auto member = n.driver->running.begin()->first;
  SECTION("its limits cannot be set") {
    n.driver->refuse_tune = true;
    auto asked = n.ask(named("web"));
    CHECK(n.error_of(asked).message.find("limits are broken")
          != std::string::npos);
    n.driver->refuse_tune = false;
    CHECK(n.state_of(member) == phase::failed);
    n.ask(api::destroy{"web"});
  }
  SECTION("it cannot be recorded") {
    n.store->broken = true;
    auto asked = n.ask(named("web"));
    n.store->broken = false;
    n.pass(10s);
    CHECK(n.error_of(asked).code == ec::io);
    CHECK(n.answers<api::up_reply>(asked).empty());
  }
  SECTION("the name is another's in the store") {
    n.store->commit({}, {{operation::kind::put, name_key("uid:0", "web"),
                          "cage-elsewhere"}});
    auto asked = n.ask(named("web"));
    CHECK(n.error_of(asked).code == ec::conflict);
    CHECK(n.store->get(name_key("uid:0", "web"))->value().value
          == "cage-elsewhere");
    n.store->commit({},
                    {{operation::kind::erase, name_key("uid:0", "web"), {}}});
  }
  n.pass(20s);
  CHECK(n.driver->running.count(member) == 0);
  CHECK(n.state_of(member) == phase::destroyed);
  CHECK(ready(n) == 1);
  CHECK(n.metrics->cpus_reserved == 0);
  CHECK_FALSE(n.make_sandbox("web").empty());
}

TEST_CASE("an agent that does not answer its hand-out ends in one error") {
  node n;
  boot_with_pool(n, 1);
  n.agents->last().answers = false;
  auto asked = n.ask(named("web"));
  CHECK(n.answers<api::up_reply>(asked).empty());
  n.pass(11s);
  CHECK(n.error_of(asked).code == ec::agent_lost);
}

TEST_CASE("a member that dies in the pool is replaced") {
  node n;
  boot_with_pool(n, 1);
  auto [member, process] = *n.driver->running.begin();
  caf::anon_send(n.supervisor_handle,
                 exit_report{member, process, 9, false, "it was killed"});
  n.run();
  CHECK(ready(n) == 0);
  CHECK(n.state_of(member) == phase::destroyed);
  n.pass(11s);
  CHECK(ready(n) == 1);
}

TEST_CASE("members that cannot be made are tried again, not at once") {
  node n;
  n.driver->refuse_start = true;
  n.driver->start_error = {ec::not_found, "there is no template", {}};
  boot_with_pool(n, 2);
  CHECK(starts(n) == 1);
  n.pass(5s);
  CHECK(starts(n) == 1);
  n.pass(6s);
  CHECK(starts(n) == 2);
  n.driver->refuse_start = false;
  n.pass(11s);
  CHECK(ready(n) == 2);
}

TEST_CASE("clearing the node frees the pool, too") {
  node n;
  boot_with_pool(n, 2);
  n.make_sandbox();
  auto asked = n.ask(api::node_shutdown{true});
  REQUIRE(n.answers<api::shutdown_reply>(asked).size() == 1);
  CHECK(n.answers<api::shutdown_reply>(asked)[0].destroyed == 1);
  n.pass(5s);
  CHECK(n.driver->running.empty());
}
