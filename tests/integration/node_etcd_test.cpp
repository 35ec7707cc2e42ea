#include <catch2/catch.hpp>

#include <filesystem>

#include <csignal>

#include <nlohmann/json.hpp>

#include "messages/text.hpp"
#include "tests/support/etcd.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/gateway_client.hpp"

// caged-node with an etcd as its store.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

std::string url(const etcd_cluster& etcd, unsigned members = 1) {
  std::string out = "etcd://";
  for (unsigned i = 0; i < members; ++i)
    out += (i == 0 ? "" : ",") + etcd.endpoint(i).text();
  return out + "/fleet";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Keys under a prefix, as etcd itself tells them.
std::vector<std::string> keys(etcd_cluster& etcd, const std::string& prefix) {
  auto end = prefix;
  ++end.back();
  const auto got = etcd.call("/v3/kv/range", {{"key", base64_encode(prefix)},
                                              {"range_end", base64_encode(end)},
                                              {"keys_only", true}});
  std::vector<std::string> out;
  if (got.is_object() && got.contains("kvs"))
    for (const auto& each : got["kvs"])
      out.push_back(base64_decode(each["key"].get<std::string>()).value());
  return out;
}

} // namespace

TEST_CASE("a node on etcd keeps there what exists, and goes on without it") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  test_node node{{"--store", url(etcd)}};
  REQUIRE(node.start());
  const auto id = node.up({"--name", "web"});
  REQUIRE_FALSE(id.empty());
  CHECK(keys(etcd, "/fleet/data/placements/").size() == 1);
  CHECK(keys(etcd, "/fleet/data/names/").size() == 1);
  CHECK(eventually(10s, [&] {
    return keys(etcd, "/fleet/data/nodes/").size() == 4; // reserved, too
  }));
  CHECK(has(node.caged({"node", "status"}).out, "etcd"));

  // A command and its output go on while etcd is away, for a second client too.
  auto count = node.start_caged({"exec", "web", "--", "sh", "-c",
                                 "i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); "
                                 "echo $i; sleep 0.01; done"});
  REQUIRE(eventually(20s, [&] { return has(count->out(), "\n5\n"); }));
  etcd.kill(0);
  REQUIRE(eventually(20s, [&] {
    return has(node.caged({"node", "status"}).out, "away");
  }));
  CHECK(eventually(5s,
                   [&] { return node.series("caged_node_store_up") == 0.0; }));
  const auto before = count->out().size();
  CHECK(eventually(20s, [&] { return count->out().size() > before + 200; }));
  CHECK(node.caged({"exec", "web", "--", "echo", "still here"}).out
        == "still here\n");
  CHECK(node.caged({"list"}).exit == 0);
  // What has to be written is refused at once, and says why.
  const auto begin = std::chrono::steady_clock::now();
  auto refused = node.caged({"up", "--no-config"});
  CHECK(std::chrono::steady_clock::now() - begin < patient(3s));
  CHECK(refused.exit == 1);
  INFO(refused.err);
  CHECK(has(refused.err, "no sandbox can be made at the moment"));
  CHECK(has(refused.err, "etcd is away"));

  // A daemon that starts meanwhile adopts what it has.
  node.kill();
  REQUIRE(node.start());
  CHECK(node.caged({"exec", "web", "--", "touch", "/tmp/end"}).exit == 0);
  REQUIRE(count->wait(30s));
  CHECK(count->exit() == 0);
  CHECK(has(node.log(), "the store is away"));

  etcd.start(0);
  REQUIRE(eventually(30s, [&] {
    return !has(node.caged({"node", "status"}).out, "away");
  }));
  CHECK(eventually(5s,
                   [&] { return node.series("caged_node_store_up") == 1.0; }));
  CHECK(node.state("web") == "running");
  const auto second = node.up();
  CHECK_FALSE(second.empty());
  CHECK(keys(etcd, "/fleet/data/placements/").size() == 2);
  CHECK(node.clear() == "");
  CHECK(keys(etcd, "/fleet/data/placements/").empty());
  CHECK(keys(etcd, "/fleet/data/names/").empty());
  // It ended, and so does its lease.
  CHECK(eventually(
      20s, [&] { return keys(etcd, "/fleet/data/nodes/").size() == 3; }));
}

