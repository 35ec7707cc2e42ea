#include "actors/scheduler.hpp"

#include <algorithm>
#include <latch>
#include <thread>

#include "messages/text.hpp"
#include "tests/support/chance.hpp"
#include "tests/unit/actors/booking_support.hpp"
#include "tests/unit/actors/place_in_one.hpp"

using namespace caged;
using test::faulty_store;
using test::hooked_store;
using test::look_at_books;
using test::place_for;
using test::put_key;
using test::schedule;

namespace {

constexpr const char* some_id = "cage-00000001";

node_view node(std::string name, capacity total = {16, 16384, 200}) {
  node_view out;
  out.node.id = "id-" + name;
  out.node.name = std::move(name);
  out.node.runtime = "oci";
  out.node.networks = {"none", "allowlist"};
  out.node.total = total;
  out.live = true;
  return out;
}

node_view booked(node_view of, capacity used) {
  of.reserved.what = {used, 1};
  return of;
}

/// 1 cpu, 512 MB, 5 GB, as place_for takes.
wish wanted() {
  wish out;
  out.spec.cpus = 1;
  return out;
}

/// Names in order; the one sentence where there are none.
std::vector<std::string> names(const std::vector<node_view>& nodes,
                               const wish& what, std::string_view id = some_id,
                               std::uint64_t seed = 0) {
  const auto got = order(nodes, what, id, seed);
  if (!got)
    return {std::string{to_string(got.error().code)} + ": "
            + got.error().message};
  std::vector<std::string> out;
  for (const auto i : *got)
    out.push_back(nodes[i].node.name);
  return out;
}

using list = std::vector<std::string>;

std::vector<node_view> fleet(unsigned size, capacity total) {
  std::vector<node_view> out;
  for (unsigned i = 0; i < size; ++i)
    out.push_back(node("n" + std::to_string(i), total));
  return out;
}

/// Every one of `threads` places `each` sandboxes by a view of its own, which
/// nobody keeps up to date. Gives what was not placed.
std::vector<failure> place_all(store& in, const std::vector<node_view>& nodes,
                               unsigned threads, unsigned each) {
  std::latch start{threads};
  std::vector<std::vector<failure>> failed(threads);
  std::vector<std::thread> running;
  for (unsigned who = 0; who < threads; ++who)
    running.emplace_back([&, who] {
      auto view = nodes;
      start.arrive_and_wait();
      for (unsigned i = 0; i < each; ++i) {
        auto done =
            schedule(in, view, wanted(), place_for(who * each + i, {}), who);
        if (!done)
          failed[who].push_back(done.error());
      }
    });
  for (auto& one : running)
    one.join();
  std::vector<failure> out;
  for (auto& some : failed)
    out.insert(out.end(), some.begin(), some.end());
  return out;
}

/// No value that a reservation ever had is more than the node.
void check_history(test::reserved_history& history, const capacity& total,
                   std::size_t changes) {
  const auto values = history.all();
  CHECK(values.size() == changes);
  std::map<std::string, std::uint32_t> last;
  for (const auto& [id, value] : values) {
    CHECK(value.used.cpus <= total.cpus);
    CHECK(value.used.memory_mb <= total.memory_mb);
    CHECK(value.used.disk_gb <= total.disk_gb);
    CHECK(value.sandboxes == last[id] + 1);
    last[id] = value.sandboxes;
  }
}

} // namespace

TEST_CASE("a node that cannot take the sandbox is no candidate") {
  auto lost = node("lost"), cordoned = node("cordoned"), other = node("other"),
       closed = node("closed"), broken = node("broken");
  lost.live = false;
  cordoned.cordoned = true;
  other.node.runtime = "fake";
  closed.node.networks = {"full"};
  broken.unreadable = true;
  const auto full = booked(node("full"), {16, 0, 0});
  CHECK(names({lost, cordoned, other, closed, broken, full, node("good")},
              wanted())
        == list{"good"});
  CHECK(names({lost, cordoned, other, closed, broken, full}, wanted())
        == list{"no_capacity: no node has room: 1 has too few cpus (asked for "
                "1, the most that is free is 0), 1 is cordoned, 1 is lost, 1 "
                "has an unreadable reservation, 1 runs another runtime than "
                "\"oci\", 1 does not offer network mode \"none\""});
  CHECK(names({}, wanted())
        == list{"no_capacity: no node has room: the fleet has no node yet"});
}

