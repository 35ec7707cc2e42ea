#include <catch2/catch.hpp>

#include "fakes.hpp"

// Execs whose output the node keeps: start, ps, attach, kill.
using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

namespace {

api::exec detached(const std::string& id) {
  api::exec what;
  what.sandbox = id;
  what.argv = {"make", "all"};
  what.detach = true;
  return what;
}

api::exec attach(const std::string& id, std::uint64_t from = 0) {
  api::exec what;
  what.sandbox = id;
  what.attach_only = true;
  what.stdout_offset = from;
  what.stdout_credit = from + limits::window_default;
  return what;
}

std::string text_of(node& n, const std::string& exec) {
  std::string out;
  for (const auto& data : n.answers<api::stream_data>(exec))
    out += data.bytes;
  return out;
}

void end(node& n, const std::string& exec, int code) {
  n.agents->last().say(
      "eof", std::nullopt,
      {{"stream", exec}, {"channel", "stdout"}, {"offset", 5}});
  n.agents->last().say("exit", std::nullopt,
                       {{"exec", exec}, {"code", code}, {"reason", "exited"}});
  n.run();
}

} // namespace

TEST_CASE("a detached exec goes on alone and attach replays it") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(detached(id));
  REQUIRE(n.answers<api::exec_started>(exec).size() == 1);
  CHECK(n.clients->watched.empty()); // nobody has to stay
  n.agents->last().data(exec, "stdout", 0, "first");
  n.run();
  CHECK(n.answers<api::stream_data>(exec).empty());
  for (int i = 0; i < 12; ++i) { // no grace ends it
    n.agents->last().say("heartbeat", std::nullopt, {{"sequence", i}});
    n.pass(5s);
  }
  auto listed = n.answers<api::ps_reply>(n.ask(api::ps{id})).at(0);
  REQUIRE(listed.execs.size() == 1);
  CHECK(listed.execs[0].exec == exec);
  CHECK(listed.execs[0].command == "make all");
  CHECK(listed.execs[0].detached);
  CHECK_FALSE(listed.execs[0].attached);
  CHECK_FALSE(listed.execs[0].exited);

  n.ask(attach(id), "uid:0", "r2", exec);
  CHECK(text_of(n, exec) == "first");
  n.agents->last().data(exec, "stdout", 5, " second");
  n.run();
  CHECK(text_of(n, exec) == "first second");
  end(n, exec, 3);
}

TEST_CASE("a detached exec's end waits for whoever attaches") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(detached(id));
  n.agents->last().data(exec, "stdout", 0, "12345");
  n.run();
  end(n, exec, 3);
  CHECK(n.journal->exec_rows.at(exec).code == 3);
  // The agent may forget it: its end is in the journal.
  bool acked = false;
  for (const auto& line : n.agents->last().seen)
    acked =
        acked
        || (line.type == "ack" && line.payload.value("channel", "") == "exit");
  CHECK(acked);
  for (int round = 0; round < 2; ++round) { // also after a restart
    auto route = "r" + std::to_string(5 + round);
    n.clients->sent.clear();
    n.ask(attach(id), "uid:0", route, exec);
    CHECK(text_of(n, exec) == "12345");
    auto ended = n.answers<api::exec_exit>(exec);
    REQUIRE(ended.size() == 1);
    CHECK(ended[0].code == 3);
    CHECK(
        n.answers<api::ps_reply>(n.ask(api::ps{id})).at(0).execs.at(0).exited);
    n.ask(api::stream_ack{api::channel::exit, 0}, "uid:0", route, exec);
    n.halt();
    n.boot();
  }
  n.ask(api::destroy{id});
  CHECK(n.logs->text.empty());
}

TEST_CASE("an attached reader gets no more than its credit") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(detached(id));
  n.agents->last().data(exec, "stdout", 0, "0123456789");
  n.run();
  auto want = attach(id);
  want.stdout_credit = 4;
  n.ask(want, "uid:0", "r2", exec);
  CHECK(text_of(n, exec) == "0123");
  n.ask(api::stream_credit{api::channel::out, 6}, "uid:0", "r2", exec);
  CHECK(text_of(n, exec) == "012345");
  // What was dropped meanwhile shows in the offset.
  n.logs->dropped = 8;
  n.ask(api::stream_credit{api::channel::out, 100}, "uid:0", "r2", exec);
  CHECK(n.answers<api::stream_data>(exec).back().offset == 8);
}

TEST_CASE("the last attachment wins and the earlier one is told") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(detached(id));
  n.ask(attach(id), "uid:0", "r2", exec);
  n.ask(attach(id), "uid:0", "r3", exec);
  auto told = n.answers<api::error_reply>(exec);
  REQUIRE(told.size() == 1);
  CHECK(told[0].why.code == ec::superseded);
  CHECK(n.clients->watched == std::multiset<std::string>{"r3"});
}

