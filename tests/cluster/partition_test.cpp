#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <set>

#include <nlohmann/json.hpp>

#include "tests/support/cluster.hpp"
#include "tests/support/fleet.hpp"

// What goes on when links, nodes and members of etcd go away without a word.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

steady::duration timed(const std::function<void()>& what) {
  const auto begin = steady::now();
  what();
  return steady::now() - begin;
}

/// One sandbox on each node, called like it.
void one_each(const test_cluster& fleet) {
  for (unsigned i = 1; i <= fleet.nodes(); ++i) {
    const auto node = "n" + std::to_string(i);
    REQUIRE_FALSE(
        fleet.any()
            .up({"--memory", "128", "--name", "on-" + node, "--node", node})
            .empty());
  }
}

/// What every node does while no member of etcd is there.
template <class Up>
void check_without_etcd(const test_cluster& fleet, const Up& try_up) {
  for (unsigned i = 1; i <= fleet.nodes(); ++i) {
    const auto node = fleet.node(i);
    const auto there = "on-n" + std::to_string(i % fleet.nodes() + 1);
    CAPTURE(i);
    process_result refused;
    CHECK(timed([&] { refused = try_up(i); }) < patient(3s));
    INFO(refused.err);
    CHECK(refused.exit == 1);
    CHECK(has(refused.err, "no sandbox can be made at the moment"));
    CHECK(has(refused.err, "etcd is away"));
    const auto list = node.caged({"list"});
    CHECK(list.exit == 0);
    for (unsigned each = 1; each <= fleet.nodes(); ++each)
      CHECK(has(list.out, "on-n" + std::to_string(each)));
    CHECK_FALSE(has(list.out, "lost"));
    const auto old = "this is the fleet as n" + std::to_string(i);
    CHECK(has(list.err, old));
    const auto nodes = node.caged({"node", "list"});
    CHECK(nodes.exit == 0);
    CHECK(has(nodes.err, old));
    CHECK(node.state(there) == "running");
    CHECK(node.caged({"exec", there, "--", "hostname"}).out == there + "\n");
    CHECK(has(fleet.local(i, {"node", "status"}).out, "away"));
  }
}

} // namespace

