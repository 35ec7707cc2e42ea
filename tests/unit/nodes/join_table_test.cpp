#include <catch2/catch.hpp>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "actors/join_table.hpp"
#include "messages/text.hpp"
#include "nodes/sqlite_store.hpp"

using namespace caged;
using namespace std::chrono_literals;

namespace {

const std::string key_a(40, '1'), key_b(40, '2'), node_1(40, '3'),
    node_2(40, '4');
constexpr std::int64_t minute = 60'000, made = 1'800'000'000'000;

struct fixture {
  fixture() {
    char name[] = "/tmp/caged-joins-XXXXXX";
    dir = ::mkdtemp(name);
    auto opened = open_sqlite_store(std::filesystem::path{dir} / "store.db");
    REQUIRE(opened);
    records = std::move(*opened);
  }
  ~fixture() {
    records.reset();
    std::filesystem::remove_all(dir);
  }
  record offer(const std::string& key) const {
    auto got =
        offer_join(*records, {key, "uid:0", made, made + 60 * minute, {}});
    REQUIRE(got);
    return *got;
  }
  result<bool> take(const std::string& key, const std::string& node,
                    std::int64_t at) const {
    return take_join(*records, key,
                     {"n-" + node.substr(0, 1), "two", node, at});
  }
  std::string dir;
  std::unique_ptr<caged::store> records;
};

bool says(const result<bool>& got, const std::string& text) {
  INFO((got ? "it succeeded" : got.error().message));
  CHECK_FALSE(got);
  return !got && got.error().code == ec::denied
         && got.error().message.find(text) != std::string::npos
         && got.error().hint.find("caged node token") != std::string::npos;
}

} // namespace

TEST_CASE("a cluster gets one id, whoever asks first") {
  fixture f;
  const auto first = open_cluster(*f.records);
  REQUIRE(first);
  CHECK(first->created);
  CHECK(is_uuid(first->id));
  const auto again = open_cluster(*f.records);
  REQUIRE(again);
  CHECK_FALSE(again->created);
  CHECK(again->id == first->id);
  REQUIRE(f.records->commit({}, {{operation::kind::put, "cluster/id", "x"}}));
  const auto bad = open_cluster(*f.records);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == ec::malformed);
}

TEST_CASE("a join token is used once, and its second user is told by whom") {
  fixture f;
  f.offer(key_a);
  const auto first = f.take(key_a, node_1, made + minute);
  REQUIRE(first);
  CHECK_FALSE(*first);
  CHECK(says(f.take(key_a, node_2, made + 2 * minute),
             "this token was used, by two at 2027-01-15 08:01:00 UTC"));
  CHECK(says(f.take(key_b, node_2, made), "not known"));
}

TEST_CASE("a host whose answer was lost may ask again for ten minutes") {
  fixture f;
  f.offer(key_a);
  REQUIRE(f.take(key_a, node_1, made));
  const auto again = f.take(key_a, node_1, made + 10 * minute - 1);
  REQUIRE(again);
  CHECK(*again);
  CHECK(says(f.take(key_a, node_1, made + 10 * minute), "was used"));
}

TEST_CASE("a join token that has expired is refused and stays unused") {
  fixture f;
  f.offer(key_a);
  CHECK(says(f.take(key_a, node_1, made + 60 * minute),
             "expired at 2027-01-15 09:00:00 UTC"));
  REQUIRE(f.take(key_a, node_1, made + 60 * minute - 1));
}

TEST_CASE("of hosts that use a join token at the same time one gets in") {
  fixture f;
  f.offer(key_a);
  std::atomic<int> in{0}, out{0};
  std::vector<std::thread> hosts;
  for (int i = 0; i < 8; ++i)
    hosts.emplace_back([&, i] {
      const auto got = take_join(
          *f.records, key_a,
          {"n", "host", std::string(40, static_cast<char>('a' + i)), made});
      ++(got ? in : out);
    });
  for (auto& each : hosts)
    each.join();
  CHECK(in == 1);
  CHECK(out == 7);
}

TEST_CASE("records of join tokens are read back, and others let nobody in") {
  join_record token{key_a, "key:root", 1, 2, join_use{"n", "two", node_1, 3}};
  const record good{join_record_of(key_a), encode_join(token), 7};
  const auto back = decode_join(good);
  REQUIRE(back);
  CHECK(back->by == "key:root");
  CHECK(back->expires_ms == 2);
  REQUIRE(back->used);
  CHECK(back->used->key == node_1);
  CHECK(back->used->at_ms == 3);

  join_table table;
  CHECK_FALSE(table.ready());
  table.loaded();
  CHECK(table.ready());
  CHECK(table.apply(good, false));
  CHECK(table.knows(key_a));
  CHECK_FALSE(table.knows(key_b));
  for (const char* value :
       {"", "{}", "[]", "{\"by\":1,\"created_ms\":1,\"expires_ms\":1}",
        "{\"by\":\"a\",\"created_ms\":1,\"expires_ms\":1,\"used\":{}}",
        "{\"by\":\"a\",\"created_ms\":1,\"expires_ms\":\"1\"}"}) {
    INFO(value);
    CHECK_FALSE(table.apply({good.key, value, 8}, false));
    CHECK_FALSE(table.knows(key_a));
    CHECK(table.apply(good, false));
  }
  for (const char* key : {"", "joins/", "joins/x", "keys/x"})
    CHECK_FALSE(table.apply({key, good.value, 8}, false));
  CHECK(table.apply({good.key, {}, 9}, true));
  CHECK_FALSE(table.knows(key_a));
}
