// What a hostile or broken client sends, beside what json_rpc_test has.

#include <thread>

#include "session_client.hpp"

using namespace caged::mcp;
using namespace caged::mcp::test;
using caged::result;

namespace {

struct hostile {
  hostile() : here{server::with(config(), test_tools(g))} {}
  ~hostile() { g->open = true; }
  static server_config config() {
    server_config out;
    out.limits.concurrent_calls = 2;
    out.limits.waiting_calls = 4;
    return out;
  }

  std::shared_ptr<gate> g = std::make_shared<gate>();
  std::unique_ptr<server> here;
};

void still_serves(client& c) {
  CHECK(c.result_of("ping") == json::object());
  CHECK(c.call("echo", {{"text", "x"}})["content"][0]["text"] == "x");
}

} // namespace

TEST_CASE("params of every wrong type are refused by every method") {
  hostile f;
  client c{*f.here};
  c.initialize();
  const std::vector<json> wrong = {nullptr,
                                   true,
                                   1,
                                   -1,
                                   1.5,
                                   "",
                                   "x",
                                   json::array(),
                                   json::array({1}),
                                   json::object(),
                                   {{"a", 1}}};
  for (const auto* method :
       {"initialize", "tools/call", "tools/list", "logging/setLevel",
        "resources/read", "prompts/get", "subscriptions/listen"})
    for (const auto* name :
         {"name", "arguments", "cursor", "level", "uri", "_meta", "requestId",
          "protocolVersion", "notifications"})
      for (const auto& value : wrong) {
        auto answer = c.ask(method, {{name, value}});
        CHECK(answer.contains("result") != answer.contains("error"));
      }
  still_serves(c);
}

TEST_CASE("_meta of every wrong type neither counts nor harms") {
  hostile f;
  client c{*f.here};
  c.initialize();
  for (const json& meta : std::vector<json>{1,
                                            "x",
                                            nullptr,
                                            json::array({1}),
                                            {{"progressToken", {1}}},
                                            {{"progressToken", nullptr}},
                                            {{"progressToken", 1.5}},
                                            {{"progressToken", {{"a", 1}}}}}) {
    auto got =
        c.result_of("tools/call", {{"name", "progress"}, {"_meta", meta}});
    CHECK(got.contains("content"));
  }
  CHECK(c.out->notes("notifications/progress").empty());
}

TEST_CASE("ids of every kind come back as they were") {
  hostile f;
  client c{*f.here};
  c.initialize();
  for (const json& id : std::vector<json>{
           0, -1, INT64_MIN, INT64_MAX, UINT64_MAX, "", "1", " ", "null",
           std::string(4096, 'x'), "\xc3\xa9\n\"\\", std::string("a\0b", 3)}) {
    c.request(id, "ping");
    INFO(id.dump());
    CHECK(c.out->answer(id).contains("result"));
  }
}

TEST_CASE("a flood of slow calls is bounded, its end serves again") {
  hostile f;
  client c{*f.here};
  c.initialize();
  for (auto i = 0; i < 2000; ++i)
    c.request(i, "tools/call", {{"name", "wait"}});
  CHECK(c.session->busy() <= 6);
  still_serves(c);
  f.g->open = true;
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
  CHECK(f.g->most <= 2);
  for (auto i = 0; i < 2000; ++i)
    CHECK_FALSE(c.out->answer(i).is_null());
}

TEST_CASE("a flood of calls that are cancelled at once does not pile up") {
  hostile f;
  client c{*f.here};
  c.initialize();
  for (auto i = 0; i < 2; ++i)
    c.request(i, "tools/call", {{"name", "wait"}});
  for (auto i = 2; i < 2000; ++i) {
    c.request(i, "tools/call", {{"name", "wait"}});
    c.notify("notifications/cancelled", {{"requestId", i}});
  }
  CHECK(c.session->busy() <= 6);
  f.g->open = true;
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
  still_serves(c);
}

