#include "actors/histories.hpp"

#include <catch2/catch.hpp>

#include "actors/fleet_records.hpp"
#include "tests/support/faulty_store.hpp"

using namespace caged;
using test::faulty_store;

namespace {

constexpr std::int64_t now = 1'796'000'000'000;

std::string id_of(unsigned number) {
  const auto digits = std::to_string(number);
  return "cage-" + std::string(8 - digits.size(), '0') + digits;
}

history_record of(unsigned number, const std::string& node, phase state,
                  std::int64_t changed_ms = now, const std::string& name = {}) {
  history_record out;
  out.sandbox = id_of(number);
  out.node = node;
  out.node_name = "name of " + node;
  out.owner = "key:alice";
  out.name = name;
  out.template_name = "minimal";
  out.runtime = "oci";
  out.state = state;
  out.created_ms = number;
  out.changed_ms = changed_ms;
  out.causes = {{changed_ms, phase::running, state, "uid:0", "because"}};
  return out;
}

void add_node(faulty_store& in, const std::string& id, bool live = true) {
  std::vector<operation> said = {
      {operation::kind::put, node_key(id, "info"), encode(node_record{})}};
  if (live)
    said.push_back({operation::kind::put, node_key(id, "live"), ""});
  REQUIRE(in.commit({}, said));
}

void put_key(faulty_store& in, const std::string& key,
             const std::string& value) {
  REQUIRE(in.commit({}, {{operation::kind::put, key, value}}));
}

std::size_t count(faulty_store& in, const std::string& prefix) {
  return in.list(prefix).value().size();
}

std::string found(faulty_store& in, const std::string& reference,
                  const std::string& owner = "key:alice", bool all = false) {
  const auto got = find_history(in, reference, owner, all);
  REQUIRE(got);
  return *got ? (*got)->sandbox : std::string{};
}

} // namespace

TEST_CASE("copies are found by who may see them, by id and by last name") {
  faulty_store in;
  REQUIRE(write_histories(in, {of(1, "a", phase::destroyed, now, "web"),
                               of(2, "a", phase::destroyed, now, "web"),
                               of(3, "a", phase::running, now, "db")}));
  CHECK(found(in, id_of(1)) == id_of(1));
  CHECK(found(in, "web") == id_of(2));
  // A name is a live one's by its placement.
  CHECK(found(in, "db").empty());
  CHECK(found(in, id_of(3)) == id_of(3));
  CHECK(found(in, id_of(4)).empty());
  CHECK(found(in, "no such name!").empty());
  for (const auto& each : {id_of(1), std::string{"web"}}) {
    CHECK(found(in, each, "key:bob").empty());
    CHECK_FALSE(found(in, each, "key:bob", true).empty());
  }
  // An older one that is written later does not take the name back.
  REQUIRE(write_histories(in, {of(1, "a", phase::destroyed, now, "web")}));
  CHECK(found(in, "web") == id_of(2));
  put_key(in, history_key(id_of(2)), "{}");
  CHECK(found(in, id_of(2)).empty());
  CHECK(found(in, "web").empty());
}

TEST_CASE("a commit of the longest histories is within etcd's limits") {
  faulty_store in;
  std::vector<history_record> all;
  for (unsigned i = 0; i < histories_a_commit; ++i) {
    auto one = of(i, "a", phase::destroyed, now, "name" + std::to_string(i));
    for (int cause = 0; cause < 500; ++cause)
      one.causes.push_back({now, phase::running, phase::running, "agent",
                            std::string(500, 'x')});
    all.push_back(std::move(one));
  }
  REQUIRE(write_histories(in, all));
  std::size_t bytes = 0;
  const auto kept = in.list("history/").value();
  for (const auto& each : kept) {
    CHECK(each.value.size() <= history_bytes_most);
    bytes += each.value.size();
  }
  CHECK(bytes < 1'000'000); // of etcd's 1.5 MB (--max-request-bytes)
  CHECK(2 * histories_a_commit <= store::most_operations);
}

TEST_CASE("a node sweeps what has been over for seven days, and its name") {
  faulty_store in;
  add_node(in, "a", false); // its lease may be late: its own are its own
  add_node(in, "b");
  const auto old = now - history_kept_ms;
  REQUIRE(write_histories(in, {of(1, "a", phase::destroyed, old - 1, "web"),
                               of(2, "a", phase::destroyed, old, "db"),
                               of(3, "a", phase::running, old - 1),
                               of(4, "b", phase::destroyed, old - 1)}));
  const auto done = sweep_histories(in, "a", now);
  REQUIRE(done);
  CHECK(done->erased == 1);
  CHECK(done->own
        == std::map<std::string, std::pair<phase, std::int64_t>>{
            {id_of(2), {phase::destroyed, old}},
            {id_of(3), {phase::running, old - 1}}});
  CHECK(found(in, id_of(1)).empty());
  CHECK(found(in, "web").empty());
  CHECK(found(in, "db") == id_of(2));
  CHECK(count(in, "past/") == 1);
  CHECK(count(in, "history/") == 3); // the other node's stays
}

