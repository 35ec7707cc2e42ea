#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "messages/text.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/hosts.hpp"

// Which node a sandbox goes to when many ask at once, by what the store and the
// kernel say afterwards.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::vector<std::string> small = {
    "up",  "--no-config", "--cpus", "1",         "--memory",
    "128", "--disk",      "1",      "--timeout", "0"};

/// Every value that a key has had since a revision, as etcd remembers it.
std::vector<json> history(etcd_cluster& etcd, const std::string& key,
                          std::int64_t from, std::int64_t to) {
  std::vector<json> out;
  std::string before;
  for (auto revision = from; revision <= to; ++revision) {
    const auto got = etcd.call(
        "/v3/kv/range", {{"key", base64_encode(key)}, {"revision", revision}});
    if (!got.is_object() || !got.contains("kvs"))
      continue;
    const auto text = base64_decode(got["kvs"][0]["value"].get<std::string>());
    if (text && *text != before) {
      before = *text;
      out.push_back(json::parse(*text));
    }
  }
  return out;
}

/// Ids of the nodes, by name.
std::map<std::string, std::string> ids_of(const test_node& through) {
  const auto got =
      json::parse(through.caged({"node", "list", "--format", "json"}).out);
  const auto rows = got.is_object() ? got["nodes"] : got;
  std::map<std::string, std::string> out;
  for (const auto& each : rows)
    out[each["name"]] = each["id"];
  return out;
}

} // namespace

TEST_CASE("150 sandboxes through three nodes by 30 clients at once") {
  if (!etcd_cluster::can_run())
    return;
  constexpr std::size_t clients = 30, each_makes = 5,
                        all = clients * each_makes;
  // Room for 60 each: no node can take them all, nor two the half of a third.
  hosts f{3, {"--cpus", "60", "--memory-mb", "100000", "--disk-gb", "1000"}};
  const auto begin = f.etcd.revision();
  std::vector<std::unique_ptr<background>> running_clients;
  for (std::size_t i = 0; i < clients; ++i) {
    std::string script = "set -e; i=0; while [ $i -lt "
                         + std::to_string(each_makes) + " ]; do " + bin_dir()
                         + "/caged";
    for (const auto& word : small)
      script += " " + word;
    script += "; i=$((i+1)); done";
    process_options options;
    options.env["CAGED_ENDPOINT"] = f[i % 3].endpoint();
    running_clients.push_back(std::make_unique<background>(
        std::vector<std::string>{"sh", "-c", script}, options));
  }
  std::set<std::string> made;
  for (auto& each : running_clients) {
    REQUIRE(each->wait(300s));
    INFO(each->err());
    CHECK(each->exit() == 0);
    std::istringstream lines{each->out()};
    for (std::string id; std::getline(lines, id);)
      CHECK(made.insert(id).second);
  }
  CHECK(made.size() == all);
  // No sandbox is on two nodes, each is where the store says, and the spread is
  // within a tenth of all.
  std::map<std::string, std::string> on; ///< sandbox -> node, by the kernel
  for (auto& node : f.nodes) {
    const auto here = inits(*node);
    CHECK(here.size() >= all / 3 - all / 10);
    CHECK(here.size() <= all / 3 + all / 10);
    for (const auto& [id, _] : here)
      CHECK(on.emplace(id, node->run_dir()).second);
  }
  CHECK(on.size() == all);
  // At no moment was more booked than there is.
  const auto end = f.etcd.revision();
  std::size_t changes = 0;
  for (const auto& [name, id] : ids_of(f[0])) {
    CAPTURE(name);
    const auto seen =
        history(f.etcd, "/f/data/nodes/" + id + "/reserved", begin, end);
    changes += seen.size();
    for (const auto& each : seen)
      CHECK(each["used"]["cpus"] <= 60);
  }
  CHECK(changes >= all);
  CHECK(f.clear() == "");
}

TEST_CASE("ten clients race for the last place: one wins, nine are told") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{3, {"--cpus", "2", "--memory-mb", "10000", "--disk-gb", "100"}};
  for (int i = 0; i < 5; ++i)
    REQUIRE(f[0].caged(small).exit == 0);
  std::vector<std::unique_ptr<background>> racing;
  for (std::size_t i = 0; i < 10; ++i)
    racing.push_back(f[i % 3].start_caged(small));
  int won = 0;
  for (auto& each : racing) {
    REQUIRE(each->wait(60s));
    if (each->exit() == 0) {
      ++won;
      continue;
    }
    INFO(each->err());
    CHECK(has(each->err(), "cpu"));
    CHECK(has(each->err(), "node"));
  }
  CHECK(won == 1);
  CHECK(inits(f[0]).size() + inits(f[1]).size() + inits(f[2]).size() == 6);
  CHECK(f.clear() == "");
}

TEST_CASE("up takes the node that is named or labelled, whoever is asked") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{2};
  for (std::size_t through = 0; through < 2; ++through)
    for (const std::string wanted : {"n1", "n2"}) {
      const auto id = f[through].up({"--node", wanted});
      REQUIRE_FALSE(id.empty());
      const auto got = json::parse(
          f[1 - through].caged({"get", id, "--format", "json"}).out);
      CHECK(has(got.dump(), "\"" + wanted + "\""));
    }
  auto none = f[0].caged({"up", "--no-config", "--node", "n9"});
  CHECK(none.exit == 1);
  CHECK(has(none.err, "n9"));
  none = f[0].caged({"up", "--no-config", "--require", "disk=fast"});
  CHECK(none.exit == 1);
  INFO(none.err);
  CHECK(has(none.err, "disk"));
  // A cordoned node takes none, and keeps what it has.
  REQUIRE(f[0].caged({"node", "cordon", "n2"}).exit == 0);
  for (int i = 0; i < 3; ++i)
    CHECK_FALSE(f[1].up().empty());
  CHECK(inits(f[1]).size() == 2);
  CHECK(f.clear() == "");
}
