#include <catch2/catch.hpp>

#include "tests/support/fleet.hpp"
#include "tests/support/gateway_client.hpp"
#include "tests/support/hosts.hpp"

// MCP through the gateway of a node that does not have the sandbox.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("an MCP session goes on through another node's gateway") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{3};
  const auto id = f.make_on(2, 0, "web");
  REQUIRE_FALSE(id.empty());
  const auto with = make_token(f[0], {"--sandbox", "web"});
  session client{port_of(f[0]), with};
  REQUIRE(client.initialize().contains("result"));
  CHECK(client.call("terminal_exec", {{"command", "echo $((6*7))"}}).find("42")
        != std::string::npos);
  client.call("file_write", {{"path", "kept"}, {"content", "here"}});
  // The gateway's node dies in the middle of a call.
  session slow{port_of(f[0]), with};
  REQUIRE(slow.initialize().contains("result"));
  slow.begin(
      "POST",
      R"({"jsonrpc":"2.0","id":7,"method":"tools/call","params":)"
      R"({"name":"terminal_exec","arguments":)"
      R"({"command":"touch /tmp/began; sleep 2; echo done >> /tmp/done"}}})");
  REQUIRE(eventually(20s, [&] {
    return f[2].caged({"exec", "web", "--", "test", "-e", "/tmp/began"}).exit
           == 0;
  }));
  f[0].kill();
  REQUIRE(eventually(20s, [&] {
    // The token has reached the other node, too.
    session probe{port_of(f[1]), with};
    return probe.initialize().contains("result");
  }));
  client.reconnect(port_of(f[1]));
  CHECK(has(client.call("file_read", {{"path", "kept"}}), "here"));
  CHECK(client.status == 200);
  // The call that nobody heard the end of ran once.
  CHECK(eventually(20s, [&] {
    return f[2].caged({"exec", "web", "--", "cat", "/tmp/done"}).out
           == "done\n";
  }));
  // And through the owner itself.
  client.reconnect(port_of(f[2]));
  CHECK(has(client.call("file_read", {{"path", "kept"}}), "here"));
  REQUIRE(f[0].start());
  CHECK(f.clear() == "");
}

TEST_CASE(
    "a session without a sandbox is placed like any, and lives anywhere") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{2};
  REQUIRE(f[0].caged({"node", "cordon", "n1"}).exit == 0);
  const auto with = make_token(f[0], {"--template", "minimal"});
  session client{port_of(f[0]), with};
  REQUIRE(client.initialize().contains("result"));
  CHECK(inits(f[1]).size() == 1);
  CHECK(
      has(client.call("terminal_exec", {{"command", "echo $((6*7))"}}), "42"));
  client.reconnect(port_of(f[1]));
  CHECK(
      has(client.call("terminal_exec", {{"command", "echo $((7*7))"}}), "49"));
  CHECK(client.send("DELETE").status / 100 == 2);
  CHECK(eventually(30s, [&] { return inits(f[1]).empty(); }));
  CHECK(f.clear() == "");
}