TEST_CASE("a flood of notifications is read and nothing more") {
  hostile f;
  client c{*f.here};
  c.initialize();
  const auto before = c.out->all().size();
  for (auto i = 0; i < 20'000; ++i)
    c.notify("notifications/progress", {{"progress", i}});
  CHECK(c.out->all().size() == before);
  still_serves(c);
}

TEST_CASE("a flood of subscriptions is bounded") {
  hostile f;
  client c{*f.here};
  const auto params = modern({{"notifications", json::object()}});
  for (auto i = 0; i < 100; ++i)
    c.request(i, "subscriptions/listen", params);
  auto refused = 0;
  for (auto i = 0; i < 100; ++i)
    refused += c.out->answer(i).contains("error") ? 1 : 0;
  CHECK(refused == 96);
}

TEST_CASE("responses that nobody asked for are dropped") {
  hostile f;
  client c{*f.here};
  c.initialize();
  const auto before = c.out->all().size();
  for (const json& id : std::vector<json>{1, "caged-1", "caged-2", -5})
    for (const auto* member : {"result", "error"})
      c.send({{"jsonrpc", "2.0"}, {"id", id}, {member, {{"x", 1}}}});
  CHECK(c.out->all().size() == before);
  still_serves(c);
}

TEST_CASE("arguments beyond the memory for all calls are refused, not kept") {
  hostile f;
  client c{*f.here};
  c.initialize();
  const std::string big(9U << 20U, 'x');
  for (auto i = 0; i < 3; ++i)
    c.request(i, "tools/call",
              {{"name", "wait"}, {"arguments", {{"text", big}}}});
  CHECK(c.out->answer(0).is_null());
  CHECK(c.out->answer(1).is_null());
  CHECK(c.out->answer(2)["error"]["code"] == rpc_code::internal_error);
  f.g->open = true;
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
  c.request(3, "tools/call",
            {{"name", "wait"}, {"arguments", {{"text", big}}}});
  CHECK(eventually(10s, [&] { return c.out->answer(3).contains("result"); }));
}

TEST_CASE("a refusal quotes at most a little of what was sent") {
  hostile f;
  client c{*f.here};
  c.initialize();
  const std::string big(1U << 20U, '\x01');
  CHECK(c.ask("tools/call", {{"name", big}}).dump().size() < 2000);
  CHECK(c.ask(big).dump().size() < 4000);
  CHECK(c.ask("logging/setLevel", {{"level", big}}).dump().size() < 2000);
  CHECK(c.ask("tools/list", {{"cursor", big}}).dump().size() < 2000);
}

TEST_CASE("broken texts between good ones cost nothing but themselves") {
  hostile f;
  client c{*f.here};
  c.initialize();
  for (const auto* text :
       {"", "{", "[", "\"", "\\", "{\"jsonrpc\":", "\xff\xfe", "\xef\xbb\xbf",
        "{}{}", "[][]", "nul", "tru", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}",
        "GET / HTTP/1.1", "Content-Length: 10", "{\"\\u0000\":1}"}) {
    c.send_text(text);
    still_serves(c);
  }
}

TEST_CASE("a method of any bytes is refused as unknown") {
  hostile f;
  client c{*f.here};
  c.initialize();
  for (const auto& method : std::vector<std::string>{
           "", " ping", "ping ", "PING", "Ping", "tools/Call", "tools//call",
           "rpc.discover", "__proto__", "\n", std::string("ping\0", 5), "\\",
           "notifications/cancelled", "tools/call/x"})
    CHECK(c.code_of(method) == rpc_code::method_not_found);
}

TEST_CASE("batches of batches, of rubbish and of too much are refused") {
  hostile f;
  client c{*f.here};
  c.initialize("2025-03-26");
  c.send_text("[[[]]]");
  auto last = c.out->all().back();
  REQUIRE(last.is_array());
  CHECK(last[0]["error"]["code"] == rpc_code::invalid_request);
  c.send_text("[1,2,\"x\",null,{}]");
  CHECK(c.out->all().back().size() == 5);
  c.send_text("[]");
  CHECK(c.out->all().back()["error"]["code"] == rpc_code::invalid_request);
  std::string flood = "[";
  for (auto i = 0; i < 64; ++i)
    flood += (i > 0 ? "," : "")
             + json{{"jsonrpc", "2.0"},
                    {"id", i},
                    {"method", "tools/call"},
                    {"params", {{"name", "wait"}}}}
                   .dump();
  c.send_text(flood + "]");
  CHECK(c.session->busy() <= 6);
  f.g->open = true;
  CHECK(eventually(10s, [&] {
    return c.out->all().back().is_array() && c.out->all().back().size() == 64;
  }));
  still_serves(c);
}

TEST_CASE("many clients that come and go at once leave nothing behind") {
  hostile f;
  std::vector<std::thread> all;
  for (auto t = 0; t < 4; ++t)
    all.emplace_back([&f] {
      for (auto i = 0; i < 50; ++i) {
        auto out = std::make_shared<kept>();
        auto s = session::make(*f.here, out);
        for (const auto* text :
             {R"({"jsonrpc":"2.0","id":1,"method":"initialize",
                  "params":{"protocolVersion":"2025-06-18"}})",
              R"({"jsonrpc":"2.0","id":2,"method":"tools/call",
                  "params":{"name":"wait"}})",
              R"({"jsonrpc":"2.0","id":3,"method":"tools/call",
                  "params":{"name":"progress",
                  "_meta":{"progressToken":1}}})"})
          s->receive(*parse_text(text), out);
        s->close();
      }
    });
  for (auto& each : all)
    each.join();
  client c{*f.here};
  c.initialize();
  CHECK(eventually(10s, [&] { return f.g->inside == 0; }));
  still_serves(c);
}

TEST_CASE("a server that ends waits for its cancelled calls") {
  auto g = std::make_shared<gate>();
  auto here = server::with({}, test_tools(g));
  {
    client c{*here};
    c.initialize();
    for (auto i = 0; i < 20; ++i)
      c.request(i, "tools/call", {{"name", "wait"}});
    REQUIRE(eventually(10s, [&] { return g->inside == 16; }));
  }
  here.reset();
  CHECK(g->inside == 0);
  CHECK(g->cancelled == 16);
}
