#include <catch2/catch.hpp>

#include <filesystem>
#include <memory>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"

// One host, end to end: what README's tour shows, and how commands end.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("up, exec, list, get, why and destroy work end to end", "[vm]") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--name", "web", "--label", "team=blue"});
  REQUIRE_FALSE(id.empty());
  CHECK(node.state("web") == "running");

  auto hello = node.caged({"exec", "web", "--", "echo", "hello"});
  CHECK(hello.exit == 0);
  CHECK(hello.out == "hello\n");

  auto list = node.caged({"list"});
  CHECK(has(list.out, id));
  CHECK(has(list.out, "web"));
  CHECK(has(node.caged({"ls", "-q"}).out, id));
  CHECK(has(node.caged({"ls", "--label", "team=blue", "-q"}).out, id));
  CHECK_FALSE(has(node.caged({"ls", "--label", "team=red", "-q"}).out, id));

  auto get = json::parse(node.caged({"get", "web", "--format", "json"}).out);
  CHECK(get["id"] == id);
  CHECK(node.why_says(id, "its agent said hello"));

  CHECK(node.caged({"destroy", "web"}).exit == 0);
  CHECK(node.why_says(id, "everything is freed"));
  CHECK(node.clear() == "");
}

TEST_CASE("exit codes, signals and streams of a command arrive unchanged",
          "[vm]") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  auto sh = [&](const std::string& line) {
    return node.caged({"exec", id, "--", "sh", "-c", line});
  };
  CHECK(sh("exit 7").exit == 7);
  CHECK(sh("kill -TERM $$").exit == 128 + 15);
  CHECK(sh("kill -KILL $$").exit == 128 + 9);
  CHECK(node.caged({"exec", id, "--", "no-such-program"}).exit == 127);
  CHECK(node.caged({"exec", id, "--", "/etc/passwd"}).exit == 126);
  auto both = sh("echo out; echo err >&2");
  CHECK(both.out == "out\n");
  CHECK(both.err == "err\n");
  auto in = node.caged({"exec", id, "--", "wc", "-c"}, with_input("12345"));
  CHECK(std::stoi(in.out) == 5);
  auto empty = node.caged({"exec", id, "--", "cat"});
  CHECK(empty.exit == 0);
  CHECK(empty.out.empty());
  auto env = node.caged({"exec", "-e", "A=b c", "-w", "/tmp", id, "--", "sh",
                         "-c", "echo $A; pwd"});
  CHECK(env.out == "b c\n/tmp\n");
  auto late = node.caged({"exec", "--timeout", "1s", id, "--", "sleep", "60"});
  CHECK(late.exit != 0);
  CHECK(late.exit != -1);
}

TEST_CASE("up with a command runs it and ends with its exit code", "[vm]") {
  test_node node;
  REQUIRE(node.start());
  auto got = node.caged({"up", "--name", "job", "-e", "WHO=world", "--", "sh",
                         "-c", "echo hello $WHO; exit 5"});
  CHECK(got.exit == 5);
  CHECK(has(got.out, "hello world\n"));
}

TEST_CASE("the init script runs before up returns and its output is kept",
          "[vm]") {
  test_node node;
  REQUIRE(node.start());
  temp_dir dir;
  write_file(dir / "init.sh",
             "echo from init; echo and stderr >&2; touch /workspace/made\n");
  auto id = node.up({"--init-script", dir / "init.sh"});
  REQUIRE_FALSE(id.empty());
  CHECK(node.caged({"exec", id, "--", "ls", "/workspace"}).out == "made\n");
  auto logs = node.caged({"logs", id}).out;
  CHECK(has(logs, "from init\n"));
  CHECK(has(logs, "and stderr\n"));
}

TEST_CASE("the daemon stops and starts again under its sandboxes", "[vm]") {
  test_node node{{"--cpus", "40", "--disk-gb", "100"}};
  REQUIRE(node.start());
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(node.up({"--cpus", "1", "--memory", "128", "--disk", "1"}));
    REQUIRE_FALSE(ids.back().empty());
  }
  CHECK(node.caged({"exec", ids[0], "--", "sh", "-c",
                    "echo kept > /workspace/file"})
            .exit
        == 0);
  auto init = node.init_of(ids[0]);
  REQUIRE(init > 0);
  CHECK(node.stop() == 0);
  CHECK(is_alive(init));
  REQUIRE(node.start());
  for (const auto& id : ids)
    CHECK(eventually(10s, [&] {
      return node.caged({"exec", id, "--", "true"}).exit == 0;
    }));
  CHECK(node.caged({"exec", ids[0], "--", "cat", "/workspace/file"}).out
        == "kept\n");
  CHECK(node.init_of(ids[0]) == init);
  CHECK(node.clear() == "");
}

