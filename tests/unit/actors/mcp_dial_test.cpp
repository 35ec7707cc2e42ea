#include <catch2/catch.hpp>

#include "actors/mcp_server.hpp"
#include "tests/unit/actors/fakes.hpp"

// MCP servers in sandboxes as the node starts, finds and ends them; tokens.
using namespace caged;
using namespace caged::fakes;
using namespace std::chrono_literals;

namespace {

api::dial to_server(const std::string& sandbox, const std::string& key = "k1") {
  api::dial out;
  out.sandbox = sandbox;
  out.mcp = api::mcp_target{key, false, false};
  return out;
}

/// Payloads of the agent's messages of a type.
std::vector<json> said(node& n, const std::string& type) {
  std::vector<json> out;
  for (const auto& each : n.agents->last().seen)
    if (each.type == type)
      out.push_back(each.payload);
  return out;
}

void ends(node& n, const json& exec, int code) {
  n.agents->last().say("exit", std::nullopt,
                       {{"exec", exec["exec"]}, {"code", code}});
  n.run();
}

} // namespace

TEST_CASE("the first dial of a key starts its server, the next ones share it") {
  node n;
  n.boot();
  const auto id = n.make_sandbox();
  n.agents->last().refused_dials = 3; // it takes a while to listen
  const auto first = n.ask(to_server(id));
  CHECK(n.answers<api::exec_started>(first).empty());
  for (int i = 0; i < 10; ++i)
    n.pass(100ms);
  REQUIRE(n.answers<api::exec_started>(first).size() == 1);
  const auto second = n.ask(to_server(id));
  CHECK(n.answers<api::exec_started>(second).size() == 1);
  const auto execs = said(n, "exec");
  REQUIRE(execs.size() == 1);
  CHECK(execs[0]["argv"][0] == "/usr/lib/caged/caged-mcp-server");
  CHECK(said(n, "dial").back()["path"] == mcp_server::socket_path("k1"));
  // Another key has its own, and `ps` says whose they are.
  n.ask(to_server(id, "k2"));
  n.pass(100ms);
  CHECK(said(n, "exec").size() == 2);
  const auto ps = n.answers<api::ps_reply>(n.ask(api::ps{id})).at(0);
  REQUIRE(std::count_if(ps.execs.begin(), ps.execs.end(),
                        [](const auto& each) {
                          return each.caller == "mcp:k1"
                                 || each.caller == "mcp:k2";
                        })
          == 2);
  // Connections are no commands: they take no place among them.
  CHECK(n.answers<api::get_reply>(n.ask(api::get{id})).at(0).execs == 2);
}

TEST_CASE("a server that ended is started again, one that keeps ending is an "
          "error") {
  node n;
  n.boot();
  const auto id = n.make_sandbox();
  n.ask(to_server(id));
  n.pass(100ms);
  ends(n, said(n, "exec").at(0), 0); // it was idle
  const auto again = n.ask(to_server(id));
  n.pass(100ms);
  CHECK(n.answers<api::exec_started>(again).size() == 1);
  REQUIRE(said(n, "exec").size() == 2);
  ends(n, said(n, "exec").at(1), 0);

  n.agents->last().refused_dials = 1000;
  const auto bad = n.ask(to_server(id));
  ends(n, said(n, "exec").at(2), 127);
  n.pass(100ms);
  ends(n, said(n, "exec").at(3), 127);
  n.pass(100ms);
  CHECK(n.error_of(bad).code == ec::unsupported);
  CHECK(n.error_of(bad).hint.find("--agent-dir") != std::string::npos);
  CHECK(said(n, "exec").size() == 4);
  // One that never listens: the client is told, and nothing of it is left.
  const auto watched = n.clients->watched.size();
  const auto deaf = n.ask(to_server(id));
  for (int i = 0; i < 200; ++i)
    n.pass(100ms);
  CHECK(n.error_of(deaf).code == ec::unavailable);
  CHECK(n.clients->watched.size() == watched);
}

