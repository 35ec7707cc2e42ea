#include "actors/booking.hpp"

#include <latch>
#include <set>
#include <thread>

#include "tests/support/chance.hpp"
#include "tests/unit/actors/booking_support.hpp"

using namespace caged;
using test::faulty_store;
using test::hooked_store;
using test::look_at_books;
using test::place_for;
using test::put_key;
using test::small;

namespace {

const capacity for_two{2, 1024, 10};
const capacity for_many{1000, 1'000'000, 10'000};

std::size_t placements(store& in) {
  return in.list("placements/")->size();
}

reserved_record reserved(store& in, const char* node) {
  return read_reserved(in, node).value().what;
}

} // namespace

TEST_CASE("a booking is one commit of placement, name and reservation") {
  faulty_store in;
  const auto what = place_for(1, "a", "web");
  REQUIRE(book(in, what, for_two));
  const auto placed = in.get("placements/cage-00000001");
  REQUIRE(placed->has_value());
  CHECK(decode_placement(what.sandbox, (*placed)->value) == what);
  const auto name = in.get("names/uid:1000/web");
  CHECK((*name)->value == what.sandbox);
  CHECK((*name)->revision == (*placed)->revision);
  const auto seen = read_reserved(in, "a");
  CHECK(seen->what == reserved_record{small, 1});
  CHECK(seen->revision == (*placed)->revision);
  REQUIRE(book(in, place_for(2, "a"), for_two));
  CHECK(reserved(in, "a") == reserved_record{for_two, 2});
  CHECK(look_at_books(in) == "");
}

TEST_CASE("who has the right view books with one call") {
  faulty_store in;
  reserved_view seen;
  const auto before = in.calls();
  REQUIRE(book_once(in, place_for(1, "a"), for_two, seen).value());
  REQUIRE(book_once(in, place_for(2, "a"), for_two, seen).value());
  CHECK(in.calls() - before == 2);
  CHECK(seen.what == reserved_record{for_two, 2});
}

TEST_CASE("an old view is told so, and is as in the store then") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a"), for_many));
  reserved_view seen;
  CHECK_FALSE(book_once(in, place_for(2, "a"), for_many, seen).value());
  CHECK(seen.what == reserved_record{small, 1});
  CHECK(book_once(in, place_for(2, "a"), for_many, seen).value());
}

TEST_CASE("what was booked is booked again without a change") {
  faulty_store in;
  const auto what = place_for(1, "a", "web");
  REQUIRE(book(in, what, small));
  const auto revision = read_reserved(in, "a")->revision;
  // The node is full of it, and cordoned since.
  put_key(in, "nodes/a/cordon", "uid:0");
  REQUIRE(book(in, what, small));
  REQUIRE(book(in, what, for_two));
  CHECK(read_reserved(in, "a")->revision == revision);
  CHECK(placements(in) == 1);
}

TEST_CASE("a full node refuses with what is short, and nothing is changed") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a"), for_two));
  auto large = place_for(2, "a", "web");
  large.takes = {1, 1024, 50};
  const auto done = book(in, large, for_two);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ec::no_capacity);
  CHECK(done.error().message
        == "the node is full: 1024 MB of memory asked, 512 of 1024 free, 50 GB "
           "of disk asked, 5 of 10 free");
  CHECK(placements(in) == 1);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a cordoned node takes no booking, even when it becomes so late") {
  faulty_store in;
  hooked_store late{in};
  late.before_commit = [&] { put_key(in, "nodes/a/cordon", "uid:0"); };
  const auto done = book(late, place_for(1, "a"), for_two);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ec::no_capacity);
  CHECK(done.error().message
        == "node \"a\" is cordoned: it takes no new sandboxes");
  CHECK(placements(in) == 0);
  CHECK(book(in, place_for(1, "b"), for_two));
}

TEST_CASE("a name in use is refused with who has it") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a", "web"), for_many));
  // On this node or another.
  for (const auto* node : {"a", "b"}) {
    const auto done = book(in, place_for(2, node, "web"), for_many);
    REQUIRE_FALSE(done);
    CHECK(done.error().code == ec::conflict);
    CHECK(done.error().message
          == "the name \"web\" is in use by cage-00000001");
    CHECK(done.error().hint
          == "choose another name, or destroy it: caged destroy web");
  }
  auto of_another = place_for(3, "a", "web");
  of_another.owner = "uid:1001";
  CHECK(book(in, of_another, for_many));
  CHECK(placements(in) == 2);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("an id that another request has is refused") {
  faulty_store in;
  const auto first = place_for(1, "a");
  REQUIRE(book(in, first, for_many));
  auto other_request = first, other_body = first, other_node = first;
  other_request.request_id = "another";
  other_body.digest = 7;
  other_node.node = "b";
  for (const auto& each : {other_request, other_body, other_node}) {
    const auto done = book(in, each, for_many);
    REQUIRE_FALSE(done);
    CHECK(done.error().code == ec::conflict);
    CHECK(done.error().message == "the id cage-00000001 is in use");
  }
  CHECK(look_at_books(in) == "");
}