TEST_CASE("what is missing is counted, with the most that is free") {
  auto what = wanted();
  what.spec.memory_mb = 4096;
  std::vector<node_view> nodes = {
      booked(node("a", {8, 2048, 50}), {1, 1024, 5}),
      booked(node("b", {8, 8192, 50}), {1, 7680, 5}), node("c"), node("d")};
  nodes[2].cordoned = true;
  nodes[3].live = false;
  CHECK(names(nodes, what)
        == list{"no_capacity: no node has room: 2 have too little memory "
                "(asked for 4096 MB, the most that is free is 1024 MB), 1 is "
                "cordoned, 1 is lost"});
  // One that is short of several things is counted with each.
  what.spec.cpus = 8;
  what.spec.disk_gb = 46;
  nodes.resize(1);
  CHECK(names(nodes, what)
        == list{"no_capacity: no node has room: 1 has too little memory (asked "
                "for 4096 MB, the most that is free is 1024 MB), 1 has too few "
                "cpus (asked for 8, the most that is free is 7), 1 has too "
                "little disk (asked for 46 GB, the most that is free is 45 "
                "GB)"});
}

TEST_CASE("a thousand full nodes and a long wish are told in a few lines") {
  auto nodes = fleet(1000, {1, 128, 1});
  wish what = wanted();
  for (int i = 0; i < 32; ++i)
    what.require["label-" + std::to_string(i)] = std::string(255, 'x');
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].live = i % 7 != 0;
    nodes[i].cordoned = i % 5 == 0;
    nodes[i].node.runtime = i % 11 == 0 ? "fake" : "oci";
    if (i % 2 == 0)
      nodes[i].node.labels = what.require;
  }
  const auto text = names(nodes, what).front();
  CAPTURE(text);
  CHECK(text.size() < 600);
  CHECK(text.find(" lack one of the labels label-0=xxx") != text.npos);
  CHECK(text.find(" have too little memory (asked for 512 MB, the most that is "
                  "free is 128 MB)")
        != text.npos);
  what.require = {{"gpu", "y\x1b[31m"}};
  CHECK(names(fleet(2, {1, 128, 1}), what)
        == list{"no_capacity: no node has room: 2 lack the label "
                "gpu=y\\x1B[31m"});
}

TEST_CASE("required labels must all be there with their values") {
  auto both = node("both"), one = node("one"), other = node("other");
  both.node.labels = {{"gpu", "yes"}, {"zone", "a"}, {"x", "y"}};
  one.node.labels = {{"gpu", "yes"}};
  other.node.labels = {{"gpu", "yes"}, {"zone", "b"}};
  auto what = wanted();
  what.require = {{"gpu", "yes"}, {"zone", "a"}};
  CHECK(names({one, other, both}, what) == list{"both"});
  CHECK(names({one, other}, what)
        == list{"no_capacity: no node has room: 2 lack one of the labels "
                "gpu=yes, zone=a"});
}

TEST_CASE("a node that is named is the only candidate, or says why it is not") {
  auto lost = node("lost");
  lost.live = false;
  std::vector<node_view> nodes = {node("north"), node("south"), lost};
  auto what = wanted();
  what.node = "south";
  CHECK(names(nodes, what) == list{"south"});
  what.node = "id-north";
  CHECK(names(nodes, what) == list{"north"});
  what.node = "lost";
  CHECK(names(nodes, what)
        == list{"no_capacity: node \"lost\" has no room: it is lost"});
  what.node = "south";
  what.spec.memory_mb = 20000;
  CHECK(names(nodes, what)
        == list{"no_capacity: node \"south\" has no room: it has too little "
                "memory (asked for 20000 MB, the most that is free is 16384 "
                "MB)"});
  what.node = "suth";
  const auto unknown = order(nodes, what, some_id);
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code == ec::not_found);
  CHECK(unknown.error().message == "there is no node \"suth\"");
  CHECK(unknown.error().hint == "did you mean \"south\"?");
  CHECK(order({}, what, some_id).error().code == ec::not_found);
  // A host that was set up again has its name a second time.
  lost.node.name = "south";
  nodes[2] = lost;
  what = wanted();
  what.node = "south";
  CHECK(names(nodes, what) == list{"south"});
  CHECK(*order(nodes, what, some_id) == std::vector<std::size_t>{1});
}

