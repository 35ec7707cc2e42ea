#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <catch2/catch.hpp>

#include "actors/store.hpp"

/// What every store must do. A new one calls store_contract() with a function
/// that opens the same, at first empty, store again and again.
namespace caged::test {

inline operation put(std::string key, std::string value) {
  return {operation::kind::put, std::move(key), std::move(value)};
}
inline operation erase(std::string key) {
  return {operation::kind::erase, std::move(key), {}};
}

/// Collects what a watch reports; wait() has a deadline.
class watched {
public:
  store::watch_handler handler() {
    return [this](const record& what, bool erased) {
      std::lock_guard guard{mutex_};
      seen_.push_back((erased ? "-" : "+") + what.key + "=" + what.value);
      changed_.notify_all();
    };
  }
  std::vector<std::string>
  wait(std::size_t count,
       std::chrono::milliseconds most = std::chrono::seconds(20)) {
    std::unique_lock guard{mutex_};
    changed_.wait_for(guard, most, [&] { return seen_.size() >= count; });
    return seen_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> seen_;
};

/// `open` gives a result<std::unique_ptr<store>> on the same data each time.
template <class Open>
void store_contract(Open open) {
  auto opened = open();
  REQUIRE(opened);
  auto one = std::move(*opened);

  // Nothing there: no error.
  REQUIRE(one->get("a"));
  CHECK_FALSE(one->get("a")->has_value());
  CHECK(one->list("")->empty());

  // Revisions rise, over all keys.
  auto first = one->commit({}, {put("p/a", "1"), put("p/b", "2")});
  REQUIRE(first);
  auto second = one->commit({{"p/c", 0}}, {put("p/c", std::string("\0\n", 2))});
  REQUIRE(second);
  CHECK(*second > *first);
  CHECK((*one->get("p/a"))->revision == *first);
  CHECK((*one->get("p/c"))->revision == *second);
  CHECK((*one->get("p/c"))->value == std::string("\0\n", 2));

  // A compare that fails changes nothing, whichever it is.
  auto stale = one->commit({{"p/c", *second}, {"p/a", *second}},
                           {put("p/a", "x"), put("q", "x")});
  REQUIRE_FALSE(stale);
  CHECK(stale.error().code == ec::conflict);
  auto there = one->commit({{"p/a", 0}}, {erase("p/b")});
  REQUIRE_FALSE(there);
  CHECK(there.error().code == ec::conflict);
  CHECK((*one->get("p/a"))->value == "1");
  CHECK(one->get("p/b")->has_value());
  CHECK_FALSE(one->get("q")->has_value());

  // Prefixes are bytes: no pattern, no neighbour.
  REQUIRE(one->commit({}, {put("p", "x"), put("p0", "x"), put("p%", "x"),
                           put("p_/a", "x"), put("P/a", "x")}));
  auto listed = one->list("p/");
  REQUIRE(listed->size() == 3);
  CHECK((*listed)[0].key == "p/a");
  CHECK((*listed)[2].key == "p/c");
  CHECK(one->list("p_")->size() == 1);

  // An erased key can be made again with "absent", and revisions go on.
  REQUIRE(one->commit({{"p/a", *first}}, {erase("p/a")}));
  auto again = one->commit({{"p/a", 0}}, {put("p/a", "3")});
  REQUIRE(again);
  CHECK(*again > *second);

  // Watches: only the prefix, only from now on, in order, until dropped.
  watched seen;
  auto token = one->watch("w/", seen.handler());
  REQUIRE(token);
  REQUIRE(one->commit({}, {put("w/1", "a"), put("v", "a")}));
  REQUIRE(one->commit({}, {put("w/2", "b")}));
  REQUIRE(one->commit({}, {erase("w/1")}));
  REQUIRE_FALSE(one->commit({{"w/1", 7}}, {put("w/3", "c")}));
  auto got = seen.wait(3);
  REQUIRE(got.size() == 3);
  CHECK(got[0] == "+w/1=a");
  CHECK(got[1] == "+w/2=b");
  CHECK(got[2] == "-w/1=");
  // What is not there cannot be erased: that is no change.
  REQUIRE(one->commit({}, {erase("w/1"), put("w/5", "e")}));
  CHECK(seen.wait(4).back() == "+w/5=e");
  token->reset();
  watched later;
  auto other = one->watch("w/", later.handler());
  REQUIRE(one->commit({}, {put("w/4", "d")}));
  CHECK(later.wait(1).size() == 1);
  CHECK(seen.wait(0).size() == 4);

  // A handler may use the store and end its own watch.
  std::shared_ptr<void> own;
  watched chained;
  auto chain = chained.handler();
  auto made = one->watch("x", [&](const record& what, bool erased) {
    auto read = one->get(what.key);
    own.reset();
    chain(read && *read ? **read : record{}, erased);
  });
  REQUIRE(made);
  own = std::move(*made);
  REQUIRE(one->commit({}, {put("x", "1")}));
  CHECK(chained.wait(1).front() == "+x=1");
  REQUIRE(one->commit({}, {put("x", "2")}));
  CHECK(chained.wait(1).size() == 1);

  // Of many who want the same key exactly one gets it.
  std::atomic<int> winners{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      if (one->commit({{"race", 0}}, {put("race", "mine")}))
        ++winners;
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(winners == 1);

  // Everything is there after a restart; a token outlives its store.
  one.reset();
  other->reset();
  opened = open();
  REQUIRE(opened);
  one = std::move(*opened);
  CHECK((*one->get("p/a"))->value == "3");
  CHECK((*one->get("p/a"))->revision == *again);
  auto after = one->commit({}, {put("z", "")});
  REQUIRE(after);
  CHECK(*after > *again);
}

/// Of leases; apart from the other, since it takes seconds.
template <class Open>
void lease_contract(Open open) {
  using namespace std::chrono_literals;
  auto opened = open();
  REQUIRE(opened);
  auto one = std::move(*opened);
  REQUIRE_FALSE(one->grant(0s));
  CHECK(one->grant(0s).error().code == ec::bad_request);
  CHECK(one->keep_alive(12345).error().code == ec::not_found);
  CHECK(one->revoke(12345));

  const auto mine = one->grant(2s);
  REQUIRE(mine);
  CHECK(mine->id != 0);
  CHECK(mine->ttl >= 2s);
  watched seen;
  auto token = one->watch("l/", seen.handler());
  REQUIRE(token);
  auto under = [](std::string key, std::int64_t lease) {
    auto out = put(std::move(key), "x");
    out.lease = lease;
    return out;
  };
  REQUIRE(one->commit({}, {under("l/1", mine->id), under("l/2", mine->id),
                           under("l/free", mine->id), put("l/other", "x")}));
  REQUIRE(one->commit({}, {put("l/free", "y")}));
  REQUIRE(seen.wait(5).size() == 5);

  // As long as it is kept alive nothing is erased, for longer than its time.
  const auto past = std::chrono::steady_clock::now() + mine->ttl + 1s;
  while (std::chrono::steady_clock::now() < past) {
    REQUIRE(one->keep_alive(mine->id));
    REQUIRE(seen.wait(6, 200ms).size() == 5);
  }
  CHECK((*one->get("l/1"))->value == "x");

  // Then its keys are, and only they, with events.
  auto got = seen.wait(7);
  REQUIRE(got.size() == 7);
  CHECK(got[5] == "-l/1=");
  CHECK(got[6] == "-l/2=");
  CHECK_FALSE(one->get("l/1")->has_value());
  CHECK((*one->get("l/free"))->value == "y");
  CHECK(one->keep_alive(mine->id).error().code == ec::not_found);

  // Nothing can be put under what has ended; nothing of that commit is done.
  auto late = one->commit({}, {put("l/late", "x"), under("l/1", mine->id)});
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ec::not_found);
  CHECK_FALSE(one->get("l/late")->has_value());

  // Revoking ends it at once.
  const auto other = one->grant(600s);
  REQUIRE(other);
  CHECK(other->id != mine->id);
  REQUIRE(one->commit({{"l/1", 0}}, {under("l/1", other->id)}));
  REQUIRE(one->revoke(other->id));
  CHECK_FALSE(one->get("l/1")->has_value());
  CHECK(seen.wait(9).back() == "-l/1=");
  CHECK(one->revoke(other->id));
  CHECK(one->keep_alive(other->id).error().code == ec::not_found);
}

} // namespace caged::test
