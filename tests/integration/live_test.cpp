#include <catch2/catch.hpp>

#include <csignal>

#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"

// Pause and resume, detached execs, events, forwards, top: on real sandboxes.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

} // namespace

TEST_CASE("a paused sandbox uses no cpu, refuses exec and comes back") {
  test_node node{{"--heartbeat-interval", "500ms"}};
  REQUIRE(node.start());
  auto id = node.up({"--name", "web"});
  REQUIRE_FALSE(id.empty());
  REQUIRE(
      node.caged({"exec", "-d", "web", "--", "sh", "-c", "while :; do :; done"})
          .exit
      == 0);
  auto paused = node.caged({"pause", "web"});
  CHECK(trimmed(paused.out) == id);
  CHECK(node.state("web") == "paused");
  CHECK(has(node.caged({"sleep", "web"}).out, "was so before"));
  auto refused = node.caged({"exec", "web", "--", "true"});
  CHECK(refused.exit == 125);
  CHECK(has(refused.err, "paused"));
  CHECK(has(refused.err, "caged resume"));
  auto seconds = [&] {
    auto got = json::parse(node.caged({"get", "web", "--format", "json"}).out,
                           nullptr, false);
    return got.is_object() ? got["host"].value("cpu_seconds", -1.0) : -1.0;
  };
  auto before = seconds();
  REQUIRE(before >= 0);
  // Longer than the three heartbeats that make a living one unhealthy.
  auto since = std::chrono::steady_clock::now();
  CHECK(eventually(
      10s, [&] { return std::chrono::steady_clock::now() - since > 2500ms; }));
  CHECK(seconds() - before < 0.05);
  CHECK(node.state("web") == "paused");
  // Over a restart, too.
  node.kill();
  REQUIRE(node.start());
  CHECK(node.state("web") == "paused");
  CHECK(node.caged({"wake", "web"}).exit == 0);
  CHECK(node.caged({"exec", "web", "--", "echo", "awake"}).out == "awake\n");
  CHECK(node.caged({"pause", "web"}).exit == 0);
  CHECK(node.caged({"exec", "--resume", "web", "--", "echo", "yes"}).out
        == "yes\n");
  CHECK(node.caged({"pause", "web"}).exit == 0);
  CHECK(node.caged({"destroy", "web"}).exit == 0);
  CHECK(node.clear() == "");
}

TEST_CASE("idleness pauses a sandbox and a time to live ends one") {
  test_node node{{"--heartbeat-interval", "500ms"}};
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "idle", "--timeout", "1s"}).empty());
  REQUIRE_FALSE(node.up({"--name", "mortal", "--ttl", "3s"}).empty());
  CHECK(eventually(10s, [&] { return node.state("idle") == "paused"; }));
  CHECK(node.why_says("idle", "idle for 1s"));
  CHECK(eventually(10s, [&] { return node.state("mortal").empty(); }));
  auto bad = node.caged({"up", "--timeout", "1"});
  CHECK(bad.exit != 0);
  CHECK(has(bad.err, "1"));
  CHECK(node.clear() == "");
}

TEST_CASE(
    "a detached exec is listed, replayed, killed, and outlives a daemon") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--name", "web"});
  REQUIRE_FALSE(id.empty());
  auto exec = trimmed(
      node.caged({"exec", "-d", "web", "--", "sh", "-c",
                  "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; "
                  "done; echo oops >&2; while [ ! -e /tmp/go ]; do sleep 0.1; "
                  "done; exit 3"})
          .out);
  REQUIRE(exec.size() == 36);
  auto ps = node.caged({"ps", "web"});
  CHECK(has(ps.out, exec));
  CHECK(has(ps.out, "detached"));
  node.kill();
  REQUIRE(node.start());
  auto attached = node.start_caged({"attach", "web"});
  REQUIRE(eventually(20s, [&] { return has(attached->out(), "line 3000\n"); }));
  node.kill(); // the client waits, and goes on
  REQUIRE(node.start());
  REQUIRE(eventually(20s, [&] {
    return node.caged({"exec", "web", "--", "touch", "/tmp/go"}).exit == 0;
  }));
  REQUIRE(attached->wait(20s));
  CHECK(attached->exit() == 3);
  CHECK(attached->err() == "oops\n");
  std::string want;
  for (int i = 1; i <= 3000; ++i)
    want += "line " + std::to_string(i) + "\n";
  CHECK(attached->out() == want);
  // Ended ones stay, until the sandbox goes.
  auto again = node.caged({"attach", "web", exec.substr(0, 8)});
  CHECK(again.exit == 3);
  CHECK(again.out == want);
  CHECK(has(node.caged({"ps", "web"}).out, "exit 3"));

  auto sleeper =
      trimmed(node.caged({"exec", "-d", "web", "--", "sleep", "1000"}).out);
  CHECK(node.caged({"kill", "-s", "KILL", "web", sleeper.substr(0, 8)}).exit
        == 0);
  CHECK(node.caged({"attach", "web", sleeper}).exit == 137);
  auto none = node.caged({"kill", "web", "zzz"});
  CHECK(none.exit == 1);
  CHECK(has(none.err, "caged ps"));
  CHECK(has(node.caged({"kill", "-s", "NOPE", "web", exec}).err, "no signal"));
  CHECK(node.clear() == "");
}