TEST_CASE("two nodes on one etcd have one set of names, and each its own "
          "sandboxes") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  test_node one{{"--store", url(etcd)}}, two{{"--store", url(etcd)}};
  REQUIRE(one.start());
  REQUIRE(two.start());
  const auto first = one.up({"--name", "web"});
  REQUIRE_FALSE(first.empty());
  auto refused = two.caged({"up", "--no-config", "--name", "web"});
  CHECK(refused.exit == 1);
  INFO(refused.err);
  CHECK(has(refused.err, "the name \"web\" is in use by " + first));
  const auto second = two.up({"--name", "db"});
  REQUIRE_FALSE(second.empty());
  // Neither touches the other's when it starts.
  one.kill();
  two.kill();
  REQUIRE(one.start());
  REQUIRE(two.start());
  CHECK(one.state(first) == "running");
  CHECK(two.state(second) == "running");
  CHECK(one.caged({"get", second}).exit != 0);
  CHECK(keys(etcd, "/fleet/data/placements/").size() == 2);
  CHECK(keys(etcd, "/fleet/data/names/").size() == 2);
  // One whose placement is gone goes, too.
  two.stop();
  const auto key = base64_encode("/fleet/data/placements/" + second);
  REQUIRE(etcd.call("/v3/kv/deleterange", {{"key", key}}).is_object());
  REQUIRE(two.start());
  CHECK(eventually(20s, [&] { return two.state(second) != "running"; }));
  CHECK(one.clear() == "");
  CHECK(two.clear() == "");
  CHECK(keys(etcd, "/fleet/data/names/").empty());
}

TEST_CASE("a token that one node revokes is no token on any other") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  test_node one{{"--store", url(etcd)}}, two{{"--store", url(etcd)}};
  REQUIRE(one.start());
  REQUIRE(two.start());
  auto made = one.caged(
      {"--format", "json", "token", "create", "--template", "minimal"});
  INFO(made.err);
  REQUIRE(made.exit == 0);
  const auto token = json::parse(made.out);
  const auto id = token["id"].get<std::string>();
  auto known = [&](test_node& by) {
    return has(by.caged({"token", "list"}).out, id);
  };
  CHECK(eventually(20s, [&] { return known(two); }));
  CHECK(two.caged({"token", "revoke", id}).exit == 0);
  CHECK(eventually(20s, [&] { return !known(one); }));
  CHECK(one.clear() == "");
  CHECK(two.clear() == "");
}

