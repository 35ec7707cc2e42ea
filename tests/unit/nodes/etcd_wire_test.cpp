#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>

#include "messages/text.hpp"
#include "nodes/etcd/wire.hpp"

using namespace caged;
using namespace caged::etcd;
using nlohmann::json;

TEST_CASE("a commit is written as etcd's transaction") {
  wire::txn what;
  what.compares = {{"a", 7}, {"b", 0}};
  what.operations = {{operation::kind::put, "a", std::string("\0\xff", 2), 9},
                     {operation::kind::erase, "b", {}}};
  what.look = "s";
  const auto got = json::parse(wire::write(what));
  CHECK(got["compare"][0]["mod_revision"] == "7");
  CHECK(got["compare"][1]["target"] == "MOD");
  CHECK(got["success"][0]["request_put"]["value"] == "AP8=");
  CHECK(got["success"][0]["request_put"]["lease"] == "9");
  CHECK(got["success"][1]["request_delete_range"]["key"] == "Yg==");
  CHECK(got["failure"][0]["request_range"]["key"] == "cw==");
  CHECK(got["failure"].size() == 1);
}

TEST_CASE("answers of etcd 3.4.23 are read") {
  auto done = wire::read_txn(
      R"({"header":{"revision":"5"},"succeeded":true,"responses":[]})");
  REQUIRE(done);
  CHECK(done->succeeded);
  CHECK(done->revision == 5);
  auto not_done = wire::read_txn(
      R"({"header":{"revision":"6"},"responses":[{"response_range":{"header":
      {"revision":"6"},"kvs":[{"key":"YQ==","create_revision":"2",
      "mod_revision":"2","version":"1","value":"eA=="}],"count":"1"}}]})");
  REQUIRE(not_done);
  CHECK_FALSE(not_done->succeeded);
  CHECK(not_done->looked->value == "x");
  CHECK(not_done->looked->revision == 2);
  auto absent = wire::read_txn(R"({"header":{"revision":"6"},
      "responses":[{"response_range":{"header":{"revision":"6"}}}]})");
  REQUIRE(absent);
  CHECK_FALSE(absent->looked);

  auto lease = wire::read_grant(R"({"header":{},"ID":"4390","TTL":"2"})");
  REQUIRE(lease);
  CHECK(lease->ttl == std::chrono::seconds{2});
  CHECK(wire::read_keep_alive(R"({"result":{"header":{},"ID":"1"}})")->count()
        == 0);

  auto events = wire::read_watch(R"({"result":{"header":{"revision":"9"},
      "events":[{"kv":{"key":"YQ==","mod_revision":"8","value":"eA=="}},
      {"type":"DELETE","kv":{"key":"Yg==","mod_revision":"9"}}]}})");
  REQUIRE(events);
  REQUIRE(events->events.size() == 2);
  CHECK_FALSE(events->events[0].erased);
  CHECK(events->events[1].erased);
  CHECK(events->events[1].what.revision == 9);
  CHECK_FALSE(events->cancelled);
  auto compacted = wire::read_watch(R"({"result":{"header":{"raft_term":"2"},
      "canceled":true,"compact_revision":"8"}})");
  REQUIRE(compacted);
  CHECK(compacted->cancelled);
  CHECK(compacted->compacted == 8);
  auto refused = wire::read_refusal(
      R"({"error":"x","message":"etcdserver: no leader","code":14})");
  CHECK(refused.code == 14);
  CHECK(refused.text == "etcdserver: no leader");
}

TEST_CASE("what is no answer of etcd is malformed, whatever it is") {
  const std::vector<std::string> bad = {
      "",
      "x",
      "[]",
      "1",
      "null",
      "{",
      R"({"header":1})",
      R"({"header":{"revision":1.5}})",
      R"({"header":{"revision":"x"}})",
      R"({"header":{"revision":"-1"}})",
      R"({"header":{"revision":"99999999999999999999"}})",
      R"({"header":{"revision":"1"},"kvs":{}})",
      R"({"header":{"revision":"1"},"kvs":[1]})",
      R"({"header":{"revision":"1"},"kvs":[{"key":"?","mod_revision":"1"}]})",
      R"({"header":{"revision":"1"},"kvs":[{"key":"YQ=="}]})",
      std::string(100000, '['),
      "{\"header\":{\"revision\":\"1\"},\"kvs\":" + std::string(100000, '[')};
  for (const auto& text : bad) {
    INFO(text.substr(0, 80));
    auto got = wire::read_range(text);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::malformed);
  }
  CHECK_FALSE(wire::read_txn(R"({"succeeded":"yes"})"));
  CHECK_FALSE(wire::read_txn(R"({"header":{"revision":"1"},"responses":[1]})"));
  CHECK_FALSE(wire::read_grant(R"({"ID":"0","TTL":"2"})"));
  CHECK_FALSE(wire::read_grant(R"({"ID":"1"})"));
  CHECK_FALSE(wire::read_keep_alive("{}"));
  CHECK_FALSE(wire::read_token(R"({"token":"a\r\nb"})"));
  CHECK_FALSE(wire::read_token("{}"));
  CHECK_FALSE(wire::read_watch(R"({"result":{"events":[{}]}})"));
  CHECK_FALSE(wire::read_watch(R"({"result":{"events":7}})"));
  CHECK(wire::read_watch(R"({"error":7})")->cancelled);
  CHECK(wire::read_refusal("").text == "no reason given");
  CHECK(wire::read_refusal("no TLS\nhere").text == "no TLS");
  CHECK(wire::read_refusal("no TLS\nhere").code == 0);
}

TEST_CASE("a range of keys ends behind its prefix") {
  CHECK(wire::range_end("a/") == "a0");
  CHECK(wire::range_end("a\xff\xff") == "b");
  CHECK(wire::range_end("\xff") == std::string(1, '\0'));
}
