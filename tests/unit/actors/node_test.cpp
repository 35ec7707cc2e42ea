#include <catch2/catch.hpp>

#include <algorithm>

#include "fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

TEST_CASE("up makes a running sandbox and says so") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  REQUIRE(is_valid_id(id));
  CHECK(n.state_of(id) == phase::running);
  CHECK(n.store->records.count("placements/" + id) == 1);
  CHECK(n.store->records.at("names/uid:0/web").value == id);
  CHECK(n.driver->running.count(id) == 1);
  CHECK(n.metrics->states[id] == phase::running);
}

namespace {

/// What was known of a sandbox when its destroy was answered.
class at_destroy : public client_sink {
public:
  at_destroy(client_sink& to, const fakes::counting_metrics& metrics)
      : to_{to}, metrics_{metrics} {}
  void send(api::reply message) override {
    if (std::holds_alternative<api::destroy_reply>(message.body)) {
      ++answers;
      series += metrics_.known.size();
    }
    to_.send(std::move(message));
  }
  void watch(const std::string& route) override { to_.watch(route); }
  void unwatch(const std::string& route) override { to_.unwatch(route); }

  std::size_t answers = 0, series = 0;

private:
  client_sink& to_;
  const fakes::counting_metrics& metrics_;
};

} // namespace

TEST_CASE("a sandbox's series are gone when its destroy is answered") {
  node n;
  auto seen = std::make_shared<at_destroy>(*n.clients, *n.metrics);
  n.context->clients = seen;
  n.boot();
  auto id = n.make_sandbox();
  REQUIRE(n.metrics->known.count(id) == 1);
  n.ask(api::destroy{id});
  CHECK(seen->answers == 1);
  CHECK(seen->series == 0);
}

TEST_CASE("destroy frees everything and is idempotent") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  auto first = n.ask(api::destroy{"web"});
  REQUIRE(n.answers<api::destroy_reply>(first).size() == 1);
  CHECK(n.answers<api::destroy_reply>(first)[0].was_there);
  CHECK(n.driver->running.empty());
  CHECK(n.driver->disks.empty());
  CHECK(n.placed() == 0);
  CHECK(n.journal->leased[id].empty());
  CHECK(n.metrics->known.empty());
  CHECK(n.metrics->cpus_reserved == 0);
  auto again = n.ask(api::destroy{id});
  CHECK_FALSE(n.answers<api::destroy_reply>(again).at(0).was_there);
  // The name is free again, the history is kept.
  CHECK_FALSE(n.make_sandbox("web").empty());
  auto why = n.ask(api::why{id});
  auto causes = n.answers<api::why_reply>(why).at(0).causes;
  CHECK(causes.back().to == phase::destroyed);
  CHECK(causes.back().who == "uid:0");
}

TEST_CASE("a repeated up gets the first answer, another body is a conflict") {
  node n;
  n.boot();
  auto request = make_uuid();
  n.ask(api::up{}, "uid:0", "r1", request, 7);
  n.ask(api::up{}, "uid:0", "r2", request, 7);
  auto got = n.answers<api::up_reply>(request);
  REQUIRE(got.size() == 2);
  CHECK(got[0].sandbox.id == got[1].sandbox.id);
  CHECK(n.driver->running.size() == 1);
  n.ask(api::up{}, "uid:0", "r1", request, 8);
  CHECK(n.error_of(request).code == ec::conflict);
}

TEST_CASE("a repeated up is answered in every state") {
  node n;
  n.boot();
  auto request = make_uuid();
  auto again = [&](const std::string& route) {
    n.clients->sent.clear();
    n.ask(api::up{}, "uid:0", route, request, 7);
  };
  again("r1");
  auto id = n.answers<api::up_reply>(request).at(0).sandbox.id;
  n.ask(api::pause{id});
  again("r2");
  REQUIRE(n.answers<api::up_reply>(request).size() == 1);
  CHECK(n.answers<api::up_reply>(request)[0].sandbox.state == phase::paused);
  n.ask(api::resume{id});
  n.pass(20s);
  REQUIRE(n.state_of(id) == phase::unhealthy);
  again("r3");
  REQUIRE(n.answers<api::up_reply>(request).size() == 1);
  CHECK(n.answers<api::up_reply>(request)[0].sandbox.state == phase::unhealthy);
  n.driver->refuse_destroy = true;
  n.driver->destroy_error = {ec::resource, "the loop device is busy", {}};
  n.ask(api::destroy{id});
  REQUIRE(n.state_of(id) == phase::stopping);
  again("r4");
  CHECK(n.error_of(request).code == ec::wrong_state);
  CHECK(n.error_of(request).message == id + " is being destroyed");
  // And so is everything else that needs its commands.
  for (const auto& body : std::vector<api::request_body>{
           api::ps{id}, api::kill{id, "x", 9}, api::pause{id}, api::resume{id}})
    CHECK(n.error_of(n.ask(body)).code == ec::wrong_state);
  n.driver->refuse_destroy = false;
  n.pass(6s);
  REQUIRE(n.state_of(id) == phase::destroyed);
  again("r5");
  CHECK(n.error_of(request).code == ec::wrong_state);
  // A destroyed one is named by its id, and said to be so.
  auto gone = n.error_of(n.ask(api::ps{id}));
  CHECK(gone.code == ec::not_found);
  CHECK(gone.message == id + " is destroyed");
  CHECK(gone.hint.find("caged why " + id) != std::string::npos);
}

