#include "mcp/replay.hpp"

#include <thread>

#include <catch2/catch.hpp>

#include "mcp/http_stream.hpp"
#include "mcp/outbox.hpp"
#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;

namespace {

stream_event event(std::uint64_t stream, std::uint64_t number,
                   std::size_t size = 10) {
  return {{stream, number},
          std::make_shared<const std::string>(std::string(size, 'x'))};
}

std::vector<std::uint64_t> numbers(const std::vector<stream_event>& of) {
  std::vector<std::uint64_t> out;
  for (const auto& each : of)
    out.push_back(each.id.number);
  return out;
}

using list = std::vector<std::uint64_t>;

} // namespace

TEST_CASE("what followed an event is given again, of its stream alone",
          "[mcp][web]") {
  const web_budget budget{1000};
  replay_store store{budget};
  store.open(1);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    store.add(event(1, i));
    store.add(event(2, i));
  }
  CHECK(numbers(*store.after({1, 0})) == list{1, 2, 3});
  CHECK(numbers(*store.after({1, 2})) == list{3});
  CHECK(numbers(*store.after({2, 3})).empty());
  const auto second = store.after({2, 1});
  REQUIRE(second);
  for (const auto& each : *second)
    CHECK(each.id.stream == 2);
}

TEST_CASE("an event that never was is unknown", "[mcp][web]") {
  const web_budget budget{1000};
  replay_store store{budget};
  store.open(4);
  store.add(event(1, 1));
  CHECK_FALSE(store.after({1, 2}));
  CHECK_FALSE(store.after({1, 18446744073709551615U}));
  CHECK_FALSE(store.after({3, 0}));
  CHECK(store.after({4, 0}));
}

TEST_CASE("what is kept is bounded and a gap is not hidden", "[mcp][web]") {
  web_budget budget{1000};
  replay_store store{budget};
  for (std::uint64_t i = 1; i <= 3000; ++i)
    store.add(event(i % 2, (i + 1) / 2, 1000));
  CHECK(store.bytes() <= budget.replay());
  CHECK_FALSE(store.after({1, 1}));
  const auto recent = store.after({1, 1490});
  REQUIRE(recent);
  CHECK(recent->size() == 10);
  // More sessions: each keeps less.
  budget.sessions(1024);
  store.trim();
  CHECK(store.bytes() <= 16U << 10U);
  CHECK_FALSE(store.after({1, 1400}));
  CHECK(store.after({1, 1500}));
}

TEST_CASE("an event larger than the bound is a gap at once", "[mcp][web]") {
  const web_budget budget{1000};
  replay_store store{budget};
  store.add(event(1, 1));
  store.add(event(1, 2, 2U << 20U));
  CHECK(store.bytes() == 0);
  CHECK_FALSE(store.after({1, 1}));
  CHECK(store.after({1, 2}));
}

TEST_CASE("many tiny events cost what they cost", "[mcp][web]") {
  const web_budget budget{1000};
  replay_store store{budget};
  for (std::uint64_t i = 1; i <= 20'000; ++i)
    store.add(event(1, i, 0));
  CHECK_FALSE(store.after({1, 11'000}));
  CHECK(store.bytes() <= budget.replay());
}

TEST_CASE("a finished stream is forgotten with its last event", "[mcp][web]") {
  web_budget budget{1000};
  replay_store store{budget};
  store.open(1);
  store.finish(1);
  CHECK_FALSE(store.knows(1));
  store.add(event(2, 1));
  store.finish(2);
  CHECK(store.knows(2));
  store.add(event(3, 1, 2U << 20U));
  CHECK_FALSE(store.knows(2));
  CHECK(store.knows(3));
}

TEST_CASE("a stream goes on with a later connection", "[mcp][web]") {
  web_budget budget{1000};
  auto store = std::make_shared<replay_store>(budget);
  http_stream stream{budget, store, 5};
  int woken = 0, evicted = 0;
  CHECK(stream.send("one"));
  stream.attach({[&] { ++woken; }, [&] { ++evicted; }});
  stream.record();
  stream_event got;
  REQUIRE(stream.take(got));
  CHECK(got.id == event_id{5, 1});
  stream.written(got.text->size());
  CHECK(stream.send("two"));
  CHECK(woken == 1);
  stream.detach();
  CHECK(stream.send("three"));
  stream.finished();
  CHECK_FALSE(stream.take(got));
  CHECK_FALSE(stream.attach_after({5, 4}, {}));
  REQUIRE(stream.attach_after({5, 1}, {[&] { ++woken; }, [&] { ++evicted; }}));
  REQUIRE(stream.take(got));
  CHECK(*got.text == "two");
  REQUIRE(stream.take(got));
  CHECK(*got.text == "three");
  CHECK(stream.look().finished);
  CHECK(evicted == 0);
  // Somebody else comes although the last one seems to be there.
  REQUIRE(stream.attach_after({5, 3}, {}));
  CHECK(evicted == 1);
}

TEST_CASE("a stream without a session ends with its connection", "[mcp][web]") {
  web_budget budget{1000};
  http_stream stream{budget, nullptr, 0};
  stream.attach({});
  CHECK(stream.send("one"));
  stream.detach();
  CHECK_FALSE(stream.send("two"));
}

TEST_CASE("a worker waits for a slow reader and not for a gone one",
          "[mcp][web]") {
  web_budget budget{1000};
  outbox box{budget, [] {}};
  std::atomic<int> sent = 0;
  std::atomic<bool> refused = false;
  std::thread worker{[&] {
    while (box.send(std::string(100'000, 'x')))
      ++sent;
    refused = true;
  }};
  CHECK(test::eventually(test::patient(std::chrono::seconds{10}),
                         [&] { return sent >= 2; }));
  std::string message;
  REQUIRE(box.take(message));
  box.written(message.size());
  CHECK(test::eventually(test::patient(std::chrono::seconds{10}),
                         [&] { return sent >= 3; }));
  CHECK(sent <= 4);
  CHECK_FALSE(refused);
  box.close();
  worker.join();
  CHECK(refused);
  CHECK_FALSE(budget.short_of_memory());
}

TEST_CASE("the thread that reads never waits for room", "[mcp][web]") {
  web_budget budget{1000};
  outbox box{budget, [] {}};
  for (int i = 0; i < 10; ++i)
    REQUIRE(box.send(std::string(100'000, 'x')));
  CHECK(box.full());
  box.close();
  CHECK(box.empty());
}

TEST_CASE("unfinished messages are bounded over all connections",
          "[mcp][web]") {
  web_budget budget{1U << 20U};
  CHECK(budget.arriving(8U << 20U));
  CHECK_FALSE(budget.arriving(2U << 20U));
  CHECK(budget.arriving(1U << 20U));
  budget.arrived(9U << 20U);
  CHECK(budget.arriving(9U << 20U));
}
