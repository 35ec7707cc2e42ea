#include <catch2/catch.hpp>

#include "fakes.hpp"

// What the host refuses: the journal cannot be written, output cannot be kept,
// a sandbox cannot be looked at, the date is another one.
using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

namespace {

void die(node& n, const std::string& id) {
  exit_report report;
  report.id = id;
  report.process = n.driver->running[id];
  report.text = "its init was killed by signal 9";
  caf::anon_send(n.supervisor_handle, report);
  n.run();
}

bool says(node& n, const std::string& id, const std::string& text) {
  for (const auto& why : n.journal->history[id])
    if (why.text.find(text) != std::string::npos)
      return true;
  return false;
}

} // namespace

TEST_CASE("a resume that cannot be recorded leaves the sandbox paused") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.ask(api::pause{id});
  n.journal->broken = true;
  CHECK(n.error_of(n.ask(api::resume{id})).code == ec::io);
  CHECK(n.driver->frozen.count(id) == 1);
  n.journal->broken = false;
  auto again = n.ask(api::resume{id});
  REQUIRE(n.answers<api::state_reply>(again).size() == 1);
  CHECK(n.answers<api::state_reply>(again)[0].changed);
  CHECK(n.driver->frozen.empty());
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("an idle sandbox whose pause could not be recorded is tried again") {
  node n;
  n.boot();
  api::up what;
  what.spec.idle_timeout = 60s;
  auto id = n.answers<api::up_reply>(n.ask(what)).at(0).sandbox.id;
  auto live = [&](std::chrono::seconds span) {
    for (auto t = 0s; t < span; t += 5s) {
      n.agents->last().say("heartbeat", std::nullopt, {{"sequence", 1}});
      n.pass(5s);
    }
  };
  n.journal->broken = true;
  live(70s);
  CHECK(n.driver->frozen.empty());
  n.journal->broken = false;
  live(60s);
  CHECK(n.driver->frozen.count(id) == 1);
}

TEST_CASE("a failed start is told although what is left cannot be freed yet") {
  node n;
  n.boot();
  n.driver->refuse_start = true;
  n.driver->start_error = {ec::resource, "the disk is full", {}};
  n.driver->refuse_destroy = true;
  n.driver->destroy_error = {ec::io, "nothing can be written", {}};
  auto asked = n.ask(api::up{});
  CHECK(n.error_of(asked).message == "the disk is full");
  n.driver->refuse_destroy = false;
  n.pass(10s);
  CHECK(n.answers<api::list_reply>(n.ask(api::list{})).at(0).sandboxes.empty());
}

TEST_CASE("a destroy goes on when only its beginning cannot be written") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.journal->broken = true;
  CHECK(n.error_of(n.ask(api::destroy{id})).code == ec::io);
  CHECK(n.driver->disks.empty()); // there is room again
  CHECK(n.state_of(id) == phase::running);
  n.journal->broken = false;
  n.pass(10s);
  CHECK(n.state_of(id) == phase::destroyed);
}

TEST_CASE("another date neither ends nor prolongs a failed one's retention") {
  for (auto off : {-24h * 30, 24h * 30}) {
    node n;
    n.boot();
    auto id = n.make_sandbox();
    die(n, id);
    REQUIRE(n.state_of(id) == phase::failed);
    n.pass(12h);
    n.halt();
    n.journal->records[id].changed_ms +=
        std::chrono::duration_cast<std::chrono::milliseconds>(off).count();
    n.boot();
    n.pass(11h);
    CHECK(n.state_of(id) == phase::failed);
    n.pass(2h);
    CHECK(n.state_of(id) == phase::destroyed);
  }
}

TEST_CASE("a sandbox that cannot be looked at is not taken for dead") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.halt();
  n.driver->refuse_recover = true;
  n.driver->recover_error = {ec::resource, "no descriptors are left", {}};
  n.boot();
  CHECK(n.state_of(id) == phase::running);
  CHECK(says(n, id, "no descriptors are left"));
  n.pass(1s);
  n.driver->refuse_recover = false;
  n.pass(5s);
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.driver->disks.count(id) == 1);
  api::exec what;
  what.sandbox = id;
  what.argv = {"true"};
  CHECK(n.answers<api::exec_started>(n.ask(what)).size() == 1);
}

TEST_CASE("output of a detached exec that cannot be kept leaves a cause") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  api::exec what;
  what.sandbox = id;
  what.argv = {"make"};
  what.detach = true;
  auto exec = n.ask(what);
  n.logs->full = true;
  n.agents->last().data(exec, "stdout", 0, "12345");
  n.run();
  CHECK(says(n, id, "output is lost"));
  CHECK(n.state_of(id) == phase::running);
}