TEST_CASE("events tell what happened and what happens") {
  test_node node;
  REQUIRE(node.start());
  auto follower = node.start_caged({"events", "-f", "--format", "json"});
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  REQUIRE(node.caged({"pause", "web"}).exit == 0);
  REQUIRE(node.caged({"destroy", "web"}).exit == 0);
  CHECK(eventually(10s, [&] {
    return has(follower->out(), "\"to\":\"paused\"")
           && has(follower->out(), "\"to\":\"destroyed\"");
  }));
  auto past = node.caged({"events"});
  CHECK(past.exit == 0);
  CHECK(has(past.out, "running -> paused"));
  CHECK(has(past.out, "everything is freed"));
  CHECK(has(node.caged({"events", "nobody"}).err, "no sandbox"));
  follower->signal(SIGTERM);
  CHECK(follower->wait(5s));
  CHECK(node.clear() == "");
}

TEST_CASE("a forward carries connections to a port of a sandbox") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  REQUIRE(node.caged({"exec", "-d", "web", "--", "sh", "-c",
                      "while :; do echo hello from inside | nc -l -p 8080; "
                      "done"})
              .exit
          == 0);
  auto forward = node.start_caged({"forward", "web", "0:8080"});
  REQUIRE(eventually(10s, [&] { return has(forward->out(), " -> "); }));
  auto line = forward->out();
  auto port =
      line.substr(line.find(':') + 1, line.find(' ') - line.find(':') - 1);
  auto fetch = [&] {
    return run({"socat", "-T", "3", "-", "TCP:127.0.0.1:" + port}, within(10s))
        .out;
  };
  CHECK(eventually(15s, [&] { return fetch() == "hello from inside\n"; }));
  node.kill();
  REQUIRE(node.start());
  CHECK(eventually(15s, [&] { return fetch() == "hello from inside\n"; }));
  forward->signal(SIGINT);
  CHECK(forward->wait(5s));
  CHECK(forward->exit() == 0);
  auto bad = node.caged({"forward", "web", "70000"});
  CHECK(bad.exit == 1);
  CHECK(has(bad.err, "65535"));
  CHECK(node.clear() == "");
}

TEST_CASE("top prints the host's readings") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--name", "web"});
  REQUIRE(
      node.caged({"exec", "-d", "web", "--", "sh", "-c", "while :; do :; done"})
          .exit
      == 0);
  auto once = node.caged({"top", "--once"});
  CHECK(once.exit == 0);
  CHECK(has(once.out, id));
  auto all = json::parse(node.caged({"top", "--once", "--format", "json"}).out,
                         nullptr, false);
  REQUIRE(all.is_array());
  CHECK(all.size() == 1);
  CHECK(node.clear() == "");
}

TEST_CASE("a stopped agent makes its sandbox unhealthy, and heals it") {
  test_node node{{"--heartbeat-interval", "500ms"}};
  REQUIRE(node.start());
  auto id = node.up({"--name", "web"});
  auto other = node.up({"--name", "other"});
  auto init = node.init_of(id);
  REQUIRE(init > 0);
  REQUIRE(::kill(init, SIGSTOP) == 0);
  // Three intervals, noticed at most one second later.
  CHECK(eventually(2500ms, [&] { return node.state("web") == "unhealthy"; }));
  CHECK(node.why_says("web", "no heartbeat"));
  CHECK(node.state("other") == "running");
  REQUIRE(::kill(init, SIGCONT) == 0);
  CHECK(eventually(5s, [&] { return node.state("web") == "running"; }));
  CHECK(node.caged({"exec", "web", "--", "echo", "back"}).out == "back\n");
  REQUIRE(::kill(init, SIGKILL) == 0);
  CHECK(eventually(5s, [&] { return node.state("web") == "failed"; }));
  CHECK(node.why_says("web", "signal 9"));
  // All but the disk layer is freed.
  CHECK(eventually(10s, [&] {
    auto rows = json::parse(
        node.caged({"node", "audit", "--format", "json"}).out, nullptr, false);
    std::size_t ours = 0;
    for (const auto& row : rows.is_object() ? rows["rows"] : rows)
      if (row.value("sandbox", "") == id)
        ours += row.value("kind", "") == "directory" ? 0 : 1;
    return ours == 0;
  }));
  CHECK(node.clear() == "");
}