TEST_CASE("a client that leaves while its server starts is forgotten") {
  node n;
  n.boot();
  const auto id = n.make_sandbox();
  n.agents->last().refused_dials = 1000;
  const auto gone = n.ask(to_server(id), "uid:0", "r9");
  caf::anon_send(n.entry, atom::gone::value, std::string{"r9"});
  for (int i = 0; i < 200; ++i)
    n.pass(100ms);
  CHECK(n.answers<api::error_reply>(gone).empty());
  const auto before = said(n, "dial").size();
  n.pass(1s);
  CHECK(said(n, "dial").size() == before);
}

TEST_CASE("a restarted daemon finds the server of a key again") {
  node n;
  n.boot();
  const auto id = n.make_sandbox();
  n.ask(to_server(id));
  n.pass(100ms);
  const auto exec = said(n, "exec").at(0)["exec"];
  n.halt();
  n.agents->execs = json::array({{{"exec", exec}, {"pid", 42}}});
  n.boot();
  const auto back = n.ask(to_server(id));
  n.pass(100ms);
  CHECK(n.answers<api::exec_started>(back).size() == 1);
  CHECK(said(n, "exec").empty());
}

TEST_CASE("a revoked token ends its own server and no other") {
  node n;
  n.boot();
  const auto id = n.make_sandbox();
  const auto made = n.answers<api::token_reply>(
      n.ask(api::token_create{id, {}, api::token_scope::mcp, 1h}));
  REQUIRE(made.size() == 1);
  CHECK(made[0].info.sandbox == id);
  const auto key = made[0].info.id;
  n.ask(to_server(id, key));
  n.ask(to_server(id, "another"));
  n.pass(100ms);
  const auto server = said(n, "exec").at(0)["exec"];
  // Somebody else neither sees nor revokes it.
  CHECK(n.answers<api::token_list_reply>(n.ask(api::token_list{}, "uid:7"))
            .at(0)
            .tokens.empty());
  CHECK(n.error_of(n.ask(api::token_revoke{key}, "uid:7")).code
        == ec::not_found);
  const auto done = n.ask(api::token_revoke{key});
  CHECK(n.answers<api::token_revoke_reply>(done).at(0).token == key);
  const auto signals = said(n, "signal");
  REQUIRE(signals.size() == 1);
  CHECK(signals[0]["exec"] == server);
  CHECK(n.error_of(n.ask(api::token_revoke{key})).code == ec::not_found);
  // For a sandbox that is another's there is none to be had.
  CHECK(n.error_of(n.ask(api::token_create{id, {}, api::token_scope::mcp, 1h},
                         "uid:7"))
            .code
        == ec::not_found);
}

TEST_CASE("a sandbox that a session has to itself ends with its server") {
  node n;
  n.boot();
  api::up up;
  up.spec.labels[mcp_server::session_label] = "tok-abc12345";
  const auto made = n.answers<api::up_reply>(n.ask(std::move(up)));
  REQUIRE(made.size() == 1);
  const auto id = made[0].sandbox.id;
  const auto other = n.make_sandbox();
  n.ask(to_server(other));
  n.ask(to_server(id));
  n.pass(100ms);
  for (const auto& agent : n.agents->dialled)
    for (std::size_t i = 0; i < agent->seen.size(); ++i)
      if (agent->seen[i].type == "exec")
        agent->say("exit", std::nullopt,
                   {{"exec", agent->seen[i].payload["exec"]}, {"code", 0}});
  n.run();
  CHECK(n.driver->running.count(id) == 0);
  CHECK(n.driver->running.count(other) == 1);
  // One whose session never began goes when it is idle, instead of pausing.
  api::up lonely;
  lonely.spec.labels[mcp_server::session_label] = "tok-abc12345";
  lonely.spec.idle_timeout = 10min;
  const auto second = n.answers<api::up_reply>(n.ask(std::move(lonely)));
  REQUIRE(second.size() == 1);
  for (int i = 0; i < 12 * 12; ++i) {
    for (const auto& agent : n.agents->dialled)
      agent->say("heartbeat", std::nullopt, {{"sequence", 1}});
    n.pass(5s);
  }
  CHECK(n.driver->running.count(second[0].sandbox.id) == 0);
}
