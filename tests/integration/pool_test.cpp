#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"

// The pool with real sandboxes: what a tenant finds in one, and what is left
// when the daemon dies while it is filled.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Members that are ready, and the size; -1 when the node does not say.
int ready(const test_node& node) {
  auto got = json::parse(node.caged({"node", "status", "--format", "json"}).out,
                         nullptr, false);
  return got.is_object() && !got["pools"].empty()
             ? got["pools"][0].value("ready", -1)
             : -1;
}

std::string output(const test_node& node, const std::string& sandbox,
                   const std::string& script) {
  auto got = node.caged({"exec", sandbox, "--", "sh", "-c", script});
  return got.exit == 0 ? got.out : "exit " + std::to_string(got.exit) + got.err;
}

} // namespace

TEST_CASE("a sandbox from the pool is its tenant's in everything") {
  test_node node{{"--pool", "minimal=2", "--pool-load", "100", "--cpus", "20"}};
  REQUIRE(node.start());
  REQUIRE(eventually(30s, [&] { return ready(node) == 2; }));
  CHECK(has(node.caged({"list"}).out, "cage-") == false);
  auto id = node.up({"--name", "web", "--cpus", "3", "--memory", "700", "-e",
                     "TOKEN=secret", "--label", "a=b"});
  REQUIRE_FALSE(id.empty());
  CHECK(has(node.caged({"why", "web"}).out, "handed out from the pool"));
  CHECK(output(node, "web", "hostname") == "web\n");
  CHECK(output(node, "web", "echo $TOKEN") == "secret\n");
  CHECK(output(node, "web", "cat /proc/sys/kernel/hostname; pwd")
        == "web\n/workspace\n");
  // The host's own reading of the limits.
  CHECK(eventually(30s, [&] {
    return node.series("caged_sandbox_memory_limit_bytes{sandbox=\"" + id)
           == 700.0 * 1024 * 1024;
  }));
  CHECK(node.series("caged_node_pool_requests_total{template=\"minimal\","
                    "result=\"hit\"")
        == 1.0);
  CHECK(node.series("caged_node_cpus_reserved") == 3.0);
  // And that the kernel means it.
  auto hog = node.caged({"exec", "web", "--", "sh", "-c",
                         "x=$(head -c 800000000 /dev/zero | tr '\\0' x)"},
                        within(60s));
  CHECK(hog.exit != 0);
  CHECK(eventually(20s, [&] { return node.why_says("web", "700 MB"); }));
  // The next ones, with the script and the rest of up; a miss is no difference.
  temp_dir files;
  std::ofstream{files.path() + "/init"} << "echo done\n";
  auto scripted =
      node.up({"--name", "scripted", "--init-script", files.path() + "/init"});
  CHECK_FALSE(scripted.empty());
  CHECK(has(node.caged({"logs", "scripted"}).out, "done"));
  std::set<std::string> ids{id, scripted};
  for (int i = 0; i < 4; ++i)
    ids.insert(node.up());
  CHECK(ids.size() == 6);
  CHECK(ids.count("") == 0);
  CHECK(eventually(30s, [&] { return ready(node) == 2; }));
  auto audit = node.caged({"node", "audit"});
  CHECK(audit.exit == 0);
  CHECK_FALSE(has(audit.out, "orphan"));
  CHECK(node.clear() == "");
}

TEST_CASE("a daemon that is killed while its pool fills leaves nothing") {
  test_node node{{"--pool", "minimal=4", "--pool-load", "100"}};
  REQUIRE(node.start());
  auto kept = node.up({"--name", "kept"});
  REQUIRE_FALSE(kept.empty());
  for (int round = 0; round < 5; ++round) {
    // At another moment each time: with so many members made.
    CHECK(eventually(30s, [&] { return ready(node) >= round % 3; }));
    node.kill();
    REQUIRE(node.start());
  }
  CHECK(eventually(30s, [&] { return ready(node) == 4; }));
  CHECK(node.state("kept") == "running");
  CHECK(output(node, "kept", "echo here") == "here\n");
  auto audit = node.caged({"node", "audit"});
  CHECK_FALSE(has(audit.out, "orphan"));
  // Four members and one sandbox, no more.
  std::set<std::string> directories;
  for (const auto& item :
       std::filesystem::directory_iterator{node.data_dir() + "/sandboxes"})
    directories.insert(item.path().filename());
  CHECK(directories.size() == 5);
  // A client's request that dies with the daemon ends well.
  // Messages are counted from 0 in each daemon's life.
  auto client = node.start_caged({"up", "--name", "over"}, within(60s));
  CHECK(eventually(30s, [&] {
    return node.series("caged_node_messages_total{type=\"up\"").has_value();
  }));
  node.kill();
  REQUIRE(node.start());
  CHECK(client->wait(60s));
  INFO(client->err());
  CHECK(client->exit() == 0);
  CHECK(node.state("over") == "running");
  CHECK(node.clear() == "");
}

TEST_CASE("a template that is not there keeps its pool empty, and says so") {
  test_node node{{"--pool", "nonesuch=1,minimal=1", "--pool-load", "100"}};
  REQUIRE(node.start());
  CHECK(eventually(30s, [&] {
    return node.series("caged_node_errors_total{code=\"not_found\"")
        .has_value();
  }));
  CHECK(has(node.caged({"node", "status"}).out, "nonesuch 0 of 1 ready"));
  CHECK_FALSE(node.up().empty());
  CHECK(node.clear() == "");
}