TEST_CASE("the least booked node over its scarcest resource comes first") {
  // 75 %, by memory; 50 %, by cpus; 30 %, by disk; an empty one.
  const auto memory = booked(node("memory"), {1, 12288, 0}),
             cpus = booked(node("cpus"), {8, 1024, 0}),
             disk = booked(node("disk"), {1, 0, 60});
  CHECK(names({memory, cpus, disk, node("empty")}, wanted())
        == list{"empty", "disk", "cpus", "memory"});
  // What it would be afterwards counts: a quarter of a small node.
  CHECK(names({node("small", {4, 4096, 50}),
               booked(node("large", {64, 65536, 800}), {8, 0, 0})},
              wanted())
        == list{"large", "small"});
}

TEST_CASE("a node with the template comes before any without it") {
  auto with = booked(node("with"), {12, 0, 0});
  with.templates = {"minimal", "python"};
  auto what = wanted();
  what.spec.template_name = "python";
  CHECK(names({node("empty"), with}, what) == list{"with", "empty"});
  what.spec.template_name = "rust";
  CHECK(names({node("empty"), with}, what) == list{"empty", "with"});
}

TEST_CASE("a ready member of the pool makes up for a little load") {
  auto pooled = node("pooled"), other = node("other");
  pooled.ready = {{"minimal", 1}};
  other.ready = {{"minimal", 0}, {"python", 3}};
  CHECK(names({other, booked(pooled, {0, 0, 10})}, wanted()).front()
        == "pooled");
  CHECK(names({other, booked(pooled, {0, 0, 100})}, wanted()).front()
        == "other");
}