TEST_CASE("a killed daemon loses no sandbox and no running command", "[vm]") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  auto job = node.start_caged(
      {"exec", id, "--", "sh", "-c",
       "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); "
       "[ $((i % 200)) -eq 0 ] && sleep 0.1; done; exit 9"});
  CHECK(eventually(10s, [&] { return has(job->out(), "line 300\n"); }));
  node.kill();
  REQUIRE(node.start());
  CHECK(job->wait(60s));
  CHECK(job->exit() == 9);
  std::string expected;
  for (int i = 0; i < 2000; ++i)
    expected += "line " + std::to_string(i) + "\n";
  CHECK(job->out() == expected);
}

TEST_CASE("from the host no process of a sandbox is root", "[vm]") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--init-script", "/dev/null"});
  REQUIRE_FALSE(id.empty());
  // As root, as others, with a terminal, orphaned to PID 1.
  std::vector<std::unique_ptr<background>> jobs;
  auto job = [&](std::vector<std::string> args) {
    args.insert(args.begin(), "exec");
    args.insert(args.end(), {id, "--", "sh", "-c", "echo ready; sleep 1000"});
    jobs.push_back(node.start_caged(args));
  };
  job({});
  job({"-u", "nobody"});
  job({"-u", "1234:1234"});
  REQUIRE(
      node.caged({"exec", "-d", "-t", id, "--", "sh", "-c", "sleep 1000"}).exit
      == 0);
  REQUIRE(node.caged({"exec", id, "--", "sh", "-c",
                      "(sleep 1000 >/dev/null 2>&1 </dev/null &)"})
              .exit
          == 0);
  for (auto& each : jobs)
    REQUIRE(eventually(
        15s, [&] { return each->out().find("ready") != std::string::npos; }));
  auto pids = node.processes_of(id);
  CHECK(pids.size() >= 6); // the agent, four commands, and the orphan
  std::error_code none;
  auto our_users = std::filesystem::read_symlink("/proc/self/ns/user", none);
  for (auto pid : pids) {
    auto folder = "/proc/" + std::to_string(pid);
    auto status = read_file(folder + "/status");
    INFO(status);
    for (const char* name : {"Uid:", "Gid:", "Groups:"}) {
      auto at = status.find(std::string{"\n"} + name);
      REQUIRE(at != std::string::npos);
      at += 1 + std::string{name}.size();
      std::istringstream ids{status.substr(at, status.find('\n', at) - at)};
      for (std::uint64_t value = 0; ids >> value;)
        CHECK(value >= 65536); // not the host's, nor those of other users
    }
    CHECK(std::filesystem::read_symlink(folder + "/ns/user", none)
          != our_users);
    CHECK(status.find("\nNoNewPrivs:\t1") != std::string::npos);
    CHECK(status.find("\nSeccomp:\t2") != std::string::npos);
  }
}

TEST_CASE("50 sandboxes at once and 200 in all answer and are freed") {
  test_node node{
      {"--cpus", "400", "--memory-mb", "100000", "--disk-gb", "1000"}};
  REQUIRE(node.start());
  std::vector<std::string> ids;
  for (int batch = 0; batch < 4; ++batch) {
    std::vector<std::unique_ptr<background>> ups;
    for (int i = 0; i < 50; ++i)
      ups.push_back(node.start_caged({"up", "--format", "json", "--cpus", "1",
                                      "--memory", "128", "--disk", "1"}));
    for (auto& up : ups) {
      REQUIRE(up->wait(120s));
      INFO(up->err());
      REQUIRE(up->exit() == 0);
      ids.push_back(json::parse(up->out())["id"]);
    }
  }
  REQUIRE(ids.size() == 200);
  for (const auto& id : ids)
    CHECK(node.caged({"exec", id, "--", "echo", id}).out == id + "\n");
  auto destroyed = node.caged({"destroy", "--all", "--force"}, within(180s));
  CHECK(destroyed.exit == 0);
  CHECK(node.caged({"list", "-q"}).out.empty());
  CHECK(node.clear() == "");
}