TEST_CASE("nodes on one etcd are listed, cordoned and removed through any") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  test_node one{{"--store", url(etcd), "--node-name", "one"}},
      two{{"--store", url(etcd), "--node-name", "two", "--labels", "zone=b"}};
  REQUIRE(one.start());
  REQUIRE(two.start());
  auto row = [](const test_node& by, const std::string& of) {
    const auto got = by.caged({"node", "get", of, "--format", "json"});
    return got.exit == 0 ? json::parse(got.out) : json::object();
  };
  auto is = [&](const test_node& by, const std::string& of,
                const std::string& status) {
    return eventually(20s, [&] { return row(by, of)["status"] == status; });
  };
  for (const auto* by : {&one, &two})
    for (const auto* of : {"one", "two"})
      CHECK(is(*by, of, "ready"));
  CHECK(row(one, "one")["self"] == true);
  CHECK(row(one, "two")["self"] == false);
  CHECK(row(one, "two")["labels"]["zone"] == "b");
  const auto id = two.up({"--name", "web"});
  REQUIRE_FALSE(id.empty());
  CHECK(eventually(20s, [&] { return row(one, "two")["sandboxes"] == 1; }));
  CHECK(row(one, "one")["sandboxes"] == 0);

  // A cordon through one node counts on the other from the next `up` on.
  CHECK(one.caged({"node", "cordon", "two"}).out == "two is cordoned\n");
  const auto refused = two.caged({"up", "--no-config", "--node", "two"});
  CHECK(refused.exit == 1);
  INFO(refused.err);
  CHECK(has(refused.err, "cordoned"));
  CHECK(row(one, "two")["status"] == "ready,cordoned");
  CHECK(is(two, "two", "ready,cordoned"));
  CHECK(two.caged({"node", "uncordon", "two"}).exit == 0);
  CHECK(is(one, "two", "ready"));
  CHECK(has(one.caged({"node", "rm", "two"}).err, "is alive"));

  two.kill();
  CHECK(is(one, "two", "lost"));
  // Still a target: `up` has to be 0 for it.
  web_client client{port_of(one)};
  client.send("GET /v1/sd/prometheus HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(json::parse(client.response().body).size() == 2);
  const auto full = one.caged({"node", "rm", "two"});
  CHECK(full.exit == 1);
  CHECK(has(full.err, "1 sandbox is placed on node \"two\""));
  CHECK(has(full.err, "--force"));
  CHECK(one.caged({"node", "rm", "--force", "two"}).out
        == "two is removed, and 1 sandbox forgotten\n");
  CHECK(one.caged({"node", "get", "two"}).exit == 1);
  CHECK(keys(etcd, "/fleet/data/placements/").empty());
  CHECK(keys(etcd, "/fleet/data/requests/").empty());
  CHECK(keys(etcd, "/fleet/data/names/").empty());
  for (const auto& each : keys(etcd, "/fleet/data/nodes/"))
    CHECK(has(each, row(one, "one")["id"].get<std::string>()));

  // Its daemon comes back: it is no node any more, clears up, and ends.
  two.start();
  CHECK(two.ended(30s) == 2);
  CHECK(has(two.log(), "this node was removed from the fleet by uid:0"));
  CHECK(has(two.log(), "caged-node join"));
  CHECK(one.caged({"node", "get", "two"}).exit == 1);
  for (const auto& each : keys(etcd, "/fleet/data/nodes/"))
    CHECK(has(each, row(one, "one")["id"].get<std::string>()));
  CHECK(std::filesystem::is_empty(two.data_dir() + "/sandboxes"));
  CHECK(one.clear() == "");
}

TEST_CASE("a store that cannot be used is one sentence") {
  temp_dir dir;
  write_file(dir / "open", "secret", 0644);
  struct bad {
    std::vector<std::string> flags;
    const char* says;
  };
  for (const auto& each : std::vector<bad>{
           {{"--store", "redis://a"}, "is no store that caged knows"},
           {{"--store", "etcd://"}, "names no host"},
           {{"--store", "etcd://u:hidden@127.0.0.1"}, "user or password in it"},
           {{"--store", "etcd://10.0.0.1"}, "it needs TLS"},
           {{"--store", "etcds://10.0.0.1"}, "a user and a password"},
           {{"--store-user", "x"}, "the store is sqlite"},
           {{"--store", "etcd://127.0.0.1", "--store-user", "x"},
            "are given together"},
           {{"--store", "etcd://127.0.0.1", "--store-user", "x",
             "--store-password-file", dir / "open"},
            "can be read by others"},
           {{"--store", "etcd://127.0.0.1", "--store-user", "x",
             "--store-password-file", dir / "none"},
            "cannot be read"},
       }) {
    auto argv = each.flags;
    argv.insert(argv.begin(),
                {bin_dir() + "/caged-node", "--data-dir", dir / "data",
                 "--run-dir", dir / "run", "--check-config"});
    const auto got = run(argv, within(30s));
    INFO(each.says << " in " << got.err);
    CHECK(got.exit == 2);
    CHECK(has(got.err, each.says));
    CHECK_FALSE(has(got.out + got.err, "hidden"));
  }
}
