#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "tests/support/fleet.hpp"

// kill -9 of the daemon under what takes its time: nothing is lost, clients go
// on. Copies of 200 MB are in cp_test.cpp, idle pauses in live_test.cpp.
using namespace caged::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string hash_of(const std::string& path) {
  auto got = run({"sha256sum", path}, within(120s));
  return got.out.substr(0, got.out.find_first_of(" \\"));
}

/// A connection to a port of this host that says something and stays open.
std::unique_ptr<background> connection_to(const std::string& port) {
  return std::make_unique<background>(std::vector<std::string>{
      "bash", "-c",
      "exec socat - TCP:127.0.0.1:" + port + " < <(echo ping; sleep 60)"});
}

} // namespace

TEST_CASE(
    "an init script goes on while the daemon is away, and up ends right") {
  test_node node;
  REQUIRE(node.start());
  temp_dir dir;
  write_file(dir / "init.sh",
             "trap go=1 USR1; " + count_while("[ ! -e /tmp/told ]")
                 + "; while [ -z \"$go\" ]; do sleep 0.05; done"
                 + "\nseq $((i+1)) $((i+1000)); echo last $((i+1000)); exit "
                   "5\n");
  auto up = node.start_caged(
      {"up", "--no-config", "--name", "web", "--init-script", dir / "init.sh"});
  auto log = [&] { return node.caged({"logs", "web"}).out; };
  REQUIRE(eventually(30s, [&] { return has(log(), "\n1000\n"); }));
  auto init = inits(node);
  REQUIRE(init.size() == 1);
  node.kill();
  REQUIRE(node.start());
  CHECK(up->alive());
  // The rest is printed, and it ends, while nobody listens.
  auto shell = find_command(init.begin()->second, ".caged-init");
  REQUIRE(shell > 0);
  // What it still prints then has to fit into the agent.
  REQUIRE(eventually(20s, [&] {
    return node.caged({"exec", "web", "--", "touch", "/tmp/told"}).exit == 0;
  }));
  node.kill();
  REQUIRE(::kill(shell, SIGUSR1) == 0);
  CHECK(eventually(20s, [&] { return !is_alive(shell); }));
  CHECK(up->alive());
  REQUIRE(node.start());
  REQUIRE(up->wait(30s));
  INFO(up->err());
  CHECK(up->exit() == 0); // the sandbox is there; its script ended badly
  CHECK(last_line(up->out()) == init.begin()->first);
  CHECK(has(up->err(), "ended badly"));
  CHECK(node.why_says("web", "exit code 5"));
  auto all = log();
  auto count = last_line(all).substr(5); // "last N"
  CHECK(all
        == numbered(std::strtoull(count.c_str(), nullptr, 10)) + "last " + count
               + "\n");
  CHECK(node.clear() == "");
}

TEST_CASE("up waits over every kill of the daemon, and its script runs once") {
  test_node node;
  REQUIRE(node.start());
  temp_dir dir;
  write_file(dir / "init.sh", "echo ran >> /workspace/runs; sleep 0.3\n");
  std::vector<std::unique_ptr<background>> ups;
  for (int round = 0; round < 10; ++round) {
    CAPTURE(round);
    ups.push_back(
        node.start_caged({"up", "--no-config", "--memory", "128", "--disk", "1",
                          "--init-script", dir / "init.sh"}));
    // Into the moments around its start, one after another.
    auto from = std::chrono::steady_clock::now();
    eventually(2s, [&] {
      return std::chrono::steady_clock::now() - from >= 40ms * round;
    });
    node.kill();
    REQUIRE(node.start());
  }
  for (auto& up : ups) {
    REQUIRE(up->wait(60s));
    INFO(up->err());
    if (up->exit() != 0) { // it never reached a node
      CHECK(up->out().empty());
      CHECK(up->err().rfind("caged: ", 0) == 0);
      continue;
    }
    CHECK(up->err().find("ended badly") == std::string::npos);
    auto id = last_line(up->out());
    CHECK(node.caged({"exec", id, "--", "cat", "/workspace/runs"}).out
          == "ran\n");
  }
  CHECK(node.clear() == "");
}

