#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "messages/text.hpp"
#include "tests/support/hosts.hpp"

// The history of a sandbox, when the node that had it cannot be asked any more.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// What `caged why` says through this node: "STATE WHO TEXT" of each cause.
std::vector<std::string> why(const test_node& through,
                             const std::string& sandbox) {
  const auto got = through.caged({"why", sandbox, "--format", "json"});
  const auto read = json::parse(got.out, nullptr, false);
  std::vector<std::string> out;
  if (got.exit != 0 || !read.is_object())
    return {got.err};
  for (const auto& each : read.value("causes", json::array()))
    out.push_back(each.value("to", "") + " " + each.value("who", "") + " "
                  + each.value("text", ""));
  return out;
}

/// The copy as etcd itself has it; empty: none.
std::string copy_of(hosts& f, const std::string& id) {
  const auto got = f.etcd.call(
      "/v3/kv/range", {{"key", base64_encode("/f/data/history/" + id)}});
  if (!got.is_object() || !got.contains("kvs"))
    return {};
  return base64_decode(got["kvs"][0].value("value", "")).value_or("");
}

} // namespace

TEST_CASE("why tells the whole history through other nodes when the one that "
          "had it is killed and removed") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{3};
  const auto gone = f.make_on(1, 0, "web");
  const auto kept = f.make_on(1, 0, "kept");
  REQUIRE_FALSE(gone.empty());
  REQUIRE_FALSE(kept.empty());
  CHECK(f[0].caged({"pause", "web"}).exit == 0);
  CHECK(f[0].caged({"resume", "web"}).exit == 0);
  CHECK(f[0].caged({"pause", "kept"}).exit == 0);
  // Killed at once, most likely before it has copied what is in its journal.
  CHECK(f[2].caged({"destroy", "web"}).exit == 0);
  f[1].kill();
  REQUIRE(f[1].start());
  REQUIRE(eventually(20s, [&] { return f.sees(f[0], 3); }));
  CHECK(eventually(20s, [&] {
    return has(copy_of(f, gone), "\"state\":\"destroyed\"")
           && has(copy_of(f, kept), "\"state\":\"paused\"");
  }));
  const auto whole = why(f[1], gone);
  auto before = why(f[1], kept);
  REQUIRE(whole.size() > 4);
  CHECK(has(whole.front(), "up was asked for"));
  CHECK(has(whole.back(), "destroyed"));

  f[1].kill();
  for (const std::size_t i : {0U, 2U}) {
    CAPTURE(i);
    REQUIRE(eventually(20s, [&] { return f[i].state("kept") == "lost"; }));
    CHECK(why(f[i], gone) == whole);
    CHECK(why(f[i], "web") == whole);
    auto now = why(f[i], "kept");
    REQUIRE(now.size() == before.size() + 1);
    CHECK(now.back() == "lost fleet node n2 is silent");
    now.pop_back();
    CHECK(now == before);
    const auto unknown = f[i].caged({"why", "cage-00000000"});
    CHECK(unknown.exit != 0);
    CHECK(has(unknown.err, "no sandbox"));
  }
  REQUIRE(f[0].caged({"node", "rm", "--force", "n2"}).exit == 0);
  for (const std::size_t i : {0U, 2U}) {
    CAPTURE(i);
    REQUIRE(eventually(20s, [&] { return f[i].state("kept").empty(); }));
    CHECK(why(f[i], gone) == whole);
    CHECK(why(f[i], "web") == whole);
    auto now = why(f[i], "kept");
    REQUIRE(now.size() == before.size() + 1);
    CHECK(has(now.back(), "node n2 was removed from the fleet"));
    now.pop_back();
    CHECK(now == before);
  }
  // With etcd away nobody knows, and that is what is said.
  f.etcd.kill(0);
  CHECK(eventually(30s, [&] {
    const auto got = f[0].caged({"why", gone});
    return got.exit != 0 && has(got.err, "cannot be read");
  }));
  f.etcd.start(0);
  CHECK(eventually(30s, [&] { return why(f[0], gone) == whole; }));
  // Its host comes back: it is no node any more. What it had is destroyed, and
  // it says so before it ends.
  f[1].start();
  CHECK(f[1].ended(30s) == 2);
  CHECK(eventually(30s,
                   [&] { return has(why(f[0], kept).back(), "destroyed"); }));
  CHECK(f[0].clear() == "");
  CHECK(f[2].clear() == "");
}