TEST_CASE("a node that is cut off is lost within 5 s, and all others go on",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  REQUIRE(fleet.up());
  one_each(fleet);
  // Three entrypoints, whichever has it; a stream through the middle.
  for (unsigned i = 1; i <= 3; ++i)
    CHECK(fleet.node(i).caged({"exec", "on-n2", "--", "hostname"}).out
          == "on-n2\n");
  auto counting =
      fleet.node(1).start_caged({"exec", "--no-stdin", "on-n3", "--", "sh",
                                 "-c", count_while("[ ! -e /tmp/end ]")});
  REQUIRE(eventually(20s, [&] { return counting->out().size() > 100'000; }));

  REQUIRE(fleet.does({"cut", "n2"}));
  CHECK(timed([&] {
          CHECK(eventually(patient(5s), [&] {
            return fleet.node(1).state("on-n2") == "lost"
                   && fleet.node(3).state("on-n2") == "lost";
          }));
        })
        < patient(5s));
  for (unsigned i : {1U, 3U}) {
    process_result got;
    CHECK(timed([&] {
            got = fleet.node(i).caged({"exec", "on-n2", "--", "true"});
          })
          < patient(1s));
    INFO(got.err);
    CHECK(got.exit != 0);
    CHECK(has(got.err, "node \"n2\", which has cage-"));
    CHECK(has(got.err, "is silent"));
    CHECK(
        timed([&] {
          CHECK(fleet.node(i).caged({"exec", "on-n3", "--", "true"}).exit == 0);
        })
        < patient(2s));
  }
  const auto had = counting->out().size();
  CHECK(
      eventually(20s, [&] { return counting->out().size() > had + 100'000; }));
  // The one that is cut off works on for whoever is there.
  CHECK(fleet.local(2, {"exec", "on-n2", "--", "touch", "/tmp/alone"}).exit
        == 0);

  REQUIRE(fleet.does({"heal", "n2"}));
  CHECK(eventually(20s,
                   [&] { return fleet.node(1).state("on-n2") == "running"; }));
  CHECK(eventually(20s, [&] {
    return fleet.node(1).caged({"exec", "on-n2", "--", "ls", "/tmp/alone"}).exit
           == 0;
  }));
  CHECK(fleet.node(3).caged({"exec", "on-n3", "--", "touch", "/tmp/end"}).exit
        == 0);
  REQUIRE(counting->wait(60s));
  CHECK(counting->out()
        == numbered(
            std::strtoull(last_line(counting->out()).c_str(), nullptr, 10)));
  for (unsigned i = 1; i <= 3; ++i)
    CHECK_FALSE(has(fleet.local(i, {"node", "audit"}).out, "orphan"));
  fleet.down();
  CHECK(fleet.leftovers() == "");
}

TEST_CASE("a link between two nodes that is cut holds up nobody else",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  REQUIRE(fleet.up());
  one_each(fleet);
  CHECK(fleet.node(1).caged({"exec", "on-n3", "--", "true"}).exit == 0);
  REQUIRE(fleet.does({"cut", "n1", "n3"}));
  // Who asks over it is told when it has been silent, and then at once; n2 is
  // as near as ever meanwhile.
  auto stuck = fleet.node(1).start_caged({"exec", "on-n3", "--", "true"});
  int asked = 0;
  CHECK(eventually(patient(8s), [&] {
    CHECK(
        timed([&] {
          CHECK(fleet.node(1).caged({"exec", "on-n2", "--", "true"}).exit == 0);
        })
        < patient(1s));
    ++asked;
    return !stuck->alive();
  }));
  CHECK(asked > 1);
  INFO(stuck->err());
  CHECK(stuck->exit() != 0);
  CHECK(has(stuck->err(), "\"n3\""));
  // Everybody lives: through the third node all is there.
  CHECK(fleet.node(2).caged({"exec", "on-n3", "--", "hostname"}).out
        == "on-n3\n");
  CHECK(fleet.node(2).caged({"exec", "on-n1", "--", "hostname"}).out
        == "on-n1\n");
  const auto list = fleet.node(1).caged({"list"});
  CHECK(list.exit == 0);
  CHECK(has(list.out, "on-n3"));
  REQUIRE(fleet.does({"heal", "n1", "n3"}));
  CHECK(eventually(20s, [&] {
    return fleet.node(1).caged({"exec", "on-n3", "--", "true"}).exit == 0;
  }));
  fleet.down();
  CHECK(fleet.leftovers() == "");
}

TEST_CASE(
    "etcd loses its leader, its majority, and all of it, and nothing that "
    "was said is lost",
    "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  REQUIRE(fleet.up());
  one_each(fleet);
  const auto unwanted = fleet.any().up({"--memory", "128", "--node", "n2"});
  REQUIRE_FALSE(unwanted.empty());
  // A line every second, through a node that does not have the sandbox.
  auto counting = fleet.node(1).start_caged(
      {"exec", "--no-stdin", "on-n2", "--", "sh", "-c",
       "i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); echo $i; sleep 1; done"});
  const auto lines = [&] {
    const auto out = counting->out();
    return std::count(out.begin(), out.end(), '\n');
  };
  REQUIRE(eventually(20s, [&] { return lines() > 0; }));
  std::set<std::string> made; ///< what was answered as made
  const auto try_up = [&](unsigned through) {
    const auto got = fleet.node(through).caged(
        {"up", "--no-config", "--memory", "128", "--timeout", "0"});
    if (got.exit == 0)
      made.insert(last_line(got.out));
    return got;
  };
  const std::vector<std::string> members = {"m1", "m2", "m3"};
  // Each member in turn, the leader among them.
  for (const auto& member : members) {
    REQUIRE(fleet.does({"etcd-kill", member}));
    CHECK(eventually(30s, [&] { return try_up(2).exit == 0; }));
    REQUIRE(fleet.does({"etcd-start", member}));
  }

  // All of them, for a whole minute in which the fleet works on.
  for (const auto& member : members)
    REQUIRE(fleet.does({"etcd-kill", member}));
  const auto gone = steady::now();
  for (unsigned i = 1; i <= 3; ++i)
    CHECK(eventually(20s, [&] {
      return has(fleet.local(i, {"node", "status"}).out, "away");
    }));
  const auto had = lines();
  check_without_etcd(fleet, try_up);
  // What is to go is freed; that it is gone can only be written later.
  process_result late;
  CHECK(timed([&] {
          late = fleet.node(1).caged({"destroy", unwanted});
        })
        < patient(3s));
  INFO(late.err);
  CHECK(late.exit == 1);
  CHECK(has(late.err, "etcd"));
  CHECK(fleet.node(3).state(unwanted) == "stopping");
  while (steady::now() - gone < 60s) {
    const auto now = lines();
    CHECK(eventually(20s, [&] { return lines() >= now + 5; }));
    check_without_etcd(fleet, try_up);
  }
  CHECK(lines() >= had + 45);

  for (const auto& member : members)
    REQUIRE(fleet.does({"etcd-start", member}));
  CHECK(eventually(patient(20s), [&] { return try_up(3).exit == 0; }));
  CHECK(eventually(20s, [&] {
    return !has(fleet.node(1).caged({"node", "list"}).out, "lost");
  }));
  CHECK(eventually(patient(20s), [&] {
    return fleet.node(1).state(unwanted) == "destroyed";
  }));
  // All that was answered is there, and runs.
  const auto list = fleet.node(2).caged({"list", "-q"}).out;
  CHECK(static_cast<std::size_t>(std::count(list.begin(), list.end(), '\n'))
        == made.size() + fleet.nodes());
  for (const auto& id : made) {
    CHECK(has(list, id));
    CHECK(fleet.node(1).state(id) == "running");
    CHECK(fleet.node(3).caged({"exec", id, "--", "true"}).exit == 0);
  }
  CHECK(fleet.node(1).caged({"exec", "on-n2", "--", "touch", "/tmp/end"}).exit
        == 0);
  REQUIRE(counting->wait(60s));
  CHECK(counting->out()
        == numbered(
            std::strtoull(last_line(counting->out()).c_str(), nullptr, 10)));
  for (unsigned i = 1; i <= 3; ++i) {
    const auto audit = fleet.local(i, {"node", "audit"});
    CHECK(audit.exit == 0);
    CHECK_FALSE(has(audit.out, "orphan"));
  }
  fleet.down();
  CHECK(fleet.leftovers() == "");
}