TEST_CASE("a node keeps so many copies of what is over, the newest") {
  faulty_store in;
  add_node(in, "a");
  const auto most = static_cast<unsigned>(limits::history_most);
  for (unsigned i = 0; i < most + 5; ++i)
    put_key(in, history_key(id_of(i)),
            encode(of(i, "a", phase::destroyed, now + i)));
  put_key(in, history_key(id_of(most + 9)),
          encode(of(most + 9, "a", phase::running, now - 1)));
  const auto done = sweep_histories(in, "a", now + most);
  REQUIRE(done);
  CHECK(done->erased == 5);
  CHECK(done->own.size() == most + 1);
  CHECK(found(in, id_of(4)).empty());
  CHECK_FALSE(found(in, id_of(5)).empty());
}

TEST_CASE("copies of a node that is no more are swept by the first live one") {
  faulty_store in;
  add_node(in, "a", false); // silent: it comes back, and does it
  add_node(in, "b");
  add_node(in, "c");
  const auto old = now - history_kept_ms - 1;
  REQUIRE(write_histories(in, {of(1, "a", phase::destroyed, old),
                               of(2, "gone", phase::destroyed, old, "web"),
                               of(3, "gone", phase::running, old, "db"),
                               of(4, "gone", phase::destroyed, now)}));
  REQUIRE(sweep_histories(in, "c", now));
  CHECK(count(in, "history/") == 4);
  const auto done = sweep_histories(in, "b", now);
  REQUIRE(done);
  CHECK(done->erased == 1);
  CHECK(found(in, id_of(2)).empty());
  CHECK(found(in, "web").empty());
  const auto lost = read_history(in, id_of(3));
  REQUIRE(lost);
  REQUIRE(*lost);
  CHECK((*lost)->state == phase::lost);
  CHECK((*lost)->causes.back().text
        == "node name of gone is not in the fleet any more");
  CHECK((*lost)->causes.back().from == phase::running);
  CHECK(found(in, "db") == id_of(3));
  // From then on it has its seven days.
  REQUIRE(sweep_histories(in, "b", now + history_kept_ms));
  CHECK(found(in, id_of(3)) == id_of(3));
  REQUIRE(sweep_histories(in, "b", now + history_kept_ms + 1));
  CHECK(found(in, id_of(3)).empty());
  CHECK(count(in, "past/") == 0);
}

TEST_CASE("what a removed node had is lost, with who removed it") {
  faulty_store in;
  REQUIRE(write_histories(in, {of(1, "a", phase::destroyed),
                               of(2, "a", phase::paused),
                               of(3, "b", phase::running)}));
  const cause why{now + 5, phase::lost, phase::lost, "key:root", "removed"};
  for (int twice = 0; twice < 2; ++twice) {
    REQUIRE(mark_lost(in, "a", why));
    const auto lost = read_history(in, id_of(2));
    REQUIRE((lost && *lost));
    CHECK((*lost)->causes.size() == 2);
    CHECK((*lost)->causes.back().from == phase::paused);
    CHECK((*lost)->causes.back().who == "key:root");
    CHECK((*lost)->changed_ms == now + 5);
    CHECK(read_history(in, id_of(1)).value()->state == phase::destroyed);
    CHECK(read_history(in, id_of(3)).value()->state == phase::running);
  }
}

TEST_CASE("copies that cannot be read are passed over and counted") {
  faulty_store in;
  add_node(in, "a");
  put_key(in, history_key(id_of(1)), "{");
  put_key(in, history_key(id_of(2)), std::string(100'000, ' '));
  put_key(in, "history/elsewhere", encode(of(3, "a", phase::running)));
  put_key(in, past_key("uid:0", "web"), "cage-00000001");
  REQUIRE(write_histories(in, {of(4, "a", phase::destroyed, now)}));
  const auto done = sweep_histories(in, "a", now);
  REQUIRE(done);
  CHECK(done->unreadable == 4);
  CHECK(done->own.size() == 1);
  CHECK(count(in, "history/") == 4);
  CHECK(found(in, id_of(1), "uid:0", true).empty());
  CHECK(found(in, "web", "uid:0", true).empty());
  // A later one takes the name for all that.
  auto later = of(5, "a", phase::destroyed, now, "web");
  later.owner = "uid:0";
  REQUIRE(write_histories(in, {later}));
  CHECK(found(in, "web", "uid:0") == id_of(5));
}

TEST_CASE("what has changed since it was read is not erased with the rest") {
  faulty_store in;
  for (int i = 0; i < 300; ++i)
    put_key(in, "k/" + std::to_string(i), "x");
  const auto all = in.list("k/").value();
  put_key(in, "k/7", "y");
  put_key(in, "k/250", "y");
  REQUIRE(erase_unchanged(in, all));
  CHECK(count(in, "k/") == 2);
  REQUIRE(erase_unchanged(in, {}));
  in.away(true);
  CHECK(erase_unchanged(in, all).error().code == ec::unavailable);
}