TEST_CASE("equal nodes are shared out among sandboxes, and among seeds") {
  const auto nodes = fleet(10, {100, 100'000, 1000});
  std::map<std::string, int> first;
  for (unsigned i = 0; i < 1000; ++i)
    ++first[names(nodes, wanted(), place_for(i, {}).sandbox).front()];
  CHECK(first.size() == 10);
  for (const auto& [name, times] : first) {
    CAPTURE(name);
    CHECK(times > 60);
    CHECK(times < 140);
  }
  const auto one = names(nodes, wanted());
  CHECK(one.size() == 10);
  CHECK(names(nodes, wanted()) == one);
  CHECK(names(nodes, wanted(), some_id, 7) != one);
  // It is no matter in which order they stand.
  auto turned = nodes;
  std::reverse(turned.begin(), turned.end());
  CHECK(names(turned, wanted()) == one);
}

TEST_CASE("candidates are those that fit, whatever the nodes are") {
  const auto seed = test::seed();
  CAPTURE(seed);
  test::chance chance{seed};
  auto any = [&] {
    return capacity{chance.below(9), chance.below(9) * 512,
                    chance.below(5) * 10};
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<node_view> nodes;
    for (unsigned i = 0; i < 1 + chance.below(5); ++i)
      nodes.push_back(booked(node("n" + std::to_string(i), any()), any()));
    auto what = wanted();
    what.spec.cpus = 1 + chance.below(8);
    what.spec.memory_mb = 128 * (1 + chance.below(32));
    what.spec.disk_gb = 1 + chance.below(30);
    std::vector<std::size_t> fitting;
    for (std::size_t i = 0; i < nodes.size(); ++i)
      if (fits(nodes[i].node.total, nodes[i].reserved.what.used, what.spec))
        fitting.push_back(i);
    auto got = order(nodes, what, some_id, seed);
    REQUIRE(got.has_value() == !fitting.empty());
    if (!got) {
      CHECK(got.error().code == ec::no_capacity);
      continue;
    }
    std::sort(got->begin(), got->end());
    CHECK(*got == fitting);
  }
}

TEST_CASE("a sandbox is placed with what its spec takes, and once") {
  faulty_store in;
  auto nodes = fleet(2, {1, 1024, 10});
  auto what = wanted();
  what.spec.name = "web";
  const auto first = schedule(in, nodes, what, place_for(1, {}));
  REQUIRE(first);
  CHECK(first->takes == test::small);
  CHECK(first->name == "web");
  CHECK(nodes[first->node == "id-n0" ? 0 : 1].reserved.what
        == reserved_record{test::small, 1});
  CHECK(look_at_books(in) == "");
  // Again: by the same view, by one that knows nothing, in a full fleet, and by
  // one that has only the other node.
  CHECK(schedule(in, nodes, what, place_for(1, {})) == *first);
  auto fresh = fleet(2, {1, 1024, 10});
  CHECK(schedule(in, fresh, what, place_for(1, {})) == *first);
  REQUIRE(schedule(in, nodes, wanted(), place_for(2, {})));
  CHECK(schedule(in, nodes, what, place_for(1, {})) == *first);
  fresh = fleet(2, {1, 1024, 10});
  fresh.erase(fresh.begin() + (first->node == "id-n0" ? 0 : 1));
  CHECK(schedule(in, fresh, what, place_for(1, {})) == *first);
  CHECK(in.list("placements/")->size() == 2);
  CHECK(look_at_books(in) == "");
  // Another request with that id is refused, and so is one too many.
  auto other = place_for(1, {});
  other.request_id = "another";
  CHECK(schedule(in, nodes, wanted(), other).error().code == ec::no_capacity);
  const auto third = schedule(in, nodes, wanted(), place_for(3, {}));
  REQUIRE_FALSE(third);
  CHECK(third.error().code == ec::no_capacity);
  CHECK(third.error().message
        == "no node has room: 2 have too few cpus (asked for 1, the most that "
           "is free is 0)");
}

TEST_CASE("who has lost the place goes to the next node") {
  faulty_store in;
  auto nodes = fleet(3, {1, 1024, 10});
  const auto now = order(nodes, wanted(), some_id).value();
  // The first two are full by now, which the view does not know.
  for (std::size_t i = 0; i < 2; ++i)
    REQUIRE(book(
        in, place_for(10 + static_cast<unsigned>(i), nodes[now[i]].node.id),
        {1, 1024, 10}));
  const auto done = schedule(in, nodes, wanted(), place_for(1, {}));
  REQUIRE(done);
  CHECK(done->node == nodes[now[2]].node.id);
  for (const auto& each : nodes)
    CHECK(each.reserved.what.sandboxes == 1);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a node that is cordoned or broken by now is passed over") {
  faulty_store in;
  auto nodes = fleet(3, {4, 4096, 100});
  const auto now = order(nodes, wanted(), some_id).value();
  put_key(in, node_key(nodes[now[0]].node.id, "cordon"), "uid:0");
  put_key(in, node_key(nodes[now[1]].node.id, "reserved"), "no record");
  const auto done = schedule(in, nodes, wanted(), place_for(1, {}));
  REQUIRE(done);
  CHECK(done->node == nodes[now[2]].node.id);
  CHECK(nodes[now[0]].cordoned);
  CHECK(nodes[now[1]].unreadable);
}

TEST_CASE("a name in use ends the search at once") {
  faulty_store in;
  auto nodes = fleet(100, {4, 4096, 100});
  auto what = wanted();
  what.spec.name = "web";
  REQUIRE(schedule(in, nodes, what, place_for(1, {})));
  hooked_store counted{in};
  const auto done = schedule(counted, nodes, what, place_for(2, {}));
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ec::conflict);
  CHECK(done.error().message == "the name \"web\" is in use by cage-00000001");
  CHECK(counted.commits == 1);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a lost answer places no sandbox twice, whichever it is") {
  for (std::int64_t lost = 1; lost <= 6; ++lost) {
    CAPTURE(lost);
    faulty_store in;
    hooked_store counted{in};
    in.lose_answer(lost);
    auto nodes = fleet(3, {4, 4096, 100});
    for (unsigned i = 0; i < 6; ++i) {
      CAPTURE(i);
      auto what = wanted();
      what.spec.name = "n" + std::to_string(i);
      CHECK(schedule(counted, nodes, what, place_for(i, {})));
    }
    CHECK(counted.commits >= 6);
    CHECK(in.list("placements/")->size() == 6);
    CHECK(look_at_books(in) == "");
  }
}

TEST_CASE("a call that fails leaves a sandbox that may be placed again") {
  for (std::int64_t failing = 1; failing <= 12; ++failing) {
    CAPTURE(failing);
    faulty_store in;
    auto nodes = fleet(3, {4, 4096, 100});
    auto old = nodes; // each place is lost at first
    REQUIRE(schedule(in, old, wanted(), place_for(7, {})));
    REQUIRE(schedule(in, old, wanted(), place_for(8, {})));
    REQUIRE(schedule(in, old, wanted(), place_for(9, {})));
    in.fail_call(failing);
    const auto first = schedule(in, nodes, wanted(), place_for(1, {}));
    if (!first)
      CHECK(first.error().code == ec::unavailable);
    in.fail_call(0);
    const auto second = schedule(in, nodes, wanted(), place_for(1, {}));
    REQUIRE(second);
    if (first)
      CHECK(*first == *second);
    CHECK(in.list("placements/")->size() == 4);
    CHECK(look_at_books(in) == "");
  }
}

TEST_CASE("a booking that arrives late does not place a sandbox twice") {
  faulty_store in;
  hooked_store slow{in};
  auto nodes = fleet(2, {4, 4096, 100});
  slow.hold = 3;
  const auto first = schedule(slow, nodes, wanted(), place_for(1, {}));
  REQUIRE_FALSE(first);
  CHECK(first.error().code == ec::unavailable);
  // Meanwhile that node is lost, so that the repeat is placed on the other.
  auto& best = nodes[order(nodes, wanted(), some_id)->front()];
  best.live = false;
  const auto second = schedule(slow, nodes, wanted(), place_for(1, {}));
  REQUIRE(second);
  CHECK(second->node != best.node.id);
  CHECK(slow.carry_out() == 0);
  CHECK(in.list("placements/")->size() == 1);
  CHECK(look_at_books(in) == "");
  // Or it arrives first, and is found.
  slow.hold = 3;
  best.live = true;
  REQUIRE_FALSE(schedule(slow, nodes, wanted(), place_for(2, {})));
  CHECK(slow.carry_out() == 1);
  const auto third = schedule(slow, nodes, wanted(), place_for(2, {}));
  REQUIRE(third);
  CHECK(in.list("placements/")->size() == 2);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a fleet that is taken faster than one can book is said to be") {
  faulty_store in;
  auto nodes = fleet(1, {8000, 8'000'000, 80'000});
  unsigned next = 10;
  hooked_store busy{in};
  busy.before_commit = [&] {
    REQUIRE(book(in, place_for(next++, "id-n0"), nodes[0].node.total));
  };
  const auto done = schedule(busy, nodes, wanted(), place_for(1, {}));
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ec::unavailable);
  CHECK(busy.commits < 1000);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("thirty who place 150 sandboxes by old views spread them evenly") {
  faulty_store in;
  const capacity total{100, 100 * 512, 100 * 5};
  test::reserved_history history{in};
  const auto failed = place_all(in, fleet(3, total), 30, 5);
  for (const auto& each : failed)
    CHECK(each.message == "");
  CHECK(in.list("placements/")->size() == 150);
  CHECK(look_at_books(in) == "");
  check_history(history, total, 150);
  for (const auto* id : {"id-n0", "id-n1", "id-n2"}) {
    const auto count = read_reserved(in, id)->what.sandboxes;
    CHECK(count >= 45);
    CHECK(count <= 55);
  }
}

TEST_CASE("thirty who want more than there is fill the nodes and not more") {
  faulty_store in;
  const capacity total{40, 40 * 512, 40 * 5};
  test::reserved_history history{in};
  const auto failed = place_all(in, fleet(3, total), 30, 5);
  CHECK(failed.size() == 30);
  for (const auto& each : failed) {
    CHECK(each.code == ec::no_capacity);
    CHECK(each.message
          == "no node has room: 3 have too little memory (asked for 512 MB, "
             "the most that is free is 0 MB), 3 have too few cpus (asked for "
             "1, the most that is free is 0), 3 have too little disk (asked "
             "for 5 GB, the most that is free is 0 GB)");
  }
  CHECK(in.list("placements/")->size() == 120);
  CHECK(look_at_books(in) == "");
  check_history(history, total, 120);
}

TEST_CASE("whatever comes and goes, no node has more than it can take") {
  const auto seed = test::seed();
  CAPTURE(seed);
  test::chance chance{seed};
  faulty_store in;
  std::vector<node_view> nodes;
  for (unsigned i = 0; i < 5; ++i)
    nodes.push_back(node("n" + std::to_string(i),
                         {2 + chance.below(7), 512 * (2 + chance.below(14)),
                          5 * (4 + chance.below(9))}));
  // Three entrypoints; one of them never hears of what the others do.
  std::vector<std::vector<node_view>> views(3, nodes);
  std::map<std::string, placement_record> placed;
  for (unsigned step = 0; step < 3000; ++step) {
    CAPTURE(step);
    if (chance.below(3) > 0 || placed.empty()) {
      const auto who = chance.below(3);
      if (who > 0)
        for (auto& each : views[who])
          each.reserved = read_reserved(in, each.node.id).value();
      if (chance.below(5) == 0)
        in.lose_answer(1 + chance.below(2));
      if (chance.below(10) == 0)
        in.fail_call(1 + chance.below(4));
      wish what;
      what.spec.cpus = 1 + chance.below(3);
      what.spec.memory_mb = 512 * (1 + chance.below(3));
      what.spec.disk_gb = 1 + chance.below(10);
      if (chance.below(10) == 0)
        what.node = nodes[chance.below(5)].node.name;
      const auto want = place_for(step, {});
      auto done = schedule(in, views[who], what, want, who);
      in.lose_answer(0);
      in.fail_call(0);
      if (!done && done.error().code == ec::unavailable)
        done = schedule(in, views[who], what, want, who);
      if (done)
        placed[done->sandbox] = *done;
      else
        REQUIRE(done.error().code == ec::no_capacity);
      // By a view that is right nothing is refused that fits.
      if (!done && who > 0 && what.node.empty())
        for (const auto& each : nodes)
          REQUIRE_FALSE(fits(each.node.total,
                             read_reserved(in, each.node.id)->what.used,
                             what.spec));
    } else {
      auto at = placed.begin();
      std::advance(at, chance.below(static_cast<unsigned>(placed.size())));
      REQUIRE(unbook(in, at->first, at->second.node));
      placed.erase(at);
    }
    REQUIRE(look_at_books(in) == "");
    REQUIRE(in.list("placements/")->size() == placed.size());
    for (const auto& each : nodes)
      REQUIRE(fits(each.node.total, {}, [&] {
        const auto used = read_reserved(in, each.node.id)->what.used;
        sandbox_spec all;
        all.cpus = used.cpus;
        all.memory_mb = used.memory_mb;
        all.disk_gb = used.disk_gb;
        return all;
      }()));
  }
}

TEST_CASE("the hint is about what stands in the way") {
  auto hint = [](const node_view& of, const wish& what) {
    return order({of}, what, some_id).error().hint;
  };
  auto what = wanted();
  auto one = booked(node("one"), {16, 0, 0});
  CHECK(hint(one, what).starts_with("destroy sandboxes"));
  one = node("one");
  one.cordoned = true;
  CHECK(hint(one, what).starts_with("caged node uncordon"));
  one.live = false;
  CHECK(hint(one, what).starts_with("caged node list"));
  one = node("one");
  what.require = {{"zone", "a"}};
  CHECK(hint(one, what).starts_with("ask for other labels"));
  what = wanted();
  what.spec.runtime = "firecracker";
  CHECK(hint(one, what).starts_with("caged node get shows"));
  CHECK(order({}, wanted(), some_id).error().hint
        == "add a node: caged-node join");
}

TEST_CASE("one node alone is judged by what is asked of a node") {
  auto here = node("one");
  here.node.labels = {{"zone", "a"}};
  auto what = wanted();
  CHECK(placeable(here, what));
  // Without a word about nodes room and runtime are the booking's to judge.
  what.spec.runtime = "qemu";
  what.spec.cpus = 17;
  CHECK(placeable(here, what));
  what = wanted();
  what.node = "one";
  what.require = {{"zone", "a"}};
  CHECK(placeable(here, what));
  what.require = {{"zone", "b"}};
  CHECK(placeable(here, what).error().message
        == "node \"one\" has no room: it lacks the label zone=b");
  what.node = "two";
  CHECK(placeable(here, what).error().code == ec::not_found);
  here.cordoned = true;
  here.cordoned_by = "key:a\nb";
  const auto no = placeable(here, wanted());
  CHECK(no.error().code == ec::no_capacity);
  CHECK(
      no.error().message
      == "node \"one\" is cordoned by key:a\\x0Ab: it takes no new sandboxes");
}
