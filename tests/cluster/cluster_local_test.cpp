#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "tests/support/cluster.hpp"

// ops/cluster-local itself: what it makes, breaks, mends and takes away.
using namespace caged;
using namespace caged::test;
using nlohmann::json;
using steady = std::chrono::steady_clock;
using names = std::vector<std::string>;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::chrono::milliseconds since(steady::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(steady::now()
                                                               - start);
}

/// The line of `status` that begins with this name.
std::string line_of(const std::string& status, const std::string& name) {
  const auto at = ("\n" + status).find("\n" + name + " ");
  return at == std::string::npos
             ? ""
             : status.substr(at, status.find('\n', at) - at);
}

} // namespace

TEST_CASE("cluster-local makes three nodes and an etcd of three in under 20 s, "
          "and leaves nothing",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  const auto begin = steady::now();
  REQUIRE(fleet.up());
  const auto took = since(begin);
  CHECK(took < patient(20s));
  std::cout << "up: " << took.count() << " ms\n";

  // In namespaces of their own, each on its address; alive in etcd.
  std::error_code none;
  std::set<std::string> spaces = {
      std::filesystem::read_symlink("/proc/self/ns/net", none).string()};
  for (const auto* name : {"n1", "n2", "n3", "m1", "m2", "m3"})
    spaces.insert(
        std::filesystem::read_symlink(
            "/proc/" + std::to_string(fleet.pid(name)) + "/ns/net", none)
            .string());
  CHECK(spaces.size() == 7);
  auto store = fleet.open_store();
  CHECK(fleet.live(*store) == names{"n1", "n2", "n3"});
  std::set<std::string> keys;
  for (unsigned i = 1; i <= 3; ++i) {
    const auto name = "n" + std::to_string(i);
    const auto got = store->get("nodes/" + fleet.node_id(i) + "/info");
    REQUIRE(got);
    REQUIRE(*got);
    const auto node = json::parse((*got)->value);
    CHECK(node["name"] == name);
    CHECK(node["address"] == "tcp://" + fleet.address(name) + ":7400");
    CHECK(node["labels"]["zone"]
          == std::string(1, static_cast<char>('a' + i - 1)));
    keys.insert(node["public_key"].get<std::string>());
    // From the host, with the key that `up` made.
    const auto status =
        fleet.node(i).caged({"node", "status", "--format", "json"});
    INFO(status.err);
    REQUIRE(status.exit == 0);
    CHECK(json::parse(status.out)["node"] == name);
    const auto scraped =
        test::run({"curl", "-sS", "--noproxy", "*",
                   "http://" + fleet.address(name) + ":9464/metrics"});
    CHECK(has(scraped.out, "caged_node_"));
    const auto web = test::run(
        {"curl", "-sS", "--noproxy", "*", "--cacert",
         fleet.dir() + "/tls/ca.pem", "-o", "/dev/null", "-w", "%{http_code}",
         "https://" + fleet.address(name) + ":7480/v1/mcp"});
    CHECK(web.out == "401");
  }
  CHECK(keys.size() == 3);
  CHECK(fleet.any().caged({"list"}).exit == 0);

  // A second up changes nothing; status sees everybody.
  const auto before = fleet.pid("n2");
  CHECK(fleet.up());
  CHECK(fleet.pid("n2") == before);
  const auto status = fleet.run({"status"});
  CHECK(status.exit == 0);
  for (const auto* name : {"n1", "n2", "n3", "m1", "m2", "m3"}) {
    const auto line = line_of(status.out, name);
    INFO(status.out);
    CHECK(has(line, std::to_string(fleet.pid(name))));
    CHECK(has(line, fleet.address(name)));
    CHECK(has(line, "yes    yes      up"));
  }
  // No password is in anybody's command line or log.
  for (const auto* file : {"etcd-password", "etcd-root-password"}) {
    auto secret = read_file(fleet.dir() + "/" + file);
    REQUIRE(secret.size() > 40);
    secret.pop_back();
    for (const auto* name : {"n1", "n2", "n3", "m1", "m2", "m3"}) {
      CHECK_FALSE(has(fleet.log(name), secret));
      CHECK_FALSE(has(
          read_file("/proc/" + std::to_string(fleet.pid(name)) + "/cmdline"),
          secret));
    }
  }

  // Down with a sandbox on a node that works, on one that is dead, and on one
  // that stands still.
  for (unsigned i = 1; i <= 3; ++i)
    REQUIRE_FALSE(
        fleet.node(1)
            .up({"--memory", "128", "--node", "n" + std::to_string(i)})
            .empty());
  CHECK(fleet.does({"kill", "n2"}));
  ::kill(fleet.pid("n3"), SIGSTOP);
  const auto done = fleet.down();
  INFO(done.err);
  CHECK(done.exit == 0);
  CHECK(fleet.leftovers() == "");
  CHECK(fleet.down().exit == 0);
  CHECK(fleet.run({"status"}).exit == 3);
}