TEST_CASE("what does not fit or is in use is refused before anything is made") {
  node n;
  n.boot();
  n.make_sandbox("web");
  api::up up;
  up.spec.name = "web";
  auto used = n.ask(up);
  CHECK(n.error_of(used).code == ec::conflict);
  CHECK(n.error_of(used).message.find("web") != std::string::npos);
  up.spec.name.clear();
  up.spec.cpus = 8;
  n.ask(up);
  auto full = n.ask(up);
  CHECK(n.error_of(full).code == ec::no_capacity);
  up.spec.cpus = 1;
  up.spec.network = network_mode::full;
  CHECK(n.error_of(n.ask(up)).code == ec::unsupported);
  CHECK(n.driver->running.size() == 2);
}

TEST_CASE("a start that fails leaves nothing but its history") {
  node n;
  n.boot();
  n.driver->refuse_start = true;
  n.driver->start_error = {ec::host_setup, "crun was not found", "install it"};
  auto request = n.ask(api::up{});
  CHECK(n.error_of(request).code == ec::host_setup);
  auto all = n.answers<api::error_reply>(request);
  REQUIRE(all.size() == 1);
  auto id = all[0].sandbox;
  CHECK(n.placed() == 0);
  CHECK(n.journal->leased[id].empty());
  CHECK(n.state_of(id) == phase::destroyed);
  CHECK(n.metrics->cpus_reserved == 0);
}

TEST_CASE("a full disk under the journal refuses up and keeps nothing") {
  node n;
  n.boot();
  n.journal->broken = true;
  auto request = n.ask(api::up{});
  CHECK(n.error_of(request).code == ec::io);
  CHECK(n.placed() == 0);
  CHECK(n.driver->running.empty());
  n.journal->broken = false;
  CHECK_FALSE(n.make_sandbox().empty());
}

TEST_CASE("an agent that does not answer in time fails the start") {
  node n;
  n.agents->reachable = false;
  n.boot();
  auto request = n.ask(api::up{});
  n.pass(11s);
  CHECK(n.error_of(request).code == ec::agent_lost);
  auto id = n.answers<api::error_reply>(request).at(0).sandbox;
  CHECK(n.state_of(id) == phase::failed);
  CHECK(n.driver->running.empty());
  CHECK(n.driver->disks.count(id) == 1);
}

TEST_CASE("three missing heartbeats make a sandbox unhealthy, one heals it") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.agents->last().say("heartbeat", std::nullopt, {{"sequence", 1}});
  n.run();
  n.pass(14s);
  CHECK(n.state_of(id) == phase::running);
  n.pass(2s);
  CHECK(n.state_of(id) == phase::unhealthy);
  api::exec what;
  what.sandbox = id;
  what.argv = {"true"};
  auto refused = n.ask(what);
  CHECK(n.error_of(refused).code == ec::wrong_state);
  n.agents->last().say("heartbeat", std::nullopt, {{"sequence", 2}});
  n.run();
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("the death of the init fails a sandbox and keeps its disk layer") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web");
  exit_report report;
  report.id = id;
  report.process = n.driver->running[id];
  report.text = "its init was killed by signal 9";
  caf::anon_send(n.supervisor_handle, report);
  n.run();
  CHECK(n.state_of(id) == phase::failed);
  CHECK(n.journal->history[id].back().text == report.text);
  CHECK(n.driver->disks.count(id) == 1);
  CHECK(n.metrics->cpus_reserved == 0);
  REQUIRE(n.journal->leased[id].size() == 1);
  CHECK(n.journal->leased[id][0].kind == "directory");
  n.pass(25h);
  CHECK(n.state_of(id) == phase::destroyed);
  CHECK(n.driver->disks.empty());
}