TEST_CASE("of ten who race for the last place one gets it, nine are told") {
  for (int round = 0; round < 20; ++round) {
    faulty_store in;
    REQUIRE(book(in, place_for(99, "a"), for_two));
    std::latch start{10};
    std::vector<result<void>> done(10);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 10; ++i)
      threads.emplace_back([&, i] {
        start.arrive_and_wait();
        done[i] = book(in, place_for(i, "a"), for_two);
      });
    for (auto& each : threads)
      each.join();
    int won = 0;
    for (const auto& each : done) {
      if (each) {
        ++won;
        continue;
      }
      CHECK(each.error().code == ec::no_capacity);
      CHECK(each.error().message
            == "the node is full: 1 cpus asked, 0 of 2 free, 512 MB of memory "
               "asked, 0 of 1024 free, 5 GB of disk asked, 0 of 10 free");
    }
    CHECK(won == 1);
    CHECK(placements(in) == 2);
    CHECK(look_at_books(in) == "");
  }
}

TEST_CASE("races are lost a bounded number of times") {
  faulty_store in;
  unsigned next = 100;
  hooked_store busy{in};
  busy.before_commit = [&] {
    REQUIRE(book(in, place_for(next++, "a"), for_many));
  };
  auto tired = [&](const result<void>& done) {
    REQUIRE_FALSE(done);
    CHECK(done.error().code == ec::unavailable);
    CHECK(done.error().message
          == "what is booked on node \"a\" changes faster than it can be read");
    CHECK(busy.commits < 200);
    busy.commits = 0;
  };
  tired(book(busy, place_for(1, "a"), for_many));
  CHECK_FALSE(in.get("placements/cage-00000001")->has_value());
  REQUIRE(book(in, place_for(1, "a"), for_many));
  tired(unbook(busy, "cage-00000001", "a"));
  tired(rebook(busy, "cage-00000001", {0, 0, 5}));
  put_key(in, "nodes/a/reserved", "{}");
  busy.before_commit = [&] { put_key(in, "nodes/a/reserved", "{}"); };
  tired(recount(busy, "a").map([](const auto&) {}));
  CHECK(recount(in, "a"));
  CHECK(look_at_books(in) == "");
  // A few are nothing.
  int others = 5;
  busy.before_commit = [&] {
    if (others-- > 0)
      REQUIRE(book(in, place_for(next++, "a"), for_many));
  };
  CHECK(book(busy, place_for(2, "a"), for_many));
  CHECK(look_at_books(in) == "");
}

TEST_CASE(
    "unbooking gives everything back, and is done when there is nothing") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a", "web"), for_two));
  REQUIRE(book(in, place_for(2, "a", "db"), for_two));
  for (int time = 0; time < 2; ++time) {
    REQUIRE(unbook(in, "cage-00000001", "a"));
    CHECK(reserved(in, "a") == reserved_record{small, 1});
    CHECK_FALSE(in.get("names/uid:1000/web")->has_value());
    CHECK(look_at_books(in) == "");
  }
  CHECK(book(in, place_for(3, "a", "web"), for_two));
}

TEST_CASE("a request whose sandbox is destroyed makes no other for a while") {
  faulty_store in;
  const auto first = place_for(1, "a");
  REQUIRE(book(in, first, small));
  const gone_request kept{first.sandbox, "a", "one", 0, "it was freed", 5};
  for (int twice = 0; twice < 2; ++twice)
    REQUIRE(unbook(in, first.sandbox, "a", &kept));
  CHECK(look_at_books(in) == "");
  auto again = place_for(2, "b");
  again.request_id = first.request_id;
  again.digest = first.digest;
  CHECK(find_gone_request(in, first.owner, first.request_id).value()->digest
        == first.digest);
  CHECK_FALSE(find_request(in, first.owner, first.request_id).value());
  const auto why = book(in, again, small).error();
  CHECK(why.code == ec::wrong_state);
  CHECK(why.message
        == first.sandbox
               + " was made by this request and is destroyed: it was freed");
  again.digest = 77;
  CHECK(book(in, again, small).error().code == ec::conflict);
  CHECK(look_at_books(in) == "");
  // Another owner's request of that id is another.
  again.owner = "uid:7";
  CHECK(book(in, again, small));
  CHECK_FALSE(find_gone_request(in, "uid:7", first.request_id).value());
}

