#include <catch2/catch.hpp>

#include <algorithm>

#include "fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

// What a new daemon makes of what the one before it left.

TEST_CASE("a restarted node re-adopts sandboxes and their execs") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  auto exec = n.ask(what);
  n.halt();
  CHECK(n.driver->running.size() == 1);
  n.agents->execs = {
      {{"exec", exec}, {"state", "running"}, {"stdout", 0}, {"stderr", 0}}};
  n.boot();
  CHECK(n.state_of(id) == phase::running);
  CHECK(std::count(n.driver->calls.begin(), n.driver->calls.end(),
                   "recover " + id)
        == 1);
  // The client comes back with the same request id and goes on.
  n.ask(what, "uid:0", "r9", exec);
  CHECK(n.agents->last().count("attach") == 1);
  CHECK_FALSE(n.answers<api::exec_started>(exec).back().created);
  CHECK(n.make_sandbox("web").empty()); // its name is still taken
}

TEST_CASE("who attaches after a restart goes on at what the agent has kept") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  auto exec = n.ask(what);
  n.halt();
  n.agents->execs = {
      {{"exec", exec}, {"state", "running"}, {"stdout", 700}, {"stderr", 0}}};
  n.boot();
  what.attach_only = true;
  what.stdout_credit = 100;
  n.ask(what, "uid:0", "r9", exec);
  const auto& asked = n.agents->last().seen.back();
  REQUIRE(asked.type == "attach");
  CHECK(asked.payload["stdout"] == 700);
  CHECK(asked.payload["credit"]["stdout"] == 800);
  CHECK(n.answers<api::stream_data>(exec).at(0).offset == 700);
}

TEST_CASE("an exec that the journal missed is picked up where the agent is") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = make_uuid();
  n.halt();
  n.agents->execs = {{{"exec", exec}, {"stdout", 5}, {"stderr", 0}}};
  n.boot();
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  what.stdout_offset = 7;
  what.stdout_credit = 100;
  n.ask(what, "uid:0", "r1", exec);
  CHECK_FALSE(n.answers<api::exec_started>(exec).at(0).created);
  n.agents->last().data(exec, "stdout", 5, "56789");
  n.run();
  CHECK_FALSE(n.agents->last().closed);
  CHECK(n.answers<api::stream_data>(exec).at(0).offset == 5);
}

TEST_CASE("an init script goes on over a restart, begun or not") {
  node n;
  n.boot();
  api::up up;
  up.spec.init_script = "echo hello";
  auto request = n.ask(up);
  auto id = n.journal->records.begin()->first;
  auto exec = "init-" + id;
  bool row = GENERATE(true, false);
  bool begun = GENERATE(true, false);
  CAPTURE(row, begun);
  n.halt();
  if (!row)
    n.journal->exec_rows.clear();
  if (begun)
    n.agents->execs = {{{"exec", exec}, {"stdout", 0}, {"stderr", 0}}};
  n.boot();
  n.ask(up, "uid:0", "r2", request);
  CHECK(n.answers<api::up_reply>(request).empty());
  auto& agent = n.agents->last();
  CHECK(agent.count("exec") == (row && begun ? 0 : 1));
  CHECK(n.journal->exec_rows.count(exec) == 1);
  agent.data(exec, "stdout", 0, "hello\n");
  agent.say("exit", std::nullopt, {{"exec", exec}, {"code", 0}});
  n.run();
  REQUIRE(n.answers<api::up_reply>(request).size() == 1);
  CHECK(n.answers<api::up_reply>(request)[0].sandbox.init_state == 1);
  CHECK(n.logs->text[id + "/init"] == "hello\n");
}

TEST_CASE("an unhealthy sandbox whose agent answers a new daemon is healthy") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.pass(16s);
  REQUIRE(n.state_of(id) == phase::unhealthy);
  n.halt();
  n.boot();
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("ps knows the execs before the agent has answered") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  auto exec = n.ask(what);
  n.halt();
  n.agents->answers = false;
  n.boot();
  auto seen = n.answers<api::ps_reply>(n.ask(api::ps{id})).at(0).execs;
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].exec == exec);
  CHECK(seen[0].command == "cat");
}

TEST_CASE("what died while the node was away is failed with that cause") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.halt();
  n.driver->refuse_recover = true;
  n.boot();
  CHECK(n.state_of(id) == phase::failed);
  CHECK(n.journal->history[id].back().text.find("while the node was away")
        != std::string::npos);
}

TEST_CASE("a local sandbox without a placement is destroyed") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.halt();
  n.store->records.clear();
  n.store->records["placements/cage-stranger"] = {"placements/cage-stranger",
                                                  "n1", 1};
  n.boot();
  CHECK(n.state_of(id) == phase::destroyed);
  CHECK(n.placed() == 0);
}

TEST_CASE("a name whose sandbox was never written down is free again") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  n.halt();
  n.store->records["names/uid:0/gone"] = {"names/uid:0/gone", "cage-stranger",
                                          1};
  n.boot();
  CHECK(n.store->records.count("names/uid:0/gone") == 0);
  CHECK(n.store->records.at("names/uid:0/web").value == id);
  CHECK_FALSE(n.make_sandbox("gone").empty());
}

TEST_CASE("a half-made sandbox is undone and made again") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.halt();
  auto& record = n.journal->records[id];
  record.state = phase::pending;
  record.process = {};
  record.changed_ms = record.created_ms;
  n.boot();
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.driver->calls.at(n.driver->calls.size() - 2) == "destroy " + id);
}

TEST_CASE("the journal forgets a sandbox last, after the store and its logs") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  n.logs->text[id + "/init"] = "printed";
  n.store->broken = true;
  CHECK(n.error_of(n.ask(api::destroy{id})).code == ec::io);
  // A daemon that died now would free it again.
  CHECK(n.state_of(id) == phase::stopping);
  CHECK_FALSE(n.journal->leased[id].empty());
  CHECK(n.logs->text.empty());
  n.halt();
  n.store->broken = false;
  n.boot();
  CHECK(n.state_of(id) == phase::destroyed);
  CHECK(n.journal->leased[id].empty());
  CHECK(n.placed() == 0);
}