TEST_CASE("an exec's streams travel between client and agent") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  what.wants_stdin = true;
  auto exec = n.ask(what);
  REQUIRE(n.answers<api::exec_started>(exec).size() == 1);
  CHECK(n.clients->watched.count("r1") == 1);
  CHECK(n.journal->exec_rows.count(exec) == 1);
  auto& agent = n.agents->last();
  agent.say("credit", std::nullopt,
            {{"stream", exec}, {"channel", "stdin"}, {"limit", 100}});
  n.run();
  n.ask(api::stream_data{api::channel::in, 0, "hi"}, "uid:0", "r1", exec);
  CHECK(agent.count("data") == 1);
  agent.data(exec, "stdout", 0, "hi");
  agent.say("eof", std::nullopt,
            {{"stream", exec}, {"channel", "stdout"}, {"offset", 2}});
  agent.say("exit", std::nullopt, {{"exec", exec}, {"code", 3}});
  n.run();
  CHECK(n.answers<api::stream_data>(exec).at(0).bytes == "hi");
  CHECK(n.answers<api::exec_exit>(exec).at(0).code == 3);
  n.ask(api::stream_ack{api::channel::exit, 0}, "uid:0", "r1", exec);
  CHECK(n.clients->watched.empty());
  CHECK(n.journal->exec_rows.empty());
}

TEST_CASE(
    "a second attachment supersedes the first, another caller is denied") {
  node n;
  n.boot();
  auto id = n.make_sandbox("web", "uid:7");
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  auto exec = n.ask(what, "uid:7", "r1");
  n.ask(what, "uid:7", "r2", exec);
  CHECK(n.error_of(exec).code == ec::superseded);
  n.ask(what, "uid:0", "r3", exec);
  CHECK(n.error_of(exec).code == ec::denied);
  CHECK(n.clients->watched.count("r2") == 1);
  CHECK(n.clients->watched.count("r1") == 0);
}

TEST_CASE("a client that is gone for 30 s costs its exec") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  api::exec what;
  what.sandbox = id;
  what.argv = {"sleep", "1000"};
  auto exec = n.ask(what);
  caf::anon_send(n.entry, atom::gone::value, std::string{"r1"});
  n.run();
  n.pass(29s);
  CHECK(n.agents->last().count("signal") == 0);
  n.pass(2s);
  CHECK(n.agents->last().count("signal") == 1);
}

TEST_CASE("false offsets cost the agent its connection and are recorded") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto other = n.make_sandbox();
  auto first = n.agents->dialled[0];
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  auto exec = n.ask(what);
  first->data(exec, "stdout", 1000, "x");
  n.run();
  CHECK(first->closed);
  CHECK(n.journal->history[id].back().text.find("offset 1000")
        != std::string::npos);
  CHECK_FALSE(n.agents->dialled[1]->closed);
  CHECK(n.state_of(other) == phase::running);
}

TEST_CASE("a flooding agent is cut off") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  auto agent = n.agents->dialled[0];
  for (int i = 0; i < 500; ++i)
    agent->say("heartbeat", std::nullopt, {{"sequence", i}});
  n.run();
  CHECK(agent->closed);
  CHECK(n.journal->history[id].back().text.find("messages a second")
        != std::string::npos);
}

TEST_CASE("implausible samples are refused, good ones are shown") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  agent_metrics sample;
  sample.cpu_seconds = 3;
  sample.memory_used_bytes = 1000;
  sample.memory_total_bytes = 512.0 * 1024 * 1024;
  sample.disk_used_bytes = 1;
  sample.disk_total_bytes = 1000;
  sample.processes = 2;
  n.agents->last().say("metrics", std::nullopt,
                       agent_protocol::to_json(sample));
  n.run();
  CHECK(n.metrics->samples[id].cpu_seconds == 3);
  sample.memory_used_bytes = -5;
  n.agents->last().say("metrics", std::nullopt,
                       agent_protocol::to_json(sample));
  n.run();
  CHECK(n.metrics->refused == 1);
  CHECK(n.metrics->samples[id].memory_used_bytes == 1000);
}

