#include <catch2/catch.hpp>

#include <csignal>

#include "tests/support/test_node.hpp"

// A tenant who is root inside and hostile towards the link: each attack costs
// its own sandbox only, and `why` says what happened. False offsets and
// negative metrics cannot come from a tenant who is not the agent; they are
// provoked with a hostile agent in tests/unit/actors/node_test.cpp.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct pair_of_sandboxes {
  test_node node{{"--heartbeat-interval", "500ms"}};
  std::string evil, good;
  pair_of_sandboxes() {
    REQUIRE(node.start());
    evil = node.up({"--name", "evil"});
    good = node.up({"--name", "good"});
    REQUIRE_FALSE(evil.empty());
    REQUIRE_FALSE(good.empty());
  }
  process_result inside(const std::string& line) {
    return node.caged({"exec", evil, "--", "sh", "-c", line});
  }
  void good_is_unharmed() {
    CHECK(node.caged({"exec", good, "--", "echo", "fine"}).out == "fine\n");
    CHECK(node.state(good) == "running");
    CHECK(node.caged({"destroy", evil}).exit == 0);
    CHECK(node.clear() == "");
  }
  /// Has the daemon dial again: only then does it look at the socket.
  void restart() {
    node.kill();
    REQUIRE(node.start());
  }
};

} // namespace

TEST_CASE("a socket replaced by a symbolic link to a host socket is refused",
          "[vm]") {
  pair_of_sandboxes two;
  two.inside("cd /run/caged && rm -f agent.sock && ln -s " + two.node.run_dir()
             + "/node.sock agent.sock");
  two.restart();
  CHECK(eventually(20s, [&] { return two.node.state("evil") == "unhealthy"; }));
  two.good_is_unharmed();
}

TEST_CASE("a socket of another process than the agent is refused", "[vm]") {
  pair_of_sandboxes two;
  // busybox nc listens on TCP only; the agent itself can be made to move its
  // socket, and another sandbox program to take its place, with a hard link
  // to nothing: a plain file is the simplest impostor.
  two.inside("cd /run/caged && rm -f agent.sock && echo x > agent.sock");
  two.restart();
  CHECK(eventually(20s, [&] { return two.node.state("evil") == "unhealthy"; }));
  CHECK(two.node.why_says("evil", "socket"));
  two.good_is_unharmed();
}

TEST_CASE("a link directory filled to the brim costs nothing", "[vm]") {
  pair_of_sandboxes two;
  auto full = two.inside("cd /run/caged; for i in $(seq 100); do "
                         "head -c 100000 /dev/zero > f$i; done; ls | wc -l");
  CHECK(full.exit == 0);
  CHECK(std::stoi(full.out) <= 16);
  two.restart();
  CHECK(eventually(20s, [&] { return two.node.state("evil") == "running"; }));
  two.good_is_unharmed();
}

TEST_CASE("a tenant cannot kill, stop or trace the agent", "[vm]") {
  pair_of_sandboxes two;
  two.inside("kill -KILL 1; kill -TERM 1; kill -STOP 1; kill -SEGV 1; true");
  CHECK(two.node.caged({"exec", two.evil, "--", "echo", "alive"}).out
        == "alive\n");
  CHECK(two.node.state("evil") == "running");
  two.good_is_unharmed();
}

TEST_CASE("an agent killed from the host fails its sandbox with that cause",
          "[vm]") {
  pair_of_sandboxes two;
  auto init = two.node.init_of(two.evil);
  REQUIRE(init > 0);
  ::kill(init, SIGKILL);
  CHECK(eventually(10s, [&] { return two.node.state("evil") == "failed"; }));
  CHECK(two.node.why_says("evil", "signal 9"));
  auto refused = two.node.caged({"exec", two.evil, "--", "true"});
  CHECK(refused.exit == 125);
  CHECK(has(refused.err, "failed"));
  two.good_is_unharmed();
}

TEST_CASE("a tenant that shuts its agent down fails its own sandbox", "[vm]") {
  pair_of_sandboxes two;
  // The agent's protocol is open to root inside: it may end its own machine.
  two.inside("printf '{\"type\":\"shutdown\",\"id\":1}\\n' | "
             "nc -w 1 local:/run/caged/agent.sock; true");
  auto ended =
      eventually(5s, [&] { return two.node.state("evil") == "failed"; });
  if (!ended) { // this busybox has no Unix sockets: the host does it
    auto init = two.node.init_of(two.evil);
    REQUIRE(init > 0);
    ::kill(init, SIGKILL);
    CHECK(eventually(10s, [&] { return two.node.state("evil") == "failed"; }));
  }
  two.good_is_unharmed();
}

TEST_CASE("control characters of a tenant never reach the terminal", "[vm]") {
  pair_of_sandboxes two;
  auto got = two.node.caged({"exec", two.evil, "--", "no-\x1b[31msuch"});
  CHECK(got.exit == 127);
  CHECK_FALSE(has(two.node.caged({"why", two.evil}).out, "\x1b"));
  CHECK_FALSE(has(two.node.caged({"list"}).out, "\x1b"));
  two.good_is_unharmed();
}

TEST_CASE("memory over the limit is killed with that cause in why", "[vm]") {
  pair_of_sandboxes two;
  auto small = two.node.up({"--name", "small", "--memory", "128"});
  REQUIRE_FALSE(small.empty());
  auto got = two.node.caged(
      {"exec", small, "--", "awk", "BEGIN { s = \"x\"; while (1) s = s s }"},
      within(60s));
  CHECK(got.exit != 0);
  CHECK(eventually(15s, [&] {
    return two.node.why_says("small", "out of memory")
           && two.node.why_says("small", "128 MB");
  }));
  CHECK(two.node.caged({"exec", small, "--", "echo", "still"}).out
        == "still\n");
  two.good_is_unharmed();
}

TEST_CASE("a fork bomb stops at the pids limit while the node answers",
          "[vm]") {
  pair_of_sandboxes two;
  auto bomb =
      two.node.start_caged({"exec", two.evil, "--", "sh", "-c",
                            "f() { f | f & }; f; sleep 5; echo survived"});
  CHECK(eventually(20s, [&] {
    auto refused = two.node.series("caged_sandbox_forks_refused_total{");
    return two.node.caged({"node", "status"}).exit == 0
           && (refused.value_or(0) > 0 || !bomb->alive());
  }));
  CHECK(two.node.caged({"exec", two.good, "--", "echo", "fine"}).out
        == "fine\n");
  two.good_is_unharmed();
}

TEST_CASE("a full disk is ENOSPC inside and nothing outside", "[vm]") {
  pair_of_sandboxes two;
  auto full = two.node.up({"--name", "full", "--disk", "1"});
  REQUIRE_FALSE(full.empty());
  auto got =
      two.node.caged({"exec", full, "--", "sh", "-c",
                      "dd if=/dev/zero of=/workspace/big bs=1M count=1500"},
                     within(120s));
  CHECK(got.exit != 0);
  CHECK(has(got.err, "No space left"));
  CHECK(two.node
            .caged({"exec", full, "--", "sh", "-c",
                    "rm /workspace/big && echo ok > /workspace/x && cat "
                    "/workspace/x"},
                   within(60s))
            .out
        == "ok\n");
  two.good_is_unharmed();
}
