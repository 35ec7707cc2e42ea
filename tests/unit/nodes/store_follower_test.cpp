#include "nodes/store_follower.hpp"

#include <atomic>
#include <map>

#include "tests/support/faulty_store.hpp"
#include "tests/support/process.hpp"
#include "tests/unit/nodes/store_contract.hpp"

using namespace caged;
using namespace std::chrono_literals;
using test::eventually;
using test::faulty_store;
using test::patient;
using test::put;

namespace {

/// What a follower was told, as a map.
class copy {
public:
  store_follower::handler handler() {
    return [this](const record& what, bool erased) {
      const std::lock_guard guard{mutex_};
      ++told_;
      if (erased)
        all_.erase(what.key);
      else
        all_[what.key] = what.value;
    };
  }
  std::map<std::string, std::string> now() const {
    const std::lock_guard guard{mutex_};
    return all_;
  }
  int told() const {
    const std::lock_guard guard{mutex_};
    return told_;
  }

private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> all_;
  int told_ = 0;
};

using map = std::map<std::string, std::string>;

} // namespace

TEST_CASE("a follower tells what is there, then every change") {
  auto from = std::make_shared<faulty_store>();
  REQUIRE(from->commit({}, {put("k/a", "1"), put("k/b", "1"), put("x", "1")}));
  copy seen;
  std::atomic<bool> loaded{false};
  store_follower follower{from, "k/", seen.handler(), [&] { loaded = true; }};
  REQUIRE(eventually(patient(10s), [&] { return loaded.load(); }));
  CHECK(seen.now() == map{{"k/a", "1"}, {"k/b", "1"}});
  REQUIRE(from->commit({}, {put("k/a", "2"), test::erase("k/b")}));
  REQUIRE(from->commit({}, {put("k/c", "1"), put("y", "1")}));
  CHECK(eventually(patient(10s), [&] {
    return seen.now() == map{{"k/a", "2"}, {"k/c", "1"}};
  }));
}

TEST_CASE("a follower waits for a store that is away") {
  auto from = std::make_shared<faulty_store>();
  REQUIRE(from->commit({}, {put("k/a", "1")}));
  from->away(true);
  copy seen;
  store_follower follower{from, "k/", seen.handler()};
  const auto calls = from->calls();
  REQUIRE(eventually(patient(10s), [&] { return from->calls() > calls; }));
  CHECK(seen.told() == 0);
  from->away(false);
  CHECK(eventually(patient(10s), [&] { return seen.now().size() == 1; }));
}

TEST_CASE("a follower that ends waits for no store that is away") {
  auto from = std::make_shared<faulty_store>();
  from->away(true);
  copy seen;
  const auto begin = std::chrono::steady_clock::now();
  { store_follower follower{from, "k/", seen.handler()}; }
  CHECK(std::chrono::steady_clock::now() - begin < patient(5s));
}

TEST_CASE("changes beside the first listing are told in the end as they are") {
  auto from = std::make_shared<faulty_store>();
  from->delay(1ms);
  for (int round = 0; round < 20; ++round) {
    copy seen;
    std::thread writer{[&] {
      for (int i = 0; i < 20; ++i) {
        const auto key = "k/" + std::to_string(i % 4);
        if (i % 3 == 2)
          CHECK(from->commit({}, {test::erase(key)}));
        else
          CHECK(from->commit({}, {put(key, std::to_string(i))}));
      }
      CHECK(from->commit({}, {put("k/end", std::to_string(round))}));
    }};
    store_follower follower{from, "k/", seen.handler()};
    writer.join();
    map wanted;
    const auto all = from->list("k/");
    REQUIRE(all);
    for (const auto& each : *all)
      wanted[each.key] = each.value;
    CHECK(eventually(patient(10s), [&] { return seen.now() == wanted; }));
  }
}