TEST_CASE("the init script runs once, and up waits for it") {
  node n;
  n.boot();
  api::up up;
  up.spec.init_script = "echo hello";
  auto request = n.ask(up);
  CHECK(n.answers<api::up_reply>(request).empty());
  auto& agent = n.agents->last();
  REQUIRE(agent.count("exec") == 1);
  std::string exec, id;
  for (const auto& line : agent.seen)
    if (line.type == "exec")
      exec = line.payload["exec"].get<std::string>();
  id = exec.substr(5);
  agent.data(exec, "stdout", 0, "hello\n");
  agent.say("exit", std::nullopt, {{"exec", exec}, {"code", 0}});
  n.run();
  REQUIRE(n.answers<api::up_reply>(request).size() == 1);
  CHECK(n.answers<api::up_reply>(request)[0].sandbox.init_state == 1);
  auto logs = n.ask(api::logs{id, "init"});
  CHECK(n.answers<api::log_chunk>(logs).at(0).bytes == "hello\n");
}

TEST_CASE("a destroy that fails is told, and asking again tries again") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  n.driver->refuse_destroy = true;
  n.driver->destroy_error = {ec::resource, "the loop device is busy", {}};
  auto first = n.ask(api::destroy{id});
  CHECK(n.error_of(first).code == ec::resource);
  n.driver->refuse_destroy = false;
  n.pass(6s);
  CHECK(n.state_of(id) == phase::destroyed);
}

TEST_CASE("others' sandboxes are invisible to a user") {
  node n;
  n.boot();
  auto mine = n.make_sandbox("a", "uid:1");
  auto theirs = n.make_sandbox("b", "uid:2");
  auto list = n.ask(api::list{}, "uid:1");
  REQUIRE(n.answers<api::list_reply>(list).at(0).sandboxes.size() == 1);
  CHECK(n.answers<api::list_reply>(list)[0].sandboxes[0].id == mine);
  CHECK(n.error_of(n.ask(api::get{theirs}, "uid:1")).code == ec::not_found);
  auto all = n.ask(api::list{}, "uid:0");
  CHECK(n.answers<api::list_reply>(all).at(0).sandboxes.size() == 2);
}

TEST_CASE("secrets of the environment never leave the node") {
  node n;
  n.boot();
  api::up up;
  up.spec.env["TOKEN"] = "secret";
  auto request = n.ask(up);
  auto info = n.answers<api::up_reply>(request).at(0).sandbox;
  CHECK(info.spec.env["TOKEN"].empty());
  auto list = n.ask(api::list{});
  CHECK(n.answers<api::list_reply>(list).at(0).sandboxes[0].spec.env.empty());
  // It reaches the agent.
  bool seen = false;
  for (const auto& line : n.agents->last().seen)
    seen = seen
           || line.payload.value("env", nlohmann::json::object())
                      .value("TOKEN", "")
                  == "secret";
  CHECK(seen);
}

TEST_CASE("audit finds what nobody leased") {
  node n;
  n.boot();
  n.make_sandbox();
  n.driver->strays = {"cage-stray000"};
  auto request = n.ask(api::node_audit{});
  auto rows = n.answers<api::audit_reply>(request).at(0).rows;
  REQUIRE(rows.size() == 3);
  CHECK(n.metrics->orphan_count == 1);
  CHECK(n.error_of(n.ask(api::node_audit{true}, "uid:7")).code == ec::denied);
  auto fixed = n.ask(api::node_audit{true});
  rows = n.answers<api::audit_reply>(fixed).at(0).rows;
  REQUIRE(rows.size() == 3);
  CHECK(std::count_if(rows.begin(), rows.end(),
                      [](const auto& row) {
                        return row.verdict == "freed"
                               && row.sandbox == "cage-stray000";
                      })
        == 1);
  CHECK(n.driver->strays.empty());
  CHECK(n.metrics->orphan_count == 0);
}

TEST_CASE("what goes while the audit looks is nobody's orphan") {
  node n;
  n.boot();
  auto goes = n.make_sandbox();
  n.driver->looked = [&] { n.journal->leased.erase(goes); };
  auto rows = n.answers<api::audit_reply>(n.ask(api::node_audit{})).at(0).rows;
  REQUIRE(rows.size() == 2);
  for (const auto& row : rows) {
    CHECK(row.verdict == "owned");
    CHECK(row.sandbox == goes);
  }
  CHECK(n.metrics->orphan_count == 0);
  // Whoever looks later finds it there, without a lease.
  rows = n.answers<api::audit_reply>(n.ask(api::node_audit{})).at(0).rows;
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].verdict == "orphan");
}