TEST_CASE("one owner's name is one sandbox's on all nodes of a cluster",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet{2};
  REQUIRE(fleet.up());
  const auto id = fleet.node(1).up({"--name", "web"});
  REQUIRE_FALSE(id.empty());
  const auto refused =
      fleet.node(2).caged({"up", "--no-config", "--name", "web"});
  INFO(refused.err);
  CHECK(refused.exit == 1);
  CHECK(has(refused.err, "the name \"web\" is in use by " + id));
  // At the same time: one of them has it.
  std::vector<std::unique_ptr<background>> both;
  for (unsigned i = 1; i <= 2; ++i)
    both.push_back(fleet.node(i).start_caged(
        {"up", "--no-config", "--name", "db", "--memory", "128"}));
  int won = 0;
  for (auto& one : both) {
    REQUIRE(one->wait(60s));
    if (one->exit() == 0)
      ++won;
    else
      CHECK(has(one->err(), "the name \"db\" is in use by"));
  }
  CHECK(won == 1);
  // Another owner's is another name.
  CHECK(fleet.local(2, {"up", "--no-config", "--name", "web"}).exit == 0);
}

TEST_CASE("a node whose link is cut is no longer live within 5 s, and comes "
          "back when it is healed",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  REQUIRE(fleet.up());
  auto store = fleet.open_store();
  const auto id = fleet.node(2).up({"--memory", "128", "--node", "n2"});
  REQUIRE_FALSE(id.empty());
  REQUIRE(fleet.live(*store) == names{"n1", "n2", "n3"});

  // Its clients hear nothing: no refusal, no reset.
  auto open = fleet.node(2).start_caged({"exec", id, "--", "sleep", "600"});
  REQUIRE(eventually(20s, [&] {
    return has(fleet.local(2, {"ps", id}).out, "attached");
  }));
  REQUIRE(fleet.does({"cut", "n2"}));
  auto begin = steady::now();
  CHECK(eventually(5s, [&] {
    return fleet.live(*store) == names{"n1", "n3"};
  }));
  std::cout << "cut: no longer live after " << since(begin).count() << " ms\n";
  CHECK(open->alive());
  CHECK(has(line_of(fleet.run({"status"}).out, "n2"), "cut"));
  begin = steady::now();
  CHECK(fleet.node(2).caged({"list"}).exit != 0);
  CHECK(since(begin) < patient(10s));
  // It works on, alone; the others have noticed nothing.
  CHECK(fleet.local(2, {"exec", id, "--", "true"}).exit == 0);
  for (unsigned i : {1, 3})
    CHECK(fleet.node(i).caged({"list"}).exit == 0);
  for (const auto* name : {"m1", "m2", "m3"})
    CHECK(has(line_of(fleet.run({"status"}).out, name), "yes    yes      up"));

  REQUIRE(fleet.does({"heal", "n2"}));
  begin = steady::now();
  CHECK(eventually(10s, [&] {
    return fleet.live(*store) == names{"n1", "n2", "n3"};
  }));
  std::cout << "healed: live after " << since(begin).count() << " ms\n";
  CHECK(fleet.node(2).state(id) == "running");
}