TEST_CASE("a restarted node keeps a detached exec's output without a gap") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(detached(id));
  n.agents->last().data(exec, "stdout", 0, "12345");
  n.run();
  n.halt();
  // The acknowledgement of 5 bytes may have been lost: the agent offers from 0.
  n.agents->execs = nlohmann::json::array(
      {{{"exec", exec}, {"stdout", 0}, {"stderr", 0}, {"pid", 42}}});
  n.boot();
  const auto& attach_line = n.agents->last().seen.back();
  REQUIRE(attach_line.type == "attach");
  CHECK(attach_line.payload["stdout"] == 5);
  n.agents->last().data(exec, "stdout", 5, "67");
  n.run();
  n.ask(attach(id), "uid:0", "r2", exec);
  CHECK(text_of(n, exec) == "1234567");
  CHECK(n.answers<api::exec_started>(exec).back().pid == 42);
}

TEST_CASE("a detached exec that cannot be recorded is refused, not started") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.journal->broken = true;
  auto exec = n.ask(detached(id));
  CHECK(n.error_of(exec).code == ec::io);
  CHECK(n.agents->last().count("exec") == 0);
  n.journal->broken = false;
  CHECK(n.answers<api::ps_reply>(n.ask(api::ps{id})).at(0).execs.empty());
}

TEST_CASE("kill reaches an exec by its prefix, and says what it cannot find") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto exec = n.ask(detached(id));
  auto asked = n.ask(api::kill{id, exec.substr(0, 8), 9});
  CHECK(n.answers<api::kill_reply>(asked).at(0).exec == exec);
  const auto& line = n.agents->last().seen.back();
  CHECK(line.type == "signal");
  CHECK(line.payload["signal"] == 9);
  CHECK(n.error_of(n.ask(api::kill{id, "zzzz", 9})).code == ec::not_found);
  auto other = n.ask(attach(id), "uid:0", "r4");
  CHECK(n.error_of(other).code == ec::not_found);
}

TEST_CASE("a dial carries bytes both ways and ends with either side") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto dial = n.ask(api::dial{id, 8080});
  REQUIRE(n.answers<api::exec_started>(dial).size() == 1);
  CHECK(n.agents->last().seen.back().payload["port"] == 8080);
  n.agents->last().say("credit", std::nullopt,
                       {{"stream", dial}, {"channel", "in"}, {"limit", 100}});
  n.run();
  CHECK(n.answers<api::stream_credit>(dial).at(0).limit == 100);
  n.ask(api::stream_data{api::channel::in, 0, "GET"}, "uid:0", "r1", dial);
  CHECK(n.agents->last().seen.back().payload["channel"] == "in");
  n.agents->last().data(dial, "out", 0, "200");
  n.run();
  CHECK(text_of(n, dial) == "200");
  n.agents->last().say("close", std::nullopt, {{"stream", dial}});
  n.run();
  CHECK(n.answers<api::exec_exit>(dial).at(0).reason == "closed");
  CHECK(n.clients->watched.empty());
  CHECK(n.answers<api::ps_reply>(n.ask(api::ps{id})).at(0).execs.empty());
  // The client's end.
  auto second = n.ask(api::dial{id, 8081});
  caf::anon_send(n.entry, atom::gone::value, std::string{"r1"});
  n.run();
  CHECK(n.agents->last().seen.back().type == "close");
  CHECK(n.agents->last().seen.back().payload["stream"] == second);
}

TEST_CASE("events tell the history, then what happens, to whom it concerns") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  auto past = n.ask(api::events{});
  auto got = n.answers<api::events_reply>(past);
  REQUIRE_FALSE(got.empty());
  CHECK(got.back().last);
  REQUIRE(got[0].events.size() >= 2);
  CHECK(got[0].events[0].sandbox == id);
  CHECK(got[0].events[0].name == "web");
  auto mine = n.ask(api::events{"", true, 0}, "uid:7", "r7");
  auto all = n.ask(api::events{"web", true, 0}, "uid:0", "r8");
  auto before = n.answers<api::events_reply>(all).size();
  n.ask(api::pause{id});
  auto after = n.answers<api::events_reply>(all);
  REQUIRE(after.size() == before + 1);
  CHECK(after.back().events.at(0).what.to == phase::paused);
  for (const auto& reply : n.answers<api::events_reply>(mine))
    CHECK(reply.events.empty()); // another's sandbox
  caf::anon_send(n.entry, atom::gone::value, std::string{"r8"});
  n.run();
  n.ask(api::resume{id});
  CHECK(n.answers<api::events_reply>(all).size() == before + 1);
}