TEST_CASE("a name that is another's stays when a sandbox is unbooked") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a", "web"), for_two));
  put_key(in, "names/uid:1000/web", "cage-00000002");
  REQUIRE(unbook(in, "cage-00000001", "a"));
  CHECK((*in.get("names/uid:1000/web"))->value == "cage-00000002");
  CHECK(placements(in) == 0);
}

TEST_CASE("a node does not unbook what is another's by now") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "b"), for_two));
  const auto done = unbook(in, "cage-00000001", "a");
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ec::conflict);
  CHECK(done.error().message
        == "cage-00000001 is placed on node \"b\", not on \"a\"");
  CHECK(placements(in) == 1);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a failed sandbox keeps its disk and frees the rest of its node") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a", "web"), small));
  for (int time = 0; time < 2; ++time) {
    REQUIRE(rebook(in, "cage-00000001", {0, 0, 5}));
    CHECK(reserved(in, "a") == reserved_record{{0, 0, 5}, 1});
    CHECK(look_at_books(in) == "");
  }
  const auto more = rebook(in, "cage-00000001", small);
  REQUIRE_FALSE(more);
  CHECK(more.error().code == ec::bad_request);
  auto beside = place_for(2, "a");
  beside.takes.disk_gb = 0;
  CHECK(book(in, beside, small));
  REQUIRE(unbook(in, "cage-00000001", "a"));
  CHECK(reserved(in, "a") == reserved_record{{1, 512, 0}, 1});
  CHECK(look_at_books(in) == "");
  CHECK(rebook(in, "cage-00000001", {}).error().code == ec::not_found);
}

TEST_CASE("an answer that is lost changes nothing of what is said or done") {
  int commits = 0;
  for (std::int64_t lost = 0; lost <= 6; ++lost) {
    CAPTURE(lost);
    faulty_store in;
    hooked_store counted{in};
    put_key(in, "nodes/b/reserved", encode(reserved_record{for_many, 9}));
    if (lost > 0)
      in.lose_answer(lost);
    CHECK(book(counted, place_for(1, "a", "web"), for_two));
    CHECK(book(counted, place_for(2, "a", "db"), for_two));
    CHECK(rebook(counted, "cage-00000001", {0, 0, 5}));
    CHECK(unbook(counted, "cage-00000002", "a"));
    const auto counts = recount(counted, "b");
    REQUIRE(counts);
    CHECK(counts->changed);
    CHECK(book(counted, place_for(3, "b", "db"), small));
    CHECK(look_at_books(in) == "");
    CHECK(placements(in) == 2);
    if (lost == 0)
      commits = counted.commits;
  }
  CHECK(commits == 6); // each of them had its answer lost
}

TEST_CASE("a lost answer is found by reading the placement") {
  faulty_store in;
  hooked_store counted{in};
  reserved_view seen;
  in.lose_answer(1);
  CHECK(book_once(counted, place_for(1, "a", "web"), for_two, seen).value());
  CHECK(counted.commits == 1);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a commit that arrives late, beside its repeats, is done once") {
  for (int held = 1; held <= 3; ++held) {
    CAPTURE(held);
    faulty_store in;
    hooked_store slow{in};
    REQUIRE(book(in, place_for(2, "a", "db"), for_many));
    const auto what = place_for(1, "a", "web");
    auto again = [&](auto call) {
      slow.hold = held;
      const auto first = call();
      CHECK(first.has_value() == (held < 3));
      // Nobody else came between: of all copies one is done, here or there.
      CHECK(slow.carry_out() == (held < 3 ? 0 : 1));
      CHECK(call());
      CHECK(look_at_books(in) == "");
    };
    again([&] { return book(slow, what, for_many); });
    again([&] { return rebook(slow, what.sandbox, {0, 0, 5}); });
    again([&] { return unbook(slow, what.sandbox, "a"); });
    put_key(in, "nodes/a/reserved", "{}");
    again([&] { return recount(slow, "a"); });
    // In the middle of a repeat.
    slow.hold = 1;
    slow.before_commit = [&] { slow.carry_out(); };
    CHECK(book(slow, what, for_many));
    CHECK(reserved(in, "a").sandboxes == 2);
    CHECK(look_at_books(in) == "");
  }
}

