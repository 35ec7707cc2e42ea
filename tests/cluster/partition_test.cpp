#include <catch2/catch.hpp>

#include <csignal>

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
  auto counting =
      fleet.node(1).start_caged({"exec", "--no-stdin", "on-n2", "--", "sh",
                                 "-c", count_while("[ ! -e /tmp/end ]")});
  REQUIRE(eventually(20s, [&] { return counting->out().size() > 100'000; }));
  std::set<std::string> made; ///< what was answered as made
  const auto try_up = [&](unsigned through) {
    const auto got = fleet.node(through).caged(
        {"up", "--no-config", "--memory", "128", "--timeout", "0"});
    if (got.exit == 0)
      made.insert(last_line(got.out));
    return got;
  };
  // Each member in turn, the leader among them.
  for (const std::string member : {"m1", "m2", "m3"}) {
    REQUIRE(fleet.does({"etcd-kill", member}));
    CHECK(eventually(30s, [&] { return try_up(2).exit == 0; }));
    REQUIRE(fleet.does({"etcd-start", member}));
  }
  // All of them, for as long as it takes the nodes to notice and a while.
  for (const std::string member : {"m1", "m2", "m3"})
    REQUIRE(fleet.does({"etcd-kill", member}));
  CHECK(eventually(20s, [&] {
    return has(fleet.local(1, {"node", "status"}).out, "away");
  }));
  process_result refused;
  CHECK(timed([&] { refused = try_up(1); }) < patient(3s));
  INFO(refused.err);
  CHECK(refused.exit == 1);
  CHECK(has(refused.err, "etcd is away"));
  for (unsigned i = 1; i <= 3; ++i) {
    CHECK(fleet.node(i).caged({"exec", "on-n3", "--", "true"}).exit == 0);
    CHECK(has(fleet.node(i).caged({"list"}).out, "on-n3"));
  }
  const auto had = counting->out().size();
  CHECK(
      eventually(20s, [&] { return counting->out().size() > had + 100'000; }));
  for (const std::string member : {"m1", "m2", "m3"})
    REQUIRE(fleet.does({"etcd-start", member}));
  CHECK(eventually(60s, [&] { return try_up(3).exit == 0; }));
  CHECK(eventually(20s, [&] {
    return !has(fleet.node(1).caged({"node", "list"}).out, "lost");
  }));
  // All that was answered is there, and runs.
  const auto list = fleet.node(2).caged({"list", "-q"}).out;
  for (const auto& id : made) {
    CHECK(has(list, id));
    CHECK(fleet.node(1).state(id) == "running");
  }
  CHECK(fleet.node(1).caged({"exec", "on-n2", "--", "touch", "/tmp/end"}).exit
        == 0);
  REQUIRE(counting->wait(60s));
  CHECK(counting->out()
        == numbered(
            std::strtoull(last_line(counting->out()).c_str(), nullptr, 10)));
  fleet.down();
  CHECK(fleet.leftovers() == "");
}