TEST_CASE("two that are cut from each other are there for all others",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet{2};
  REQUIRE(fleet.up());
  // curl has the exit code 28 after a time without an answer, 7 for a refusal.
  const auto reaches = [&](const std::string& from, const std::string& to) {
    return test::run({"nsenter", "--net=" + fleet.dir() + "/" + from + "/net",
                      "curl", "-sS", "--noproxy", "*", "-o", "/dev/null",
                      "--max-time", "2",
                      "http://" + fleet.address(to) + ":9464/metrics"})
        .exit;
  };
  CHECK(reaches("n1", "n2") == 0);
  REQUIRE(fleet.does({"cut", "n1", "n2"}));
  CHECK(reaches("n1", "n2") == 28);
  CHECK(reaches("n2", "n1") == 28);
  CHECK(reaches("m1", "n1") == 0);
  CHECK(reaches("m1", "n2") == 0);
  CHECK(fleet.node(1).caged({"list"}).exit == 0);
  CHECK(has(line_of(fleet.run({"status"}).out, "n1"), "cut from n2"));
  REQUIRE(fleet.does({"cut", "n1", "host"}));
  CHECK(fleet.node(1).caged({"list"}).exit != 0);
  CHECK(fleet.node(2).caged({"list"}).exit == 0);
  REQUIRE(fleet.does({"heal", "n1", "n2"}));
  CHECK(reaches("n2", "n1") == 0);
  CHECK(fleet.node(1).caged({"list"}).exit != 0);
  REQUIRE(fleet.does({"heal", "n1"}));
  CHECK(fleet.node(1).caged({"list"}).exit == 0);
  CHECK(fleet.run({"status"}).exit == 0);
}

TEST_CASE("daemons and members of a cluster are killed and started one by one",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  REQUIRE(fleet.up());
  const auto id =
      fleet.node(1).up({"--name", "web", "--memory", "128", "--node", "n1"});
  REQUIRE_FALSE(id.empty());
  const auto other = fleet.pid("n2");
  REQUIRE(fleet.does({"kill", "n1"}));
  CHECK_FALSE(is_alive(fleet.pid("n1")));
  CHECK(fleet.does({"kill", "n1"}));
  CHECK(fleet.run({"status"}).exit == 3);
  REQUIRE(fleet.does({"start", "n1"}));
  CHECK(fleet.node(1).state("web") == "running");
  CHECK(fleet.pid("n2") == other);

  // One member less is nothing; two are the store's end until one is back.
  auto store = fleet.open_store();
  REQUIRE(fleet.does({"etcd-kill", "m1"}));
  CHECK(eventually(10s, [&] {
    return fleet.node(2).caged({"up", "--no-config"}).exit == 0;
  }));
  REQUIRE(fleet.does({"etcd-kill", "m2"}));
  const auto refused = fleet.node(3).caged({"up", "--no-config"});
  CHECK(refused.exit == 1);
  CHECK(has(refused.err, "etcd is away"));
  CHECK(fleet.node(1).caged({"exec", "web", "--", "true"}).exit == 0);
  REQUIRE(fleet.does({"etcd-start", "m2"}));
  CHECK(eventually(30s, [&] { return fleet.live(*store).size() == 3; }));
  CHECK(eventually(10s, [&] {
    return fleet.node(3).caged({"up", "--no-config"}).exit == 0;
  }));

  // up mends whatever is broken.
  REQUIRE(fleet.does({"kill", "n3"}));
  REQUIRE(fleet.does({"cut", "n2"}));
  REQUIRE(fleet.up());
  CHECK(fleet.run({"status"}).exit == 0);
  CHECK(fleet.live(*store).size() == 3);
}

TEST_CASE("cluster-local refuses what it cannot do in one sentence",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  const test_cluster none;
  struct bad {
    names args;
    int exit;
    const char* says;
  };
  for (const auto& each : std::vector<bad>{
           {{}, 2, "--help"},
           {{"sideways"}, 2, "unknown verb sideways"},
           {{"up", "--nodes", "17"}, 2, "1 to 16"},
           {{"up", "--nodes"}, 2, "wants a value"},
           {{"up", "--dir", "/a b"}, 2, "letters, digits"},
           {{"up", "--dir", "/" + std::string(90, 'x')}, 2, "at most 80"},
           {{"up", "--dir", test_cluster::root() + "/docs"}, 1, "else"},
           {{"up", "--bin", "/nowhere"}, 1, "ops/build release"},
           {{"down", "--nodes", "2"}, 2, "for up"},
           {{"env"}, 1, "there is no cluster in"},
           {{"cut"}, 2, "wants a name"},
           {{"cut", "n1"}, 1, "ops/cluster-local up"},
           {{"kill", "n1", "n2"}, 2, "does not take n2"},
       }) {
    const auto got = none.run(each.args);
    INFO(each.says << " in " << got.err);
    CHECK(got.exit == each.exit);
    CHECK(has(got.err, each.says));
    CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
  }
  CHECK(has(none.run({"--help"}).out, "etcd-kill"));
  CHECK(none.run({"down"}).exit == 0);
  CHECK_FALSE(std::filesystem::exists(none.dir()));
}
