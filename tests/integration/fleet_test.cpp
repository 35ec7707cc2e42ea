#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "tests/support/big_streams.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/hosts.hpp"
#include "tests/support/person.hpp"
#include "tests/support/pty.hpp"

// Several nodes as one fleet: any verb through any node.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// What a verb printed, with what differs from call to call left out.
std::string stable(const process_result& got) {
  auto out = got.out;
  auto parsed = json::parse(out, nullptr, false);
  if (parsed.is_object()) {
    for (const char* moving :
         {"agent", "host", "last_heartbeat_ms", "last_cause"})
      parsed.erase(moving);
    out = parsed.dump();
  }
  return std::to_string(got.exit) + "\n" + out + "\n" + got.err;
}

/// A program at a terminal: what was shown, and its exit code. When this much
/// is shown the window is made larger, and then the keys are typed.
process_result at_terminal(const test_node& node, const std::string& args,
                           const std::string& keys,
                           const std::string& shown = "ready") {
  pty screen;
  screen.resize(30, 100);
  process_options options;
  options.env["CAGED_ENDPOINT"] = node.endpoint();
  background client{{"sh", "-c",
                     "exec " + bin_dir() + "/caged " + args + " < "
                         + screen.path() + " > " + screen.path()},
                    options};
  process_result got;
  eventually(20s, [&] { return !client.alive() || has(screen.out(), shown); });
  screen.resize(50, 120);
  client.signal(SIGWINCH);
  screen.type(keys);
  got.timed_out = !client.wait(20s);
  got.exit = client.exit();
  got.out = screen.out();
  got.err = client.err();
  return got;
}

/// Sent through a forward to a port of the sandbox that sends it back.
std::string there_and_back(const test_node& node, const std::string& sandbox,
                           const std::string& bytes) {
  const auto forward = node.start_caged({"forward", sandbox, "0:8080"});
  eventually(20s,
             [&] { return !forward->alive() || has(forward->out(), " -> "); });
  const auto line = forward->out();
  const auto colon = line.find(':');
  if (colon == std::string::npos)
    return forward->err();
  const auto port = line.substr(colon + 1, line.find(' ') - colon - 1);
  std::string out;
  // The port inside is closed for moments between two connections.
  eventually(20s, [&] {
    out = run({"socat", "-t", "20", "-", "TCP:127.0.0.1:" + port},
              with_input(bytes))
              .out;
    return !out.empty();
  });
  forward->signal(SIGINT);
  CHECK(forward->wait(10s));
  CHECK(forward->exit() == 0);
  return out;
}

} // namespace

