#include <catch2/catch.hpp>

#include "mcp/json_rpc.hpp"

using namespace caged::mcp;

namespace {

incoming one(std::string_view text) {
  auto read = parse_text(text);
  REQUIRE(read);
  REQUIRE_FALSE(read->batch);
  REQUIRE(read->messages.size() == 1);
  return std::move(read->messages[0]);
}

json refusal(std::string_view text, const parse_bounds& bounds = {}) {
  auto read = parse_text(text, bounds);
  REQUIRE_FALSE(read);
  return json::parse(read.error());
}

void refused(std::string_view text, int code, const json& id = nullptr) {
  INFO(text);
  const auto error = refusal(text);
  CHECK(error.at("jsonrpc") == "2.0");
  CHECK(error.at("error").at("code") == code);
  CHECK(error.at("error").at("message").is_string());
  CHECK(error.at("id") == id);
}

bool ignored(std::string_view text) {
  auto read = parse_text(text);
  return read && !read->batch && read->messages.empty()
         && read->refusals.empty();
}

} // namespace

TEST_CASE("a request, a notification and a response are told apart") {
  auto request = one(
      R"({"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":[1,{"b":2}]}})");
  CHECK(request.kind == incoming::sort::request);
  CHECK(request.id == 7);
  CHECK(request.method == "ping");
  CHECK(request.params == json{{"a", {1, {{"b", 2}}}}});
  auto text_id = one(R"({"jsonrpc":"2.0","id":"x","method":"ping"})");
  CHECK(text_id.id == "x");
  CHECK(text_id.params == json::object());
  auto note = one(R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
  CHECK(note.kind == incoming::sort::notification);
  CHECK(note.id.is_null());
  auto response = one(R"({"jsonrpc":"2.0","id":"s","result":{"a":1}})");
  CHECK(response.kind == incoming::sort::response);
  CHECK(response.params == json{{"result", {{"a", 1}}}});
  auto error = one(R"({"jsonrpc":"2.0","id":3,"error":{"code":1}})");
  CHECK(error.params == json{{"error", {{"code", 1}}}});
}

TEST_CASE("what is not JSON is a parse error with id null") {
  for (const auto* text :
       {"", " ", "{", "nope", R"({"jsonrpc":"2.0","id":1,"method":"ping")",
        R"({"jsonrpc":"2.0","id":1,"method":"ping"}})", "[1,", "{'a':1}",
        "{\"a\":1e999}", "\"\\ud800\"", "\x01", "NaN", "{\"a\":01}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xed\xa0\x80\"}"})
    refused(text, rpc_code::parse_error);
}

TEST_CASE("a message that is no JSON-RPC 2.0 is an invalid request") {
  const auto code = rpc_code::invalid_request;
  for (const auto* text :
       {"1", "null", "\"ping\"", "true", "{}", R"({"method":"ping"})",
        R"({"jsonrpc":"2.0"})", R"({"jsonrpc":"2.0","method":1})",
        R"({"jsonrpc":2.0,"method":"ping"})",
        R"({"jsonrpc":"1.0","method":"ping"})",
        R"({"jsonrpc":"2.0","id":null,"method":"ping"})",
        R"({"jsonrpc":"2.0","id":1.5,"method":"ping"})",
        R"({"jsonrpc":"2.0","id":[1],"method":"ping"})",
        R"({"jsonrpc":"2.0","id":{},"method":"ping"})",
        R"({"jsonrpc":"2.0","id":true,"method":"ping"})",
        R"({"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"})"})
    refused(text, code);
  // The id is named where it was legible, so that nobody waits for it.
  refused(R"({"id":4,"method":"ping"})", code, 4);
  refused(R"({"jsonrpc":"1.0","id":"a","method":"ping"})", code, "a");
  refused(R"({"jsonrpc":"2.0","id":5,"method":["ping"]})", code, 5);
  refused(R"({"jsonrpc":"2.0","id":6})", code, 6);
  // Names have a case: these are others.
  refused(R"({"JSONRPC":"2.0","id":7,"METHOD":"ping"})", code, 7);
}

TEST_CASE("params that are no object are refused, in a notification ignored") {
  for (const auto* params : {"[]", "[1]", "\"x\"", "1", "null"}) {
    const std::string tail =
        std::string{R"("method":"ping","params":)"} + params + "}";
    refused(R"({"jsonrpc":"2.0","id":1,)" + tail, rpc_code::invalid_params, 1);
    CHECK(ignored(R"({"jsonrpc":"2.0",)" + tail));
  }
}

TEST_CASE("a response that is wrong is ignored, never answered") {
  CHECK(ignored(R"({"jsonrpc":"2.0","result":{}})"));
  CHECK(ignored(R"({"jsonrpc":"2.0","id":null,"error":{}})"));
  CHECK(ignored(R"({"jsonrpc":"2.0","id":1,"result":{},"error":{}})"));
}

TEST_CASE("a member that stands twice is refused") {
  refused(R"({"jsonrpc":"2.0","id":1,"method":"ping","id":2})",
          rpc_code::invalid_request, 1);
  refused(R"({"jsonrpc":"2.0","id":1,"method":"a","params":{"p":1,"p":2}})",
          rpc_code::invalid_request, 1);
}

TEST_CASE("depth, values and ids have bounds") {
  const std::string head = R"({"jsonrpc":"2.0","id":9,"method":"m","params":)";
  const auto nested = [&](std::size_t depth) {
    return head + R"({"a":)" + std::string(depth, '[') + std::string(depth, ']')
           + "}}";
  };
  CHECK(parse_text(nested(62)));
  refused(nested(63), rpc_code::invalid_request, 9);
  refused(head + R"({"a":)" + std::string(200'000, '['),
          rpc_code::invalid_request, 9);
  refused(std::string(1'000'000, '['), rpc_code::invalid_request);
  std::string many = head + R"({"a":[0)";
  for (auto i = 0; i < 100'000; ++i)
    many += ",0";
  refused(many + "]}}", rpc_code::invalid_request, 9);
  const std::string id(4096, 'i');
  CHECK(parse_text(R"({"jsonrpc":"2.0","id":")" + id + R"(","method":"m"})"));
  refused(R"({"jsonrpc":"2.0","id":")" + id + R"(i","method":"m"})",
          rpc_code::invalid_request);
  CHECK(refusal("[[]]", {1, 10, 10})["error"]["message"].get<std::string>()
        == "nested deeper than 1");
}

TEST_CASE("a batch keeps its order and refuses its members one by one") {
  auto read = parse_text(R"([{"jsonrpc":"2.0","id":1,"method":"a"},
    1, {"jsonrpc":"2.0","method":"n"}, {"jsonrpc":"2.0","id":2,"method":3},
    {"jsonrpc":"2.0","id":3,"method":"b"}, [], {"jsonrpc":"2.0","result":1}])");
  REQUIRE(read);
  CHECK(read->batch);
  REQUIRE(read->messages.size() == 3);
  CHECK(read->messages[0].method == "a");
  CHECK(read->messages[1].kind == incoming::sort::notification);
  CHECK(read->messages[2].method == "b");
  REQUIRE(read->refusals.size() == 3);
  CHECK(json::parse(read->refusals[0])["id"].is_null());
  CHECK(json::parse(read->refusals[1])["id"] == 2);
}

TEST_CASE("a batch must not be empty nor too long") {
  refused("[]", rpc_code::invalid_request);
  std::string long_one = "[1";
  for (auto i = 0; i < 64; ++i)
    long_one += ",1";
  refused(long_one + "]", rpc_code::invalid_request);
}

TEST_CASE("an error response is one, whatever the text holds") {
  const auto plain = json::parse(error_response(1, -32000, "a \"b\"\n\xff"));
  CHECK(plain["error"]["message"] == "a \"b\"\n\xef\xbf\xbd");
  CHECK_FALSE(plain["error"].contains("data"));
  const auto more =
      json::parse(error_response("i\"d", -1, "x", {{"supported", {"a"}}}));
  CHECK(more["id"] == "i\"d");
  CHECK(more["error"]["data"]["supported"][0] == "a");
}