TEST_CASE("a call that fails is safe to repeat, whichever it is") {
  for (std::int64_t failing = 1; failing <= 30; ++failing) {
    CAPTURE(failing);
    faulty_store in;
    put_key(in, "nodes/b/reserved", encode(reserved_record{for_many, 9}));
    // Until it is done, and once more: the failure may be in either.
    auto twice = [&](auto call) {
      for (int time = 0; time < 2; ++time) {
        const auto first = call();
        if (!first) {
          CHECK(first.error().code == ec::unavailable);
          CHECK(call());
        }
      }
    };
    in.fail_call(failing);
    twice([&] { return book(in, place_for(1, "a", "web"), for_two); });
    twice([&] { return book(in, place_for(2, "a", "db"), for_two); });
    twice([&] { return rebook(in, "cage-00000001", {0, 0, 5}); });
    twice([&] { return unbook(in, "cage-00000002", "a"); });
    twice([&] { return recount(in, "b"); });
    in.fail_call(0);
    CHECK(reserved(in, "a") == reserved_record{{0, 0, 5}, 1});
    CHECK(look_at_books(in) == "");
  }
}

TEST_CASE("a store that is away is said to be, after a few tries") {
  faulty_store in;
  REQUIRE(book(in, place_for(1, "a"), for_two));
  hooked_store counted{in};
  // It goes when the first commit arrives.
  counted.before_commit = [&] { in.away(true); };
  const auto calls = in.calls();
  CHECK(book(counted, place_for(2, "a"), for_two).error().code
        == ec::unavailable);
  in.away(false);
  CHECK(unbook(counted, "cage-00000001", "a").error().code == ec::unavailable);
  in.away(false);
  CHECK(rebook(counted, "cage-00000001", {}).error().code == ec::unavailable);
  in.away(false);
  put_key(in, "nodes/a/reserved", "{}");
  CHECK(recount(counted, "a").error().code == ec::unavailable);
  CHECK(in.calls() - calls < 20);
  in.away(false);
  REQUIRE(recount(in, "a"));
  CHECK(look_at_books(in) == "");
}

TEST_CASE("a reservation is counted from its placements, right or not") {
  faulty_store in;
  CHECK_FALSE(recount(in, "a")->changed); // nothing there
  REQUIRE(book(in, place_for(1, "a"), for_many));
  REQUIRE(book(in, place_for(2, "a"), for_many));
  REQUIRE(book(in, place_for(3, "b"), for_many));
  const auto right = read_reserved(in, "a");
  CHECK_FALSE(recount(in, "a")->changed);
  CHECK(read_reserved(in, "a")->revision == right->revision);
  for (const auto& wrong :
       {encode(reserved_record{small, 1}), std::string{"no record"}}) {
    put_key(in, "nodes/a/reserved", wrong);
    const auto done = recount(in, "a");
    REQUIRE(done);
    CHECK(done->changed);
    CHECK(done->reserved == right->what);
    CHECK(look_at_books(in) == "");
  }
  // What an earlier version wrote counts for nobody, and is named.
  put_key(in, "placements/cage-00000009", "a");
  const auto done = recount(in, "a");
  REQUIRE(done);
  CHECK_FALSE(done->changed);
  CHECK(done->unreadable
        == std::vector<std::string>{"placements/cage-00000009"});
}