TEST_CASE("what is old leaves the journal while the daemon runs, too") {
  node n;
  n.boot();
  auto end_one = [&] { n.ask(api::destroy{n.make_sandbox()}); };
  end_one();
  CHECK(n.journal->expired.empty()); // that was done when it was started
  n.pass(std::chrono::minutes(59));
  end_one();
  CHECK(n.journal->expired.empty());
  n.pass(std::chrono::minutes(1));
  end_one();
  end_one();
  REQUIRE(n.journal->expired.size() == 1);
  const auto before = wall_clock_ms() - 7LL * 24 * 3600 * 1000;
  CHECK(std::abs(n.journal->expired[0] - before) < 60'000);
  n.pass(std::chrono::hours(1));
  end_one();
  CHECK(n.journal->expired.size() == 2);
}

TEST_CASE("shutdown with destroy-all clears the host before it stops") {
  node n;
  n.boot();
  n.make_sandbox();
  n.make_sandbox();
  auto request = n.ask(api::node_shutdown{true});
  CHECK(n.answers<api::shutdown_reply>(request).at(0).destroyed == 2);
  CHECK(n.driver->disks.empty());
  n.pass(1s);
  CHECK(n.stop_requested);
  CHECK(n.error_of(n.ask(api::up{})).code == ec::shutting_down);
}

TEST_CASE("a memory kill is recorded with the limit") {
  node n;
  n.boot();
  auto id = n.make_sandbox();
  caf::anon_send(n.supervisor_handle, atom::oom::value, id, std::uint64_t{2});
  n.run();
  CHECK(n.journal->history[id].back().text
        == "out of memory: the limit of 512 MB was reached and the kernel "
           "killed 2 processes");
  CHECK(n.state_of(id) == phase::running);
}

TEST_CASE("up is not answered with a sandbox whose start is not on disk") {
  node n;
  n.agents->answers = false; // its hello waits
  n.boot();
  auto request = n.ask(api::up{});
  REQUIRE(n.answers<api::up_reply>(request).empty());
  n.journal->broken = true;
  auto& agent = n.agents->last();
  agent.answers = true;
  auto seen = agent.seen;
  for (const auto& line : seen)
    if (line.type == "hello")
      agent.say("hello", line.id,
                {{"protocol", 1},
                 {"agent", "9.9"},
                 {"boot", "boot-1"},
                 {"execs", nlohmann::json::array()}});
  n.run();
  CHECK(n.answers<api::up_reply>(request).empty());
  CHECK(n.error_of(request).code == ec::io);
}

TEST_CASE("starts beyond the limit wait in line, in order, and say where") {
  node n;
  n.context->max_starts = 1;
  n.boot();
  std::vector<std::string> asked;
  for (int i = 0; i < 4; ++i) {
    auto request = std::make_shared<api::request>();
    request->route = "r" + std::to_string(i);
    request->id = make_uuid();
    request->caller = "uid:0";
    request->admin = true;
    request->digest = 1;
    api::up up;
    up.spec.cpus = 1;
    up.spec.name = "n" + std::to_string(i);
    request->body = up;
    asked.push_back(request->id);
    caf::anon_send(n.entry, request_ptr{request});
  }
  n.run();
  std::vector<std::string> starts;
  for (const auto& call : n.driver->calls)
    if (call.rfind("start ", 0) == 0)
      starts.push_back(call.substr(6));
  REQUIRE(starts.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    auto got = n.answers<api::up_reply>(asked[i]);
    REQUIRE(got.size() == 1);
    CHECK(got[0].sandbox.id == starts[i]);
  }
  bool told = false;
  for (const auto& step : n.answers<api::up_progress>(asked[3]))
    told = told || step.step.find("in line: ") == 0;
  CHECK(told);
}

TEST_CASE("what waits in line can be destroyed, and the line moves on") {
  node n;
  n.context->max_starts = 1;
  n.agents->answers = false; // its start never ends
  n.boot();
  auto first = n.ask(api::up{});
  auto second = n.ask(api::up{}, "uid:0", "r2");
  static_cast<void>(first);
  auto all = n.ask(api::list{true, false, {}});
  auto listed = n.answers<api::list_reply>(all).at(0).sandboxes;
  REQUIRE(listed.size() == 2);
  for (const auto& sandbox : listed)
    n.ask(api::destroy{sandbox.id});
  CHECK(n.answers<api::list_reply>(n.ask(api::list{true, false, {}}))
            .at(0)
            .sandboxes.empty());
  CHECK_FALSE(n.error_of(second).message.empty());
  n.agents->answers = true;
  CHECK_FALSE(n.make_sandbox().empty());
}

TEST_CASE("a repeated destroy by name finds the destroyed one, no prefix") {
  node n;
  n.boot();
  auto first = n.make_sandbox("web");
  n.make_sandbox("web-2");
  n.ask(api::destroy{"web"});
  auto again = n.ask(api::destroy{"web"});
  REQUIRE(n.answers<api::destroy_reply>(again).size() == 1);
  CHECK(n.answers<api::destroy_reply>(again)[0].id == first);
  CHECK_FALSE(n.answers<api::destroy_reply>(again)[0].was_there);
  CHECK(n.answers<api::why_reply>(n.ask(api::why{"web"})).size() == 1);
  CHECK(n.answers<api::get_reply>(n.ask(api::get{"web"})).size() == 1); // web-2
  // Another caller's is unknown, and a living one of that name comes first.
  CHECK(n.error_of(n.ask(api::destroy{"web"}, "uid:7")).code == ec::not_found);
  auto second = n.make_sandbox("web");
  auto last = n.ask(api::destroy{"web"});
  CHECK(n.answers<api::destroy_reply>(last).at(0).id == second);
  auto listed = n.ask(api::list{});
  CHECK(n.answers<api::list_reply>(listed).at(0).sandboxes.size() == 1);
}

TEST_CASE("two destroys at once are both answered, whatever comes between") {
  for (int steps = 0; steps < 60; ++steps) {
    CAPTURE(steps);
    node n;
    n.boot();
    auto id = n.make_sandbox("web");
    auto ask = [&] {
      auto request = std::make_shared<api::request>();
      request->route = "r1";
      request->id = make_uuid();
      request->caller = "uid:0";
      request->admin = true;
      request->body = api::destroy{id};
      caf::anon_send(n.entry, request_ptr{request});
      return request->id;
    };
    auto first = ask();
    for (int i = 0; i < steps; ++i)
      n.scheduler->try_run_once();
    auto second = ask();
    n.run();
    n.pass(1s);
    CHECK(n.answers<api::destroy_reply>(first).size() == 1);
    CHECK(n.answers<api::destroy_reply>(second).size() == 1);
    CHECK(n.state_of(id) == phase::destroyed);
    auto listed = n.ask(api::list{});
    CHECK(n.answers<api::list_reply>(listed).at(0).sandboxes.empty());
  }
}

TEST_CASE("the daemon remembers the newest destroyed sandboxes, not all") {
  node n;
  for (std::size_t i = 0; i < limits::history_most + 5; ++i) {
    sandbox_record old;
    auto digits = std::to_string(10'000'000 + i);
    old.id = "cage-" + digits;
    old.owner = "uid:0";
    old.request_id = digits;
    old.state = phase::destroyed;
    old.created_ms = static_cast<std::int64_t>(i);
    n.journal->records[old.id] = old;
  }
  n.boot();
  api::list all;
  all.destroyed = true;
  CHECK(n.answers<api::list_reply>(n.ask(all)).at(0).sandboxes.size()
        == limits::history_most);
  CHECK(n.error_of(n.ask(api::why{"cage-10000004"})).code == ec::not_found);
  CHECK(n.answers<api::why_reply>(n.ask(api::why{"cage-10000005"})).size()
        == 1);
  auto id = n.make_sandbox();
  n.ask(api::destroy{id});
  CHECK(n.error_of(n.ask(api::why{"cage-10000005"})).code == ec::not_found);
  CHECK(n.answers<api::why_reply>(n.ask(api::why{id})).size() == 1);
}

TEST_CASE("who asks while the daemon starts is answered by what it adopts") {
  node n;
  n.boot();
  const auto id = n.make_sandbox("web");
  REQUIRE_FALSE(id.empty());
  n.halt();
  std::string early, gone;
  n.before_start = [&] {
    early = n.ask(api::get{"web"});
    gone = n.ask(api::get{"nobody"});
    CHECK(n.answers<api::get_reply>(early).empty());
    CHECK(n.answers<api::error_reply>(gone).empty());
  };
  n.boot();
  REQUIRE(n.answers<api::get_reply>(early).size() == 1);
  CHECK(n.answers<api::get_reply>(early)[0].sandbox.id == id);
  CHECK(n.error_of(gone).code == ec::not_found);
}