TEST_CASE("every verb says the same through a node that does not have the "
          "sandbox") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{2};
  const auto id = f.make_on(1, 0, "web");
  REQUIRE_FALSE(id.empty());
  CHECK(json::parse(f[0].caged({"get", id, "--format", "json"}).out, nullptr,
                    false)
            .dump()
            .find("\"n2\"")
        != std::string::npos);
  temp_dir dir;
  write_file(dir / "file", "from outside\n");
  REQUIRE(f[0].caged({"exec", "-d", "web", "--", "sh", "-c",
                      "while :; do nc -l -p 8080 -e cat; done"})
              .exit
          == 0);
  std::map<std::string, std::string> by_owner;
  for (const std::size_t through : {1U, 0U}) {
    const auto& node = f[through];
    const auto same = [&](const std::string& what, const process_result& got) {
      INFO(what << " through n" << through + 1 << ": " << got.err);
      if (through == 1)
        by_owner[what] = stable(got);
      else
        CHECK(stable(got) == by_owner[what]);
      return got;
    };
    CHECK(same("list", node.caged({"list", "-q"})).out == id + "\n");
    same("get", node.caged({"get", "web", "--format", "json"}));
    CHECK(same("exec", node.caged({"exec", "web", "--", "sh", "-c",
                                   "echo out; echo err >&2; exit 7"}))
              .exit
          == 7);
    CHECK(
        same("signal", node.caged({"exec", id, "--", "sh", "-c", "kill -9 $$"}))
            .exit
        == 137);
    CHECK(same("stdin", node.caged({"exec", "web", "--", "wc", "-c"},
                                   with_input(std::string(200'000, 'x'))))
              .out
          == "200000\n");
    same("missing command", node.caged({"exec", "web", "--", "/no/such"}));
    CHECK(same("cp in", node.caged({"cp", "-q", dir / "file", "web:/tmp/file"}))
              .exit
          == 0);
    CHECK(same("cat", node.caged({"files", "cat", "web", "/tmp/file"})).out
          == "from outside\n");
    CHECK(same("cp out", node.caged({"cp", "-q", "web:/tmp/file", "-"})).out
          == "from outside\n");
    same("ls", node.caged({"files", "ls", "web", "/etc"}));
    same("logs", node.caged({"logs", "web"}));
    CHECK(same("pause", node.caged({"pause", "web"})).exit == 0);
    same("exec paused", node.caged({"exec", "web", "--", "true"}));
    CHECK(same("resume", node.caged({"resume", "web"})).exit == 0);
    same("no such", node.caged({"get", "nobody"}));
    same("kill", node.caged({"kill", "web", "0000"}));
    CHECK(node.caged({"ps", "web"}).exit == 0);
    const auto started = node.caged(
        {"exec", "--detach", "web", "--", "sh", "-c", "seq 1 1000; exit 3"});
    INFO(started.err);
    CHECK(started.exit == 0);
    const auto attached =
        node.caged({"attach", "--no-stdin", "web", last_line(started.out)});
    CHECK(attached.exit == 3);
    CHECK(attached.out == numbered(1000));
    // Terminals: sizes, bytes that a line discipline would have changed, exit.
    const std::string keys = "\001\003\004\r\n\033\177 " + numbered(300);
    const auto raw = same(
        "terminal",
        at_terminal(node,
                    "exec -t web -- sh -c 'stty raw -echo; stty size; echo "
                    "ready; until [ \"$(stty size)\" = \"50 120\" ]; do sleep "
                    "0.05; done; head -c "
                        + std::to_string(keys.size()) + " | sha256sum; exit 9'",
                    keys));
    CHECK(raw.exit == 9);
    CHECK(has(raw.out, "30 100"));
    CHECK(has(raw.out, run({"sha256sum"}, with_input(keys)).out));
    const auto shell =
        at_terminal(node, "connect web",
                    "until [ \"$(stty size)\" = \"50 120\" ]; do sleep 0.05; "
                    "done; test -t 0 && exit 5\n",
                    "# ");
    CHECK(shell.exit == 5);
    CHECK(same("connect to none", at_terminal(node, "connect nobody", "")).exit
          == 125);
    // One that is left to itself, and taken up through the other node.
    const auto alone = last_line(
        node.caged({"exec", "-d", "-t", "web", "--", "sh", "-c",
                    "stty -echo; echo ready; read a; echo got $a; exit 6"})
            .out);
    const auto left = at_terminal(node, "attach web " + alone, "\020\021");
    INFO(left.err);
    CHECK(left.exit == 0);
    const auto taken =
        at_terminal(f[1 - through], "attach web " + alone, "keys\n");
    INFO(taken.err);
    CHECK(taken.exit == 6);
    CHECK(has(taken.out, "got keys"));

    const auto bytes = numbered(200'000); // 1.3 MB
    CHECK(there_and_back(node, "web", bytes) == bytes);
    const auto why = node.caged({"why", "web"});
    CHECK(why.exit == 0);
    CHECK(has(why.out, "paused"));
    CHECK(has(node.caged({"events"}).out, id));
    CHECK(has(node.caged({"top", "--once"}).out, "web"));
  }
  // Destroyed through the other node, twice; its history, too.
  CHECK(f[0].caged({"destroy", "web"}).exit == 0);
  const auto again = f[0].caged({"destroy", "web"});
  INFO(again.err);
  CHECK(again.exit == 0);
  CHECK(has(f[0].caged({"why", id}).out, "destroyed"));
  CHECK(has(f[0].caged({"why", "web"}).out, "destroyed"));
  CHECK(f.clear() == "");
}

TEST_CASE("300 MB each way through a node in the middle, with flat memory") {
  if (!etcd_cluster::can_run() || !memory_counts())
    return;
  hosts f{2};
  const auto id = f.make_on(1, 0);
  REQUIRE_FALSE(id.empty());
  check_big_streams(f[0], f[1], id);
  CHECK(f.clear() == "");
}

TEST_CASE("a node that is silent is lost within 5 s, and comes back whole") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{2};
  const auto mine = f.make_on(0, 0, "mine");
  const auto theirs = f.make_on(1, 0, "theirs");
  REQUIRE_FALSE(mine.empty());
  REQUIRE_FALSE(theirs.empty());
  const auto before = inits(f[1]);
  for (const bool stopped : {true, false}) {
    CAPTURE(stopped);
    const auto begin = std::chrono::steady_clock::now();
    if (stopped)
      ::kill(f[1].pid(), SIGSTOP);
    else
      f[1].kill();
    REQUIRE(eventually(patient(5s),
                       [&] { return f[0].state("theirs") == "lost"; }));
    CHECK(std::chrono::steady_clock::now() - begin < patient(5s));
    // At once, with the cause; others are unharmed.
    for (const auto& verb : std::vector<std::vector<std::string>>{
             {"exec", "theirs", "--", "true"},
             {"pause", "theirs"},
             {"destroy", theirs},
             {"ps", "theirs"},
             {"cp", "-q", "theirs:/etc/hosts", "-"}}) {
      const auto asked = std::chrono::steady_clock::now();
      const auto got = f[0].caged(verb);
      INFO(verb.front() << ": " << got.err);
      CHECK(std::chrono::steady_clock::now() - asked < patient(1s));
      CHECK(got.exit != 0);
      CHECK(has(got.err, "n2"));
      CHECK(has(got.err, "silent"));
    }
    CHECK(has(f[0].caged({"list"}).out, "lost"));
    CHECK(has(f[0].caged({"why", "theirs"}).out, "n2 is silent"));
    CHECK(f[0].caged({"exec", "mine", "--", "echo", "here"}).out == "here\n");
    if (stopped)
      ::kill(f[1].pid(), SIGCONT);
    else
      REQUIRE(f[1].start());
    REQUIRE(eventually(20s, [&] { return f[0].state("theirs") == "running"; }));
    CHECK(eventually(20s, [&] {
      return f[0].caged({"exec", "theirs", "--", "echo", "again"}).out
             == "again\n";
    }));
  }
  CHECK(inits(f[1]) == before);
  for (auto& each : f.nodes)
    CHECK(audit_findings(*each).empty());
  CHECK(f.clear() == "");
}

TEST_CASE("the node in the middle is killed, and its clients go on through "
          "another") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{3};
  const auto id = f.make_on(2, 0, "web");
  REQUIRE_FALSE(id.empty());
  person admin{f[0], "root", "admin"};
  const auto first = admin.endpoint, first_key = admin.server_key;
  // Until every node knows the key.
  admin.go_to(f[1]);
  REQUIRE(eventually(20s, [&] { return admin.caged({"list"}).exit == 0; }));
  admin.endpoint = first + "," + admin.endpoint;
  admin.server_key = first_key + "," + admin.server_key;

  auto printed = admin.start_caged({"exec", "--no-stdin", "web", "--", "sh",
                                    "-c", count_while("[ ! -e /tmp/end ]")});
  REQUIRE(eventually(20s, [&] { return printed->out().size() > 500'000; }));
  temp_dir dir;
  const auto blob = dir / "blob";
  REQUIRE(run({"sh", "-c", "head -c 300M /dev/urandom > " + blob}, within(120s))
              .exit
          == 0);
  const auto want = run({"sha256sum", blob}, within(60s)).out.substr(0, 64);
  auto sent = admin.start_caged({"cp", "-q", blob, "web:/tmp/blob"});
  REQUIRE(eventually(60s, [&] {
    const auto size = f[2].caged(
        {"exec", "web", "--", "sh", "-c", "cat /tmp/*blob* | wc -c"});
    return size.exit == 0 && std::atol(size.out.c_str()) > 30'000'000;
  }));
  f[0].kill();
  const auto had = printed->out().size();
  CHECK(eventually(30s, [&] { return printed->out().size() > had + 500'000; }));
  REQUIRE(sent->wait(240s));
  INFO(sent->err());
  CHECK(sent->exit() == 0);
  CHECK(f[2].caged({"exec", "web", "--", "sha256sum", "/tmp/blob"}, within(60s))
            .out.substr(0, 64)
        == want);
  CHECK(f[2].caged({"exec", "web", "--", "touch", "/tmp/end"}).exit == 0);
  REQUIRE(printed->wait(60s));
  INFO(printed->err());
  CHECK(printed->exit() == 0);
  const auto out = printed->out();
  CHECK(out == numbered(std::strtoull(last_line(out).c_str(), nullptr, 10)));
  REQUIRE(f[0].start());
  CHECK(f.clear() == "");
}
