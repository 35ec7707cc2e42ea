#include <catch2/catch.hpp>

#include <algorithm>

#include "fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

namespace {

/// Time passes, and the agent is alive all the while.
void live(node& n, std::chrono::seconds span) {
  for (auto t = 0s; t < span; t += 5s) {
    for (auto& agent : n.agents->dialled)
      if (!agent->closed)
        agent->say("heartbeat", std::nullopt, {{"sequence", 1}});
    n.pass(std::min<std::chrono::seconds>(5s, span - t));
  }
}

std::string up(node& n, std::chrono::milliseconds idle,
               std::chrono::milliseconds ttl = 0ms) {
  api::up what;
  what.spec.idle_timeout = idle;
  what.spec.ttl = ttl;
  auto id = n.ask(what);
  return n.answers<api::up_reply>(id).at(0).sandbox.id;
}

api::exec exec_in(const std::string& id, bool resume = false) {
  api::exec what;
  what.sandbox = id;
  what.argv = {"true"};
  what.resume = resume;
  return what;
}

} // namespace

TEST_CASE("a paused sandbox is frozen, refuses execs and comes back") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto paused = n.ask(api::pause{id});
  REQUIRE(n.answers<api::state_reply>(paused).size() == 1);
  CHECK(n.answers<api::state_reply>(paused)[0].changed);
  CHECK(n.state_of(id) == phase::paused);
  CHECK(n.driver->frozen.count(id) == 1);
  CHECK_FALSE(n.answers<api::state_reply>(n.ask(api::pause{id})).at(0).changed);
  auto refused = n.error_of(n.ask(exec_in(id)));
  CHECK(refused.code == ec::wrong_state);
  CHECK(refused.hint.find("caged resume " + id) != std::string::npos);
  // Nothing is expected of a frozen agent.
  n.pass(1h);
  CHECK(n.state_of(id) == phase::paused);
  auto resumed = n.ask(api::resume{id});
  CHECK(n.answers<api::state_reply>(resumed).at(0).changed);
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.driver->frozen.empty());
  CHECK(n.answers<api::exec_started>(n.ask(exec_in(id))).size() == 1);
  // And its silence counts again.
  n.pass(16s);
  CHECK(n.state_of(id) == phase::unhealthy);
}

TEST_CASE("an exec with --resume thaws the sandbox first") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.ask(api::pause{id});
  CHECK(n.answers<api::exec_started>(n.ask(exec_in(id, true))).size() == 1);
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("a freezer that fails leaves the sandbox running, with the cause") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.driver->refuse_pause = true;
  auto asked = n.ask(api::pause{id});
  CHECK(n.error_of(asked).message.find("freezer") != std::string::npos);
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.answers<api::exec_started>(n.ask(exec_in(id))).size() == 1);
}

TEST_CASE("a pause that cannot be recorded does not happen") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.journal->broken = true;
  CHECK(n.error_of(n.ask(api::pause{id})).code == ec::io);
  n.journal->broken = false;
  CHECK(n.driver->frozen.empty());
  CHECK(n.answers<api::exec_started>(n.ask(exec_in(id))).size() == 1);
}

TEST_CASE("a paused sandbox stays paused over a restart and can be destroyed") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.ask(api::pause{id});
  n.halt();
  n.driver->frozen.clear(); // the daemon died before the freezer was asked
  auto dialled = n.agents->dialled.size();
  n.boot();
  CHECK(n.state_of(id) == phase::paused);
  CHECK(n.driver->frozen.count(id) == 1);
  CHECK(n.agents->dialled.size() == dialled); // it would not answer
  n.ask(api::resume{id});
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.agents->dialled.size() == dialled + 1);
  n.ask(api::pause{id});
  n.ask(api::destroy{id});
  CHECK(n.state_of(id) == phase::destroyed);
}

TEST_CASE("a client that comes back to a paused sandbox waits for it") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(exec_in(id));
  n.ask(api::pause{id});
  n.halt();
  n.agents->execs = {{{"exec", exec}, {"stdout", 0}, {"stderr", 0}}};
  n.boot();
  auto before = n.clients->sent.size();
  n.ask(exec_in(id), "uid:0", "r2", exec);
  CHECK(n.clients->sent.size() == before);
  CHECK(n.clients->watched.count("r2") == 1);
  // Neither for others nor for who only wants to look.
  CHECK(n.error_of(n.ask(exec_in(id))).code == ec::wrong_state);
  auto looks = exec_in(id);
  looks.attach_only = true;
  n.ask(looks, "uid:0", "r3", exec);
  CHECK(n.error_of(exec).code == ec::wrong_state);
  n.pass(1h);
  n.ask(api::resume{id});
  auto back = std::find_if(n.clients->sent.begin(), n.clients->sent.end(),
                           [](const auto& r) { return r.route == "r2"; });
  REQUIRE(back != n.clients->sent.end());
  REQUIRE(std::holds_alternative<api::exec_started>(back->body));
  CHECK_FALSE(std::get<api::exec_started>(back->body).created);
  CHECK(n.clients->watched.count("r2") == 1);
}

