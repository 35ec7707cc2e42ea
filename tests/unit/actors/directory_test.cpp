#include "actors/directory.hpp"

#include <catch2/catch.hpp>

using namespace caged;

namespace {

std::int64_t revision = 0;

void put(directory& to, const std::string& key, const std::string& value) {
  to.apply({key, value, ++revision}, false);
}
void erase(directory& from, const std::string& key) {
  from.apply({key, {}, ++revision}, true);
}

std::string info(const std::string& name) {
  node_record out;
  out.name = name;
  out.total = {8, 1024, 10};
  return encode(out);
}

std::string placed(const std::string& node, const std::string& owner,
                   const std::string& name) {
  placement_record out;
  out.node = node;
  out.owner = owner;
  out.name = name;
  return encode(out);
}

} // namespace

TEST_CASE("a directory knows what each node offers") {
  directory fleet;
  put(fleet, "nodes/a1/info", info("one"));
  CHECK(fleet.node("a1")->templates.empty());
  put(fleet, "nodes/a1/offers",
      encode(offers_record{{"minimal", "web"}, {{"web", 3}}}));
  CHECK(fleet.node("a1")->templates == std::set<std::string>{"minimal", "web"});
  CHECK(fleet.node("a1")->ready == std::map<std::string, unsigned>{{"web", 3}});
  for (const auto* bad :
       {"", "[]", R"({"templates": [], "ready": []})",
        R"({"templates": ["../x"], "ready": {}})",
        R"({"templates": [1], "ready": {}})",
        R"({"templates": [], "ready": {"web": -1}})",
        R"({"templates": [], "ready": {"web": 4294967296}})"}) {
    put(fleet, "nodes/a1/offers", bad);
    CHECK(fleet.unreadable() == 1);
    CHECK(fleet.node("a1")->templates.empty());
  }
  put(fleet, "nodes/a1/offers", encode(offers_record{{"web"}, {}}));
  CHECK(fleet.unreadable() == 0);
  erase(fleet, "nodes/a1/offers");
  CHECK(fleet.node("a1")->templates.empty());
  erase(fleet, "nodes/a1/info");
  CHECK(fleet.nodes().empty());
}

TEST_CASE("a directory knows nodes by what the store tells, in any order") {
  directory fleet;
  put(fleet, "nodes/b2/live", "1.0");
  put(fleet, "nodes/b2/reserved", encode(reserved_record{{3, 512, 2}, 1}));
  const auto seen = revision;
  CHECK(fleet.nodes().empty()); // it has not said what it is
  put(fleet, "nodes/b2/info", info("one"));
  put(fleet, "nodes/a1/info", info("two"));
  put(fleet, "nodes/a1/cordon", "uid:0");
  const auto all = fleet.nodes();
  REQUIRE(all.size() == 2);
  CHECK(all[0].node.id == "b2");
  CHECK(all[0].live);
  CHECK_FALSE(all[0].cordoned);
  CHECK(all[0].reserved.what.used == capacity{3, 512, 2});
  CHECK(all[0].reserved.revision == seen);
  CHECK(all[1].node.id == "a1");
  CHECK_FALSE(all[1].live);
  CHECK(all[1].cordoned);
  CHECK(all[1].cordoned_by == "uid:0");
  CHECK(fleet.node("two")->node.id == "a1");
  CHECK(fleet.node("b2")->node.name == "one");
  CHECK(fleet.node("three").error().code == ec::not_found);
  put(fleet, "nodes/c3/info", info("two"));
  CHECK(fleet.node("two").error().code == ec::ambiguous);
  for (const char* part : {"live", "reserved", "info"})
    erase(fleet, std::string{"nodes/b2/"} + part);
  CHECK(fleet.nodes().size() == 2);
}

TEST_CASE("a node that falls silent or comes back is told once") {
  directory fleet;
  std::vector<std::string> told;
  fleet.on_liveness([&](const std::string& id, bool live) {
    told.push_back((live ? "+" : "-") + id);
  });
  put(fleet, "nodes/a/live", "1");
  put(fleet, "nodes/a/live", "2"); // its daemon was restarted
  erase(fleet, "nodes/a/live");
  erase(fleet, "nodes/a/live");
  put(fleet, "nodes/a/live", "2");
  CHECK(told == std::vector<std::string>{"+a", "-a", "+a"});
}

TEST_CASE("a directory finds a sandbox as its owner names it") {
  directory fleet;
  put(fleet, "placements/cage-aaaa0001", placed("n1", "uid:7", "web"));
  put(fleet, "placements/cage-aaaa0002", placed("n2", "uid:8", "web"));
  put(fleet, "placements/cage-bbbb0003", placed("n2", "uid:7", ""));
  CHECK(fleet.placements().size() == 3);
  CHECK(fleet.placed()
        == std::map<std::string, std::uint32_t>{{"n1", 1}, {"n2", 2}});
  CHECK(fleet.placement("cage-aaaa0002")->node == "n2");
  CHECK_FALSE(fleet.placement("cage-zzzz0000"));
  CHECK(fleet.find("web", "uid:7", false)->sandbox == "cage-aaaa0001");
  CHECK(fleet.find("web", "uid:8", false)->sandbox == "cage-aaaa0002");
  CHECK(fleet.find("cage-b", "uid:7", false)->sandbox == "cage-bbbb0003");
  CHECK(fleet.find("cage-aaaa0002", "uid:7", false).error().code
        == ec::not_found);
  CHECK(fleet.find("cage-aaaa0002", "uid:0", true)->owner == "uid:8");
  CHECK(fleet.find("cage-a", "uid:0", true).error().code == ec::ambiguous);
  erase(fleet, "placements/cage-aaaa0001");
  CHECK(fleet.find("web", "uid:7", false).error().code == ec::not_found);
}

TEST_CASE("what a directory cannot read is as if it were not there") {
  directory fleet;
  put(fleet, "placements/cage-aaaa0001", placed("n1", "uid:7", "web"));
  put(fleet, "placements/cage-aaaa0001", "n1");
  put(fleet, "placements/elsewhere", placed("n1", "uid:7", "web"));
  put(fleet, "nodes/a/info", "{}");
  put(fleet, "nodes/a/reserved", "full");
  put(fleet, "nodes//info", info("x"));
  put(fleet, "nodes/a", info("x"));
  put(fleet, "names/uid:7/web", "cage-aaaa0001");
  CHECK(fleet.placements().empty());
  CHECK(fleet.nodes().empty());
  CHECK(fleet.unreadable() == 4);
  put(fleet, "nodes/a/info", info("x"));
  CHECK(fleet.nodes().at(0).unreadable);
  put(fleet, "nodes/a/reserved", encode(reserved_record{}));
  erase(fleet, "placements/cage-aaaa0001");
  erase(fleet, "placements/elsewhere");
  CHECK(fleet.unreadable() == 0);
  CHECK_FALSE(fleet.nodes().at(0).unreadable);
}

TEST_CASE("a cordon that was told early is not undone by older news") {
  directory fleet;
  put(fleet, "nodes/a/info", info("x"));
  const auto key = std::string{"nodes/a/cordon"};
  fleet.apply({key, "uid:0", 1000}, false); // before its store tells it
  fleet.apply({key, {}, 999}, true);
  CHECK(fleet.node("x")->cordoned);
  fleet.apply({key, "uid:0", 1000}, false);
  fleet.apply({key, {}, 1001}, true);
  CHECK_FALSE(fleet.node("x")->cordoned);
  CHECK(fleet.node("x")->cordoned_by.empty());
}
