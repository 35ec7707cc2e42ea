#include "actors/fleet_admin.hpp"

#include "tests/unit/actors/booking_support.hpp"

using namespace caged;
using test::faulty_store;
using test::hooked_store;
using test::listed;
using test::look_at_books;
using test::place_for;
using test::put_key;

namespace {

const capacity room{1000, 1'000'000, 10'000};

void add_node(store& in, const std::string& id, bool live) {
  node_record info;
  info.id = info.name = id;
  put_key(in, node_key(id, "info"), encode(info));
  if (live)
    put_key(in, node_key(id, "live"), "1");
}

void erase(store& in, const std::string& key) {
  REQUIRE(in.commit({}, {{operation::kind::erase, key, {}}}));
}

std::size_t records(store& in) {
  return listed(in, "").size();
}

} // namespace

TEST_CASE("a cordon says who wanted it, once, and keeps bookings away") {
  faulty_store in;
  add_node(in, "a", true);
  const auto first = set_cordon(in, "a", true, "uid:0");
  REQUIRE(first);
  CHECK(first->changed);
  CHECK(first->by == "uid:0");
  CHECK((*in.get("nodes/a/cordon"))->value == "uid:0");
  CHECK((*in.get("nodes/a/cordon"))->revision == first->revision);
  const auto again = set_cordon(in, "a", true, "key:bob");
  REQUIRE(again);
  CHECK_FALSE(again->changed);
  CHECK(again->by == "uid:0");
  CHECK(again->revision == first->revision);
  CHECK(book(in, place_for(1, "a"), room).error().code == ec::no_capacity);
  const auto off = set_cordon(in, "a", false, "key:bob");
  REQUIRE(off);
  CHECK(off->changed);
  CHECK(off->by.empty());
  CHECK_FALSE(in.get("nodes/a/cordon")->has_value());
  CHECK_FALSE(set_cordon(in, "a", false, "key:bob")->changed);
  CHECK(book(in, place_for(1, "a"), room));
}

TEST_CASE("a cordon of a node that goes meanwhile leaves nothing behind") {
  faulty_store in;
  add_node(in, "a", false);
  hooked_store hooked{in};
  hooked.before_commit = [&] {
    erase(in, "nodes/a/info");
    hooked.before_commit = nullptr;
  };
  CHECK(set_cordon(hooked, "a", true, "uid:0").error().code == ec::not_found);
  CHECK(records(in) == 0);
  in.away(true);
  CHECK(set_cordon(in, "a", true, "uid:0").error().code == ec::unavailable);
}

TEST_CASE("a cordon that another admin was faster with is theirs") {
  faulty_store in;
  add_node(in, "a", true);
  hooked_store hooked{in};
  hooked.before_commit = [&] {
    put_key(in, "nodes/a/cordon", "key:bob");
    hooked.before_commit = nullptr;
  };
  const auto done = set_cordon(hooked, "a", true, "uid:0");
  REQUIRE(done);
  CHECK_FALSE(done->changed);
  CHECK(done->by == "key:bob");
}

TEST_CASE("a node that is alive, or has sandboxes, is not forgotten") {
  faulty_store in;
  add_node(in, "a", true);
  const auto alive = forget_node(in, "a", "one", false, "uid:0");
  CHECK(alive.error().code == ec::wrong_state);
  CHECK(alive.error().message == "node \"one\" is alive");
  erase(in, "nodes/a/live");
  REQUIRE(book(in, place_for(1, "a", "web"), room));
  const auto full = forget_node(in, "a", "one", false, "uid:0");
  CHECK(full.error().code == ec::wrong_state);
  CHECK(full.error().message == "1 sandbox is placed on node \"one\"");
  REQUIRE(book(in, place_for(2, "a"), room));
  CHECK(forget_node(in, "a", "one", false, "uid:0").error().message
        == "2 sandboxes are placed on node \"one\"");
  CHECK(look_at_books(in) == "");
  CHECK(forget_node(in, "b", "two", false, "uid:0").error().code
        == ec::not_found);
}

TEST_CASE("a node without sandboxes is forgotten with all its records") {
  faulty_store in;
  add_node(in, "a", false);
  add_node(in, "ab", true);
  REQUIRE(book(in, place_for(1, "a"), room));
  REQUIRE(unbook(in, place_for(1, "a").sandbox, "a"));
  REQUIRE(set_cordon(in, "a", true, "uid:0"));
  const auto done = forget_node(in, "a", "one", false, "uid:0");
  REQUIRE(done);
  CHECK(done->sandboxes == 0);
  CHECK(done->keys
        == std::vector<std::string>{"nodes/a/cordon", "nodes/a/info",
                                    "nodes/a/reserved"});
  CHECK(listed(in, "nodes/a/").empty());
  CHECK(listed(in, "nodes/ab/").size() == 2);
  CHECK(forget_node(in, "a", "one", false, "uid:0").error().code
        == ec::not_found);
}

TEST_CASE("by force a node goes with its sandboxes, and nobody else's") {
  faulty_store in;
  add_node(in, "a", false);
  add_node(in, "b", true);
  constexpr unsigned many = 100; // more than one commit takes
  for (unsigned i = 1; i <= many; ++i)
    REQUIRE(book(in, place_for(i, "a", "web-" + std::to_string(i)), room));
  REQUIRE(book(in, place_for(many + 1, "b", "other"), room));
  // Taken over by another meanwhile, as after a commit that came late.
  put_key(in, "names/uid:1000/web-7", place_for(many + 1, "b").sandbox);
  const auto done = forget_node(in, "a", "one", true, "uid:0");
  REQUIRE(done);
  CHECK(done->sandboxes == many);
  CHECK(listed(in, "nodes/a/").empty());
  CHECK(listed(in, "placements/").size() == 1);
  CHECK(listed(in, "names/").size() == 2);
  CHECK(listed(in, "requests/").size() == 1);
  CHECK(done->keys.size() == many + (many - 1) + many + 2);
}

TEST_CASE("what happens between looking and forgetting is noticed") {
  faulty_store in;
  add_node(in, "a", false);
  REQUIRE(book(in, place_for(1, "a"), room));
  hooked_store hooked{in};
  // It comes back: nothing of it is erased.
  REQUIRE(unbook(in, place_for(1, "a").sandbox, "a"));
  hooked.before_commit = [&] { put_key(in, "nodes/a/live", "1"); };
  CHECK(forget_node(hooked, "a", "one", false, "uid:0").error().code
        == ec::wrong_state);
  CHECK(listed(in, "nodes/a/info").size() == 1);
  CHECK(listed(in, "removed/").empty());
  erase(in, "nodes/a/live");
  // A booking is made behind the look at the placements.
  hooked.before_commit = [&] {
    REQUIRE(book(in, place_for(2, "a"), room));
    hooked.before_commit = nullptr;
  };
  CHECK(forget_node(hooked, "a", "one", false, "uid:0").error().message
        == "1 sandbox is placed on node \"one\"");
  CHECK(look_at_books(in) == "");
}

TEST_CASE("by force a node goes though it is alive, and is said to be gone") {
  faulty_store in;
  add_node(in, "a", true);
  REQUIRE(book(in, place_for(1, "a"), room));
  hooked_store hooked{in};
  // It books one more in between.
  hooked.before_commit = [&] {
    hooked.before_commit = nullptr;
    REQUIRE(book(in, place_for(2, "a"), room));
  };
  const auto done = forget_node(hooked, "a", "one", true, "key:bob");
  REQUIRE(done);
  CHECK(done->sandboxes == 2);
  CHECK(listed(in, "nodes/a/").empty());
  CHECK(listed(in, "placements/").empty());
  const auto by = in.get(removed_key("a"));
  REQUIRE(by);
  REQUIRE(*by);
  CHECK((*by)->value == "key:bob");
}

TEST_CASE("a node that was half forgotten is forgotten by the next try") {
  faulty_store in;
  add_node(in, "a", false);
  for (unsigned i = 1; i <= 50; ++i)
    REQUIRE(book(in, place_for(i, "a"), room));
  hooked_store hooked{in};
  hooked.before_commit = [&] {
    if (hooked.commits == 2)
      in.away(true);
  };
  CHECK(forget_node(hooked, "a", "one", true, "uid:0").error().code
        == ec::unavailable);
  in.away(false);
  hooked.before_commit = nullptr;
  const auto left = listed(in, "placements/").size();
  CHECK(left > 0);
  CHECK(left < 50);
  CHECK(forget_node(hooked, "a", "one", true, "uid:0")->sandboxes == left);
  CHECK(records(in) == listed(in, "removed/").size());
}
