#include "tests/support/faulty_store.hpp"

#include "tests/unit/nodes/store_contract.hpp"

using namespace caged;
using test::faulty_store;
using namespace std::chrono_literals;

namespace {

auto opener(std::shared_ptr<faulty_store::data> on,
            std::chrono::milliseconds delay = 0ms) {
  return [on, delay]() -> result<std::unique_ptr<store>> {
    auto made = std::make_unique<faulty_store>(on);
    made->delay(delay);
    return std::unique_ptr<store>{std::move(made)};
  };
}

} // namespace

TEST_CASE("the store with faults keeps the contract of stores") {
  test::store_contract(opener(std::make_shared<faulty_store::data>()));
  test::store_contract(opener(std::make_shared<faulty_store::data>(), 1ms));
}

TEST_CASE("the store with faults keeps the contract of leases") {
  test::lease_contract(opener(std::make_shared<faulty_store::data>()));
}

TEST_CASE(
    "a store with faults fails the call it was told to, and does nothing") {
  faulty_store one;
  one.fail_call(2);
  REQUIRE(one.commit({}, {test::put("a", "1")}));
  auto failed = one.commit({}, {test::put("a", "2")});
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ec::unavailable);
  CHECK((*one.get("a"))->value == "1");
  one.away(true);
  CHECK(one.list("").error().code == ec::unavailable);
  CHECK(one.grant(5s).error().code == ec::unavailable);
  one.away(false);
  CHECK(one.list("")->size() == 1);
}

TEST_CASE("a store with faults loses the answer of a commit that was done") {
  faulty_store one;
  test::watched seen;
  auto token = one.watch("", seen.handler());
  one.lose_answer(1);
  auto lost = one.commit({{"a", 0}}, {test::put("a", "1")});
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code == ec::unavailable);
  CHECK(seen.wait(1).front() == "+a=1");
  // Who repeats it without reading takes its own success for somebody else's.
  CHECK(one.commit({{"a", 0}}, {test::put("a", "1")}).error().code
        == ec::conflict);
  CHECK((*one.get("a"))->value == "1");
}