TEST_CASE("an idle sandbox is paused, a busy one never") {
  node n;
  n.boot();
  auto id = up(n, 60s);
  live(n, 59s);
  CHECK(n.state_of(id) == phase::running);
  auto exec = n.ask(exec_in(id));
  live(n, 10min);
  CHECK(n.state_of(id) == phase::running);
  n.agents->last().say("exit", std::nullopt,
                       {{"exec", exec}, {"code", 0}, {"reason", "exited"}});
  n.run();
  n.ask(api::stream_ack{api::channel::exit, 0}, "uid:0", "r1", exec);
  live(n, 59s);
  CHECK(n.state_of(id) == phase::running);
  live(n, 2s);
  CHECK(n.state_of(id) == phase::paused);
  auto causes = n.journal->history[id];
  CHECK(causes.back().who == "idle timeout");
  CHECK(causes.back().text.find("1m") != std::string::npos);
}

TEST_CASE("an idle timeout of 0 never pauses") {
  node n;
  n.boot();
  auto id = up(n, 0ms);
  live(n, 2h);
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("idleness and time to live go on over a restart") {
  node n;
  n.boot();
  auto idle = up(n, 60s);
  auto mortal = up(n, 0ms, 100s);
  live(n, 40s);
  n.halt();
  n.boot();
  live(n, 25s);
  CHECK(n.state_of(idle) == phase::paused); // 65 s in all
  CHECK(n.state_of(mortal) == phase::running);
  live(n, 40s);
  CHECK(n.state_of(mortal) == phase::destroyed);
  CHECK(n.journal->history[mortal].back().who == "time to live");
}

TEST_CASE("no change of the date moves the time to live") {
  node n;
  n.boot();
  auto id = up(n, 0ms, 100s);
  n.halt();
  // As if the clock had been set forward by a day while the node was away.
  n.journal->records[id].created_ms -= 24 * 3600 * 1000;
  n.boot();
  live(n, 90s);
  CHECK(n.state_of(id) == phase::running);
  live(n, 15s);
  CHECK(n.state_of(id) == phase::destroyed);
}

TEST_CASE("a sandbox that is resumed with a command in it is not idle") {
  node n;
  n.boot();
  auto id = up(n, 60s);
  n.ask(exec_in(id));
  n.ask(api::pause{id});
  n.ask(api::resume{id});
  live(n, 10min);
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("a freezer that fails is tried again after another idle span") {
  node n;
  n.boot();
  auto id = up(n, 60s);
  n.driver->refuse_pause = true;
  live(n, 65s);
  CHECK(n.state_of(id) == phase::running);
  n.driver->refuse_pause = false;
  live(n, 65s);
  CHECK(n.state_of(id) == phase::paused);
}

TEST_CASE("a thaw that fails refuses the exec with its reason") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.ask(api::pause{id});
  n.driver->refuse_resume = true;
  auto asked = n.ask(exec_in(id, true));
  CHECK(n.error_of(asked).message.find("freezer") != std::string::npos);
  CHECK(n.state_of(id) == phase::paused);
}

TEST_CASE("an exec waits a moment for the link of a sandbox just resumed") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.ask(api::pause{id});
  n.halt();
  n.boot();
  n.agents->reachable = false;
  n.ask(api::resume{id});
  auto asked = n.ask(exec_in(id));
  CHECK(n.answers<api::exec_started>(asked).empty());
  CHECK(n.answers<api::error_reply>(asked).empty());
  SECTION("which is made") {
    n.agents->reachable = true;
    n.pass(1s);
    CHECK(n.answers<api::exec_started>(asked).size() == 1);
    n.pass(10s); // and nothing comes later
    CHECK(n.answers<api::error_reply>(asked).empty());
  }
  SECTION("which is not made") {
    n.pass(6s);
    CHECK(n.error_of(asked).code == ec::unavailable);
    CHECK(n.answers<api::error_reply>(asked).size() == 1);
  }
  SECTION("and is told when the sandbox goes") {
    n.ask(api::destroy{id});
    CHECK(n.error_of(asked).code == ec::agent_lost);
  }
}
