#include "nodes/membership.hpp"

#include <atomic>

#include "tests/support/faulty_store.hpp"
#include "tests/support/process.hpp"
#include "tests/unit/nodes/store_contract.hpp"

using namespace caged;
using namespace std::chrono_literals;
using test::eventually;
using test::faulty_store;
using test::patient;

namespace {

node_record self() {
  node_record out;
  out.id = "node-1";
  out.name = "one";
  out.version = "9.9";
  out.runtime = "oci";
  out.networks = {"none"};
  out.labels = {{"zone", "a"}};
  out.total = {8, 16384, 100};
  return out;
}

const membership::options quick{1s, 50ms};

bool is_there(store& in, const std::string& what) {
  const auto got = in.get(node_key("node-1", what));
  return got && got->has_value();
}

} // namespace

TEST_CASE("a member says what it is, and lives as long as it is heard of") {
  auto in = std::make_shared<faulty_store>();
  {
    membership one{in, self(), quick};
    REQUIRE(eventually(patient(10s), [&] { return is_there(*in, "live"); }));
    const auto info = in->get(node_key("node-1", "info"));
    REQUIRE(info);
    REQUIRE(*info);
    const auto read = decode_node("node-1", (*info)->value);
    REQUIRE(read);
    CHECK(*read == self());
    // Longer than the lease.
    CHECK_FALSE(eventually(1500ms, [&] { return !is_there(*in, "live"); }));
    CHECK_FALSE(one.away());
  }
  // A daemon that is restarted within the lease's time was never away.
  CHECK(is_there(*in, "live"));
  CHECK(eventually(patient(10s), [&] { return !is_there(*in, "live"); }));
  CHECK(is_there(*in, "info"));
}

TEST_CASE("what a member offers is there with it, and written as it changes") {
  auto in = std::make_shared<faulty_store>();
  std::atomic<int> count{0};
  auto how = quick;
  how.offers = [&] { return "offers " + std::to_string(count.load()); };
  auto said = [&] {
    const auto got = in->get(node_key("node-1", "offers"));
    return got && *got ? (*got)->value : std::string{};
  };
  {
    membership one{in, self(), how};
    REQUIRE(eventually(patient(10s), [&] { return is_there(*in, "live"); }));
    CHECK(said() == "offers 0");
    const auto revision = (*in->get(node_key("node-1", "offers")))->revision;
    count = 1;
    CHECK(eventually(patient(10s), [&] { return said() == "offers 1"; }));
    // Not at every beat.
    const auto second = (*in->get(node_key("node-1", "offers")))->revision;
    CHECK(second > revision);
    CHECK_FALSE(eventually(300ms, [&] {
      return (*in->get(node_key("node-1", "offers")))->revision != second;
    }));
    in->away(true);
    count = 2;
    REQUIRE(eventually(patient(10s), [&] { return one.away().has_value(); }));
    in->away(false);
    CHECK(eventually(patient(10s), [&] { return said() == "offers 2"; }));
  }
}

TEST_CASE("a member whose lease has ended joins again") {
  auto in = std::make_shared<faulty_store>();
  std::atomic<int> gone{0}, back{0};
  membership one{in, self(), quick, [&](const std::optional<failure>& why) {
                   ++(why ? gone : back);
                 }};
  REQUIRE(eventually(patient(10s), [&] { return is_there(*in, "live"); }));
  CHECK(back == 1);
  in->away(true);
  REQUIRE(eventually(patient(10s), [&] { return one.away().has_value(); }));
  CHECK(one.away()->code == ec::unavailable);
  // Its lease ends meanwhile.
  CHECK_FALSE(eventually(1500ms, [&] { return !one.away(); }));
  in->away(false);
  CHECK(eventually(patient(10s), [&] { return is_there(*in, "live"); }));
  CHECK(eventually(patient(10s), [&] { return !one.away(); }));
  CHECK(gone == 1);
  CHECK(back == 2);
}

TEST_CASE("a member that is removed notices at once, and does not come back") {
  auto in = std::make_shared<faulty_store>();
  std::atomic<int> told{0};
  std::string why; // on its thread, until it is joined
  auto how = quick;
  how.beat = 10s;
  how.ttl = 60s;
  how.removed = [&](const failure& said) {
    why = said.message;
    ++told;
  };
  {
    membership one{in, self(), how};
    REQUIRE(eventually(patient(10s), [&] { return is_there(*in, "live"); }));
    for (const auto* part : {"live", "info"})
      REQUIRE(in->commit(
          {}, {{operation::kind::erase, node_key("node-1", part), {}}}));
    SECTION("by somebody") {
      REQUIRE(in->commit(
          {}, {{operation::kind::put, removed_key("node-1"), "key:bob"}}));
      one.look_again();
      CHECK(eventually(patient(5s), [&] { return told == 1; }));
      CHECK(eventually(patient(5s), [&] { return one.away().has_value(); }));
      one.look_again();
      CHECK_FALSE(eventually(300ms, [&] { return is_there(*in, "info"); }));
      CHECK(one.away()->code == ec::denied);
    }
    SECTION("not; somebody erased its records") {
      one.look_again();
      CHECK(eventually(patient(5s), [&] { return is_there(*in, "info"); }));
      CHECK(is_there(*in, "live"));
    }
  }
  CHECK(told <= 1);
  CHECK(
      (told == 0 || why == "this node was removed from the fleet by key:bob"));
}

TEST_CASE(
    "a member that begins while the store is away joins when it is back") {
  auto in = std::make_shared<faulty_store>();
  in->away(true);
  membership one{in, self(), quick};
  REQUIRE(eventually(patient(10s), [&] { return one.away().has_value(); }));
  in->away(false);
  CHECK(eventually(patient(10s), [&] { return is_there(*in, "live"); }));
}