TEST_CASE("a booking in the middle of a recount is counted") {
  faulty_store in;
  hooked_store late{in};
  REQUIRE(book(in, place_for(1, "a"), for_many));
  unsigned next = 2;
  late.before_list = [&] {
    if (next == 2)
      REQUIRE(book(in, place_for(next++, "a"), for_many));
  };
  CHECK(recount(late, "a")->reserved.sandboxes == 2);
  CHECK(look_at_books(in) == "");
  // One too many, then a booking: the old sum is right by chance.
  put_key(in, "nodes/a/reserved", encode({{3, 1536, 15}, 3}));
  next = 2;
  late.before_list = [&] {
    if (next++ == 2)
      REQUIRE(book(in, place_for(3, "a"), for_many));
  };
  const auto done = recount(late, "a");
  REQUIRE(done);
  CHECK(done->changed);
  CHECK(done->reserved.sandboxes == 3);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("recounts and bookings at once lose no booking") {
  faulty_store in;
  put_key(in, "nodes/a/reserved", encode(reserved_record{{7, 7, 7}, 7}));
  std::latch start{5};
  std::atomic<int> at_work{4};
  std::atomic<int> failed{0};
  // Whoever lost too many races goes on, as their callers do.
  auto persist = [&](auto call) {
    auto done = call();
    while (!done && done.error().code == ec::unavailable)
      done = call();
    if (!done)
      ++failed;
  };
  std::vector<std::thread> threads;
  for (unsigned who = 0; who < 4; ++who)
    threads.emplace_back([&, who] {
      start.arrive_and_wait();
      for (unsigned i = 0; i < 50; ++i) {
        const auto what = place_for(who * 100 + i, "a");
        persist([&] { return book(in, what, for_many); });
        if (i % 3 == 0)
          persist([&] { return unbook(in, what.sandbox, "a"); });
        if (i % 3 == 1)
          persist([&] { return rebook(in, what.sandbox, {0, 0, 5}); });
      }
      --at_work;
    });
  threads.emplace_back([&] {
    start.arrive_and_wait();
    while (at_work > 0)
      persist([&] { return recount(in, "a"); });
    persist([&] { return recount(in, "a"); });
  });
  for (auto& each : threads)
    each.join();
  CHECK(failed == 0);
  CHECK(placements(in) == 4 * 33);
  CHECK(reserved(in, "a").sandboxes == 4 * 33);
  CHECK(look_at_books(in) == "");
}

TEST_CASE("whatever is done in whatever order, and lost, the books add up") {
  const auto seed = test::seed();
  CAPTURE(seed);
  test::chance chance{seed};
  faulty_store in;
  const capacity total{6, 4096, 30};
  const std::vector<std::string> nodes = {"a", "b", "c"};
  std::map<std::string, placement_record> model;
  std::set<std::string> in_doubt;
  unsigned next = 1;
  for (int step = 0; step < 3000; ++step) {
    CAPTURE(step);
    if (chance.below(4) == 0)
      in.lose_answer(1 + chance.below(3));
    if (chance.below(8) == 0)
      in.fail_call(1 + chance.below(5));
    const auto node = nodes[chance.below(3)];
    auto some = [&] {
      auto at = model.begin();
      std::advance(at, chance.below(static_cast<unsigned>(model.size())));
      return at;
    };
    switch (model.empty() ? 0 : chance.below(5)) {
    case 0:
    case 1: {
      auto what = place_for(next++, node);
      if (chance.below(2) == 0)
        what.name = "n" + std::to_string(chance.below(12));
      what.takes = {1 + chance.below(2), 128 * (1 + chance.below(8)),
                    1 + chance.below(5)};
      const bool used =
          std::any_of(model.begin(), model.end(), [&](const auto& each) {
            return !what.name.empty() && each.second.name == what.name;
          });
      const auto done = book(in, what, total);
      if (done)
        CHECK_FALSE(used);
      else if (done.error().code == ec::conflict)
        CHECK(used);
      if (done)
        model[what.sandbox] = what;
      else if (done.error().code == ec::unavailable)
        in_doubt.insert(what.sandbox);
      break;
    }
    case 2: {
      const auto at = some();
      const auto done = unbook(in, at->first, at->second.node);
      if (done)
        model.erase(at);
      else
        CHECK(done.error().code == ec::unavailable);
      if (!done)
        in_doubt.insert(at->first);
      break;
    }
    case 3: {
      const auto at = some();
      const capacity less{0, 0, at->second.takes.disk_gb};
      const auto done = rebook(in, at->first, less);
      if (done)
        at->second.takes = less;
      else
        CHECK(done.error().code == ec::unavailable);
      if (!done)
        in_doubt.insert(at->first);
      break;
    }
    case 4: {
      const bool broken = chance.below(2) == 0;
      in.fail_call(0);
      in.lose_answer(0);
      if (broken)
        put_key(in, node_key(node, "reserved"),
                encode({{chance.below(9), chance.below(9), 0}, 1}));
      if (chance.below(2) == 0)
        in.lose_answer(1);
      CHECK(recount(in, node));
      break;
    }
    }
    in.fail_call(0);
    in.lose_answer(0);
    // Who was left in doubt reads.
    for (const auto& id : in_doubt) {
      const auto there = in.get(placement_key(id));
      if (*there)
        model[id] = decode_placement(id, (*there)->value).value();
      else
        model.erase(id);
    }
    in_doubt.clear();
    REQUIRE(look_at_books(in) == "");
    REQUIRE(placements(in) == model.size());
    for (const auto& each : nodes) {
      const auto used = reserved(in, each.c_str()).used;
      REQUIRE(used.cpus <= total.cpus);
      REQUIRE(used.memory_mb <= total.memory_mb);
      REQUIRE(used.disk_gb <= total.disk_gb);
    }
  }
  for (const auto& [id, what] : model)
    CHECK(decode_placement(id, (*in.get(placement_key(id)))->value) == what);
}