TEST_CASE("a forward outlives the daemon, its open connections do not") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  // Echoes; a new one for every connection.
  REQUIRE(node.caged({"exec", "-d", "web", "--", "sh", "-c",
                      "while :; do nc -l -p 8080 -e cat; done"})
              .exit
          == 0);
  auto forward = node.start_caged({"forward", "web", "0:8080"});
  REQUIRE(eventually(10s, [&] { return has(forward->out(), " -> "); }));
  auto line = forward->out();
  auto port =
      line.substr(line.find(':') + 1, line.find(' ') - line.find(':') - 1);
  std::unique_ptr<background> open;
  REQUIRE(eventually(20s, [&] {
    if (!open || !open->alive())
      open = connection_to(port);
    return has(open->out(), "ping\n");
  }));
  node.kill();
  // Whoever connects now is told at once; who was connected is cut off.
  auto refused =
      run({"socat", "-u", "TCP:127.0.0.1:" + port, "-"}, within(10s));
  CHECK_FALSE(refused.timed_out);
  CHECK(refused.out.empty());
  CHECK(eventually(10s, [&] { return !open->alive(); }));
  CHECK(forward->alive());
  REQUIRE(node.start());
  CHECK(has(forward->err(), "the node went away, and with it the connection"));
  CHECK(has(forward->err(), "no node answers"));
  std::unique_ptr<background> again;
  CHECK(eventually(20s, [&] {
    if (!again || !again->alive())
      again = connection_to(port);
    return has(again->out(), "ping\n");
  }));
  forward->signal(SIGINT);
  CHECK(forward->wait(5s));
  CHECK(forward->exit() == 0);
  CHECK(node.clear() == "");
}

TEST_CASE("a paused sandbox stays so, and its client waits until it goes on") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  auto client = node.start_caged(
      {"exec", "--no-stdin", "web", "--", "sh", "-c",
       count_while("[ ! -e /tmp/go ]") + "; echo $i >&2; exit 6"});
  REQUIRE(eventually(20s, [&] { return has(client->out(), "\n50000\n"); }));
  REQUIRE(node.caged({"pause", "web"}).exit == 0);
  for (int kill = 0; kill < 2; ++kill) {
    node.kill();
    REQUIRE(node.start());
    CHECK(node.state("web") == "paused");
  }
  auto refused = node.caged({"exec", "web", "--", "true"});
  CHECK(has(refused.err, "caged resume"));
  auto before = client->out().size();
  CHECK(client->alive());
  REQUIRE(node.caged({"resume", "web"}).exit == 0);
  CHECK(eventually(20s, [&] { return client->out().size() > before; }));
  CHECK(node.caged({"exec", "web", "--", "touch", "/tmp/go"}).exit == 0);
  REQUIRE(client->wait(30s));
  INFO(client->err());
  CHECK(client->exit() == 6);
  CHECK(client->out()
        == numbered(
            std::strtoull(last_line(client->err()).c_str(), nullptr, 10)));
  CHECK(node.clear() == "");
}

TEST_CASE("a copy of 1 GB outlives the daemon, both ways", "[.full]") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--timeout", "0"});
  REQUIRE_FALSE(id.empty());
  temp_dir dir;
  constexpr std::uintmax_t size = 1ULL << 30;
  REQUIRE(run({"sh", "-c", "head -c 1G /dev/urandom > " + dir / "blob"},
              within(120s))
              .exit
          == 0);
  auto want = hash_of(dir / "blob");
  auto inside = [&]() -> std::uintmax_t {
    auto got = node.caged({"exec", id, "--", "stat", "-c", "%s", "blob"});
    return got.exit == 0 ? std::stoull(got.out) : 0;
  };
  auto outside = [&]() -> std::uintmax_t {
    std::error_code none;
    for (const auto& item : fs::directory_iterator(dir.path()))
      if (has(item.path().filename().string(), ".caged-cp-")) {
        auto staged = fs::file_size(item.path() / "copy", none);
        return none ? 0 : staged;
      }
    return 0;
  };
  auto copy = [&](const std::string& from, const std::string& to,
                  const std::function<std::uintmax_t()>& arrived) {
    auto job = node.start_caged({"cp", from, to});
    for (std::uintmax_t quarter = 1; quarter < 4; ++quarter) {
      REQUIRE(eventually(240s, [&] {
        return arrived() >= quarter * size / 4 || !job->alive();
      }));
      CHECK(job->alive());
      node.kill();
      REQUIRE(node.start());
    }
    REQUIRE(job->wait(600s));
    INFO(job->err());
    CHECK(job->exit() == 0);
  };
  copy(dir / "blob", id + ":/workspace/blob", inside);
  auto there =
      node.caged({"exec", id, "--", "sha256sum", "blob"}, within(120s));
  CHECK(has(there.out, want));
  copy(id + ":/workspace/blob", dir / "back", outside);
  CHECK(hash_of(dir / "back") == want);
  CHECK(audit_findings(node).empty());
  CHECK(node.clear() == "");
}
