#include "mcp/process_table.hpp"
#include "session_client.hpp"

using namespace caged::mcp;
using namespace caged::mcp::test;
using caged::ec;
using caged::fail;
using caged::result;

namespace {

struct fixture {
  explicit fixture(server_config config = {})
      : here{server::with(std::move(config), test_tools(g))} {}
  ~fixture() { g->open = true; }

  std::shared_ptr<gate> g = std::make_shared<gate>();
  std::unique_ptr<server> here;
};

const json& tool_named(const json& list, const std::string& name) {
  for (const auto& each : list.at("tools"))
    if (each.at("name") == name)
      return each;
  FAIL("no tool " << name);
  return list;
}

} // namespace

TEST_CASE("initialize settles each revision, and the newest for others") {
  for (const auto* each :
       {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}) {
    fixture f;
    client c{*f.here};
    CHECK(c.session->revision().empty());
    auto got = c.initialize(each);
    CHECK(got["protocolVersion"] == each);
    CHECK(c.session->revision() == each);
    CHECK(got["serverInfo"]["name"] == "caged-mcp-server");
    CHECK(got["serverInfo"].contains("title")
          == (std::string{each} >= "2025-06-18"));
    CHECK(got["capabilities"]["tools"].is_object());
    CHECK_FALSE(got["capabilities"].contains("prompts"));
    CHECK_FALSE(got.contains("resultType"));
  }
  for (const auto* each : {"1999-01-01", "2026-07-28", "x"}) {
    fixture f;
    client c{*f.here};
    CHECK(c.initialize(each)["protocolVersion"] == "2025-11-25");
  }
  CHECK(revisions().front() == "2026-07-28");
  CHECK(revisions().size() == 5);
}

TEST_CASE("before initialize only ping is answered, and initialize once") {
  fixture f;
  client c{*f.here};
  CHECK(c.result_of("ping") == json::object());
  CHECK(c.code_of("tools/list") == rpc_code::invalid_request);
  CHECK(c.code_of("initialize") == rpc_code::invalid_params);
  CHECK(c.code_of("initialize", {{"protocolVersion", 20241105}})
        == rpc_code::invalid_params);
  c.initialize();
  CHECK(c.code_of("initialize", {{"protocolVersion", "2025-06-18"}})
        == rpc_code::invalid_request);
  CHECK(c.result_of("ping") == json::object());
}

TEST_CASE("tools are shown as the revision knows them, in their order") {
  const auto list = [](const char* revision) {
    fixture f;
    client c{*f.here};
    c.initialize(revision);
    return c.result_of("tools/list");
  };
  auto oldest = list("2024-11-05");
  CHECK(oldest["tools"][0]["name"] == "echo");
  CHECK(oldest["tools"].size() == 8);
  CHECK_FALSE(tool_named(oldest, "echo").contains("annotations"));
  CHECK_FALSE(tool_named(oldest, "echo").contains("title"));
  CHECK_FALSE(tool_named(oldest, "echo").contains("outputSchema"));
  auto second = list("2025-03-26");
  CHECK(tool_named(second, "echo")["annotations"]["readOnlyHint"] == true);
  CHECK(tool_named(second, "write")["annotations"]["destructiveHint"] == true);
  CHECK_FALSE(tool_named(second, "echo").contains("outputSchema"));
  auto third = list("2025-06-18");
  CHECK(tool_named(third, "echo").contains("outputSchema"));
  CHECK(tool_named(third, "echo")["title"] == "A title");
  CHECK_FALSE(tool_named(third, "wait").contains("outputSchema"));
  CHECK(list("2025-11-25")["tools"] == third["tools"]);
}

TEST_CASE("lists have pages, and a wrong cursor is refused") {
  contents what;
  auto g = std::make_shared<gate>();
  what.tools = test_tools(g);
  what.page = 3;
  auto here = server::with({}, std::move(what));
  client c{*here};
  c.initialize();
  std::vector<std::string> names;
  json params = json::object();
  auto pages = 0;
  for (;;) {
    auto page = c.result_of("tools/list", params);
    ++pages;
    for (const auto& each : page["tools"])
      names.push_back(each["name"]);
    if (!page.contains("nextCursor"))
      break;
    params["cursor"] = page["nextCursor"];
  }
  CHECK(pages == 3);
  CHECK(names
        == std::vector<std::string>{"echo", "wait", "fail", "throw", "progress",
                                    "log", "blocks", "write"});
  for (const json& cursor :
       std::vector<json>{"0", "3", "-1", "", "01", 1, json::array(), "x"})
    CHECK(c.code_of("tools/list", {{"cursor", cursor}})
          == rpc_code::invalid_params);
}

TEST_CASE("text is written twice from one encoding, and is always there") {
  fixture f;
  client c{*f.here};
  c.initialize();
  const std::string text = "a \"b\"\n\t\x01 \xc3\xa9";
  auto got = c.call("echo", {{"text", text}});
  CHECK(got["content"] == json{{{"type", "text"}, {"text", text}}});
  CHECK(got["structuredContent"]
        == json{{"text", text}, {"size", text.size()}});
  CHECK_FALSE(got.contains("isError"));
  auto empty = c.call("echo");
  CHECK(empty["content"] == json{{{"type", "text"}, {"text", ""}}});
  CHECK(empty["structuredContent"] == json{{"text", ""}, {"size", 0}});
  fixture old;
  client d{*old.here};
  d.initialize("2025-03-26");
  auto before = d.call("echo", {{"text", text}});
  CHECK(before["content"][0]["text"] == text);
  CHECK_FALSE(before.contains("structuredContent"));
}

TEST_CASE("invalid UTF-8 of a tool is replaced, not passed on") {
  tool_set tools;
  tools.add(
      plain_tool("bytes", [](const arguments&, call&) -> result<tool_result> {
        tool_result out;
        out.text = "a\xff\xfe b\xed\xa0\x80";
        out.structured = {{"more", "\xff"}};
        out.text_member = "content";
        return out;
      }));
  auto here = server::with({}, std::move(tools));
  client c{*here};
  c.initialize();
  auto got = c.call("bytes");
  const auto text = got["content"][0]["text"].get<std::string>();
  CHECK(text.find("\xef\xbf\xbd") != std::string::npos);
  CHECK(got["structuredContent"]["content"] == text);
  CHECK(got["structuredContent"]["more"] == "\xef\xbf\xbd");
}

TEST_CASE("blocks that a revision does not know are left out") {
  const auto kinds = [](const char* revision) {
    fixture f;
    client c{*f.here};
    c.initialize(revision);
    std::vector<std::string> out;
    const auto got = c.call("blocks");
    for (const auto& each : got["content"])
      out.push_back(each["type"]);
    return out;
  };
  using texts = std::vector<std::string>;
  CHECK(kinds("2024-11-05") == texts{"image"});
  CHECK(kinds("2025-03-26") == texts{"image", "audio"});
  CHECK(kinds("2025-06-18") == texts{"image", "audio", "resource_link"});
}

TEST_CASE("a tool's failure is a result, an unknown tool an error") {
  fixture f;
  client c{*f.here};
  c.initialize();
  auto got = c.call("fail");
  CHECK(got["isError"] == true);
  CHECK(got["content"][0]["text"] == "no such file\nHint: list the folder");
  CHECK_FALSE(got.contains("structuredContent"));
  auto wrong = c.call("echo", {{"texd", "x"}});
  CHECK(wrong["isError"] == true);
  const auto unknown = c.ask("tools/call", {{"name", "nope"}});
  CHECK(unknown["error"]["code"] == rpc_code::invalid_params);
  CHECK(unknown["error"]["message"] == "Unknown tool: nope");
  CHECK(c.code_of("tools/call") == rpc_code::invalid_params);
  CHECK(c.code_of("tools/call", {{"name", 1}}) == rpc_code::invalid_params);
  CHECK(c.code_of("tools/call", {{"name", "echo"}, {"arguments", "x"}})
        == rpc_code::invalid_params);
  CHECK(c.code_of("tools/call", {{"name", "echo"}, {"arguments", {1}}})
        == rpc_code::invalid_params);
  CHECK(c.code_of("nope/list") == rpc_code::method_not_found);
  CHECK(c.code_of("prompts/list") == rpc_code::method_not_found);
  CHECK(c.code_of("resources/list") == rpc_code::method_not_found);
  CHECK(c.code_of("completion/complete") == rpc_code::method_not_found);
  CHECK(c.code_of("server/discover") == rpc_code::method_not_found);
}

TEST_CASE("an exception in a tool costs its call alone and tells nothing") {
  fixture f;
  client c{*f.here};
  c.initialize();
  auto got = c.ask("tools/call", {{"name", "throw"}});
  CHECK(got["error"]["code"] == rpc_code::internal_error);
  CHECK(got.dump().find("secret") == std::string::npos);
  CHECK(c.result_of("ping") == json::object());
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
}

TEST_CASE("a read-only server has no tool that writes and says why") {
  server_config config;
  config.read_only = true;
  fixture f{std::move(config)};
  client c{*f.here};
  c.initialize();
  auto list = c.result_of("tools/list");
  CHECK(list["tools"].size() == 7);
  auto got = c.ask("tools/call", {{"name", "write"}});
  CHECK(got["error"]["code"] == rpc_code::invalid_params);
  CHECK(got["error"]["message"]
        == "Unknown tool: write (this server is read-only)");
}

TEST_CASE("ping and quick calls are answered while slow calls run") {
  fixture f;
  client c{*f.here};
  c.initialize();
  for (auto i = 0; i < 4; ++i)
    c.request(i, "tools/call", {{"name", "wait"}});
  REQUIRE(eventually(10s, [&] { return f.g->inside == 4; }));
  CHECK(c.session->busy() == 4);
  CHECK(c.result_of("ping") == json::object());
  CHECK(c.call("echo", {{"text", "x"}})["content"][0]["text"] == "x");
  CHECK(c.out->answer(0).is_null());
  f.g->open = true;
  for (auto i = 0; i < 4; ++i)
    CHECK(eventually(10s, [&] { return !c.out->answer(i).is_null(); }));
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
}

TEST_CASE("calls beyond the bound wait, and beyond that are refused") {
  server_config config;
  config.limits.concurrent_calls = 2;
  config.limits.waiting_calls = 3;
  fixture f{std::move(config)};
  client c{*f.here};
  c.initialize();
  for (auto i = 0; i < 2; ++i)
    c.request(i, "tools/call", {{"name", "wait"}});
  REQUIRE(eventually(10s, [&] { return f.g->inside == 2; }));
  for (auto i = 2; i < 10; ++i)
    c.request(i, "tools/call", {{"name", "wait"}});
  for (auto i = 5; i < 10; ++i)
    CHECK(c.out->answer(i)["error"]["code"] == rpc_code::internal_error);
  // Another client has its own queue.
  client d{*f.here};
  d.initialize();
  d.request(1, "tools/call", {{"name", "wait"}});
  CHECK(d.out->answer(1).is_null());
  f.g->open = true;
  for (auto i = 0; i < 5; ++i)
    CHECK(eventually(10s, [&] { return c.out->answer(i).contains("result"); }));
  CHECK(eventually(10s, [&] { return d.out->answer(1).contains("result"); }));
  CHECK(f.g->most == 2);
}

TEST_CASE("a cancelled call stops and is not answered") {
  server_config config;
  config.limits.concurrent_calls = 1;
  fixture f{std::move(config)};
  client c{*f.here};
  c.initialize();
  c.request("runs", "tools/call", {{"name", "wait"}});
  REQUIRE(eventually(10s, [&] { return f.g->inside == 1; }));
  c.request("waits", "tools/call", {{"name", "wait"}});
  c.notify("notifications/cancelled", {{"requestId", "waits"}});
  c.notify("notifications/cancelled",
           {{"requestId", "runs"}, {"reason", "bored"}});
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
  CHECK(f.g->cancelled == 1);
  CHECK(f.g->most == 1);
  CHECK(c.out->answer("runs").is_null());
  CHECK(c.out->answer("waits").is_null());
  // initialize, initialized, and four texts: each came to its end.
  CHECK(c.out->ends() == 6);
  // The id may be used again.
  f.g->open = true;
  c.request("runs", "tools/call", {{"name", "wait"}});
  CHECK(eventually(10s, [&] { return !c.out->answer("runs").is_null(); }));
}

TEST_CASE("cancelling what is unknown or wrong is ignored") {
  fixture f;
  client c{*f.here};
  c.initialize();
  const auto before = c.out->all().size();
  for (const auto& params : std::vector<json>{json::object(),
                                              {{"requestId", 7}},
                                              {{"requestId", nullptr}},
                                              {{"requestId", {1}}},
                                              {{"requestId", 1.5}},
                                              {{"x", 1}}})
    c.notify("notifications/cancelled", params);
  c.notify("notifications/nobody-knows", json::object());
  c.notify("tools/list", json::object());
  CHECK(c.out->all().size() == before);
}

TEST_CASE("closing a session cancels its calls, answers nothing") {
  fixture f;
  client c{*f.here};
  c.initialize();
  c.request(1, "tools/call", {{"name", "wait"}});
  REQUIRE(eventually(10s, [&] { return f.g->inside == 1; }));
  c.session->close();
  c.session->close();
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
  CHECK(f.g->cancelled == 1);
  CHECK(c.out->answer(1).is_null());
  c.request(2, "tools/call", {{"name", "wait"}});
  CHECK(c.out->answer(2)["error"]["code"] == rpc_code::internal_error);
}

TEST_CASE("an id in use by a call is refused until it has its answer") {
  fixture f;
  client c{*f.here};
  c.initialize();
  c.request(1, "tools/call", {{"name", "wait"}});
  c.request(1, "tools/call", {{"name", "wait"}});
  CHECK(c.out->answer(1)["error"]["code"] == rpc_code::invalid_request);
  // "1" and 1 are two.
  c.request("1", "tools/call", {{"name", "wait"}});
  CHECK(c.out->answer("1").is_null());
}

TEST_CASE("progress grows, carries the token and has a bounded rate") {
  fixture f;
  client c{*f.here};
  c.initialize();
  c.call("progress");
  CHECK(c.out->notes("notifications/progress").empty());
  c.result_of("tools/call",
              {{"name", "progress"}, {"_meta", {{"progressToken", "tok"}}}});
  auto notes = c.out->notes("notifications/progress");
  REQUIRE(notes.size() >= 2);
  CHECK(notes.size() < 100);
  CHECK(notes[0]
        == json{{"progressToken", "tok"},
                {"progress", 1.0},
                {"total", 3.0},
                {"message", "one"}});
  CHECK(notes[1] == json{{"progressToken", "tok"}, {"progress", 3.0}});
  for (std::size_t i = 1; i < notes.size(); ++i)
    CHECK(notes[i]["progress"] > notes[i - 1]["progress"]);
}

TEST_CASE("log messages come from the level that the client has set") {
  fixture f;
  client c{*f.here};
  c.initialize();
  c.call("log");
  auto notes = c.out->notes("notifications/message");
  REQUIRE(notes.size() == 1);
  CHECK(notes[0]
        == json{{"level", "warning"}, {"logger", "t"}, {"data", {{"a", 1}}}});
  c.result_of("logging/setLevel", {{"level", "debug"}});
  c.call("log");
  CHECK(c.out->notes("notifications/message").size() == 3);
  c.result_of("logging/setLevel", {{"level", "emergency"}});
  c.call("log");
  CHECK(c.out->notes("notifications/message").size() == 3);
  for (const json& level : std::vector<json>{"loud", 1, nullptr, ""})
    CHECK(c.code_of("logging/setLevel", {{"level", level}})
          == rpc_code::invalid_params);
}

TEST_CASE("a batch is answered by one array, in 2025-03-26 alone") {
  const auto batch = R"([{"jsonrpc":"2.0","id":1,"method":"ping"},
    {"jsonrpc":"2.0","method":"notifications/x"},
    {"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"fail"}},
    7, {"jsonrpc":"2.0","id":3,"method":"nope"}])";
  fixture f;
  client c{*f.here};
  c.initialize("2025-03-26");
  const auto before = c.out->all().size();
  c.send_text(batch);
  REQUIRE(eventually(10s, [&] { return c.out->all().size() == before + 1; }));
  const auto answers = c.out->all().back();
  REQUIRE(answers.is_array());
  CHECK(answers.size() == 4);
  std::vector<json> ids;
  for (const auto& each : answers)
    ids.push_back(each["id"]);
  for (const json& id : std::vector<json>{1, 2, 3, nullptr})
    CHECK(std::count(ids.begin(), ids.end(), id) == 1);
  // Only notifications: no answer at all.
  c.send_text(R"([{"jsonrpc":"2.0","method":"notifications/x"}])");
  CHECK(c.out->all().size() == before + 1);
  for (const auto* each : {"2024-11-05", "2025-06-18", "2025-11-25"}) {
    fixture other;
    client d{*other.here};
    d.initialize(each);
    const auto had = d.out->all().size();
    d.send_text(batch);
    REQUIRE(d.out->all().size() == had + 1);
    CHECK(d.out->all().back()["error"]["code"] == rpc_code::invalid_request);
  }
}

TEST_CASE("2026-07-28 needs no handshake and tells itself in each result") {
  fixture f;
  client c{*f.here};
  auto found = c.result_of("server/discover", modern());
  CHECK(found["supportedVersions"] == json(revisions()));
  CHECK(found["resultType"] == "complete");
  CHECK(found["ttlMs"].is_number_integer());
  CHECK(found["cacheScope"] == "private");
  CHECK(found["capabilities"]["tools"].is_object());
  CHECK(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"]
        == "caged-mcp-server");
  CHECK_FALSE(found.contains("serverInfo"));
  auto list = c.result_of("tools/list", modern());
  CHECK(list["resultType"] == "complete");
  CHECK(list["ttlMs"].is_number_integer());
  CHECK(list["cacheScope"] == "private");
  CHECK(tool_named(list, "echo").contains("outputSchema"));
  auto got = c.result_of(
      "tools/call", modern({{"name", "echo"}, {"arguments", {{"text", "x"}}}}));
  CHECK(got["resultType"] == "complete");
  CHECK(got["structuredContent"]["text"] == "x");
  CHECK(c.session->revision().empty());
  CHECK(c.code_of("tools/list") == rpc_code::invalid_request);
}

TEST_CASE("2026-07-28 has no ping, initialize nor setLevel") {
  fixture f;
  client c{*f.here};
  for (const auto* method :
       {"ping", "initialize", "logging/setLevel", "resources/subscribe"})
    CHECK(c.code_of(method, modern()) == rpc_code::method_not_found);
}

TEST_CASE("2026-07-28 refuses other versions and half metadata") {
  fixture f;
  client c{*f.here};
  auto got = c.ask("tools/list", modern(json::object(), "1900-01-01"));
  CHECK(got["error"]["code"] == rpc_code::unsupported_version);
  CHECK(got["error"]["data"]["requested"] == "1900-01-01");
  CHECK(got["error"]["data"]["supported"] == json(revisions()));
  CHECK(c.code_of("tools/list", modern(json::object(), "2025-11-25"))
        == rpc_code::unsupported_version);
  auto half = modern();
  half["_meta"].erase("io.modelcontextprotocol/clientCapabilities");
  CHECK(c.code_of("tools/list", half) == rpc_code::invalid_params);
  auto wrong = modern();
  wrong["_meta"]["io.modelcontextprotocol/protocolVersion"] = 3;
  CHECK(c.code_of("tools/list", wrong) == rpc_code::invalid_params);
  auto level = modern();
  level["_meta"]["io.modelcontextprotocol/logLevel"] = "loud";
  CHECK(c.code_of("tools/list", level) == rpc_code::invalid_params);
}

TEST_CASE("2026-07-28 logs only for a request that names a level") {
  fixture f;
  client c{*f.here};
  c.result_of("tools/call", modern({{"name", "log"}}));
  CHECK(c.out->notes("notifications/message").empty());
  auto params = modern({{"name", "log"}});
  params["_meta"]["io.modelcontextprotocol/logLevel"] = "debug";
  c.result_of("tools/call", params);
  CHECK(c.out->notes("notifications/message").size() == 2);
}

TEST_CASE("a subscription is acknowledged and open until it is cancelled") {
  fixture f;
  client c{*f.here};
  CHECK(c.code_of("subscriptions/listen", modern())
        == rpc_code::invalid_params);
  const auto ends = c.out->ends();
  c.request("sub", "subscriptions/listen",
            modern({{"notifications", {{"toolsListChanged", true}}}}));
  auto notes = c.out->notes("notifications/subscriptions/acknowledged");
  REQUIRE(notes.size() == 1);
  CHECK(notes[0]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "sub");
  CHECK(notes[0]["notifications"] == json::object());
  CHECK(c.out->ends() == ends);
  c.request("sub", "subscriptions/listen",
            modern({{"notifications", json::object()}}));
  CHECK(c.out->answer("sub")["error"]["code"] == rpc_code::invalid_request);
  c.notify("notifications/cancelled", {{"requestId", "sub"}});
  CHECK(c.out->ends() == ends + 3);
}

TEST_CASE("both eras are served side by side") {
  fixture f;
  client c{*f.here};
  c.initialize("2024-11-05");
  CHECK_FALSE(c.result_of("tools/list").contains("resultType"));
  CHECK(c.result_of("tools/list", modern())["resultType"] == "complete");
  // The settled revision may be named, too.
  CHECK_FALSE(c.result_of("tools/list", modern(json::object(), "2024-11-05"))
                  .contains("resultType"));
}

TEST_CASE("a tool may ask the client and gets what it answers") {
  tool_set tools;
  tools.add(
      plain_tool("ask", [](const arguments&, call& c) -> result<tool_result> {
        auto got = c.ask("elicitation/create", {{"message", "?"}});
        if (!got)
          return tl::unexpected(got.error());
        tool_result out;
        out.text = got->dump();
        return out;
      }));
  auto here = server::with({}, std::move(tools));
  client c{*here};
  c.initialize();
  const auto asked = [&] {
    for (const auto& each : c.out->all())
      if (each.value("method", "") == "elicitation/create"
          && !each.contains("seen"))
        return each;
    return json{};
  };
  c.request(1, "tools/call", {{"name", "ask"}});
  REQUIRE(eventually(10s, [&] { return asked().is_object(); }));
  CHECK(asked()["params"]["message"] == "?");
  c.send({{"jsonrpc", "2.0"}, {"id", "other"}, {"result", {{"a", 0}}}});
  c.send({{"jsonrpc", "2.0"}, {"id", asked()["id"]}, {"result", {{"a", 1}}}});
  c.send({{"jsonrpc", "2.0"}, {"id", asked()["id"]}, {"result", {{"a", 2}}}});
  REQUIRE(eventually(10s, [&] { return !c.out->answer(1).is_null(); }));
  CHECK(c.out->answer(1)["result"]["content"][0]["text"] == R"({"a":1})");
  // Cancelled while it waits.
  c.request(2, "tools/call", {{"name", "ask"}});
  c.notify("notifications/cancelled", {{"requestId", 2}});
  CHECK(eventually(10s, [&] { return c.session->busy() == 0; }));
  CHECK(c.out->answer(2).is_null());
  // A client of 2026-07-28 cannot be asked.
  CHECK(c.result_of("tools/call", modern({{"name", "ask"}}))["isError"]
        == true);
}

TEST_CASE("requests without a session share their background commands") {
  std::vector<process_table*> seen;
  tool_set tools;
  tool look;
  look.name = "look";
  look.input_schema = [] { return json{{"type", "object"}}; };
  look.run = [&](const arguments&, call& of) -> result<tool_result> {
    seen.push_back(&of.processes());
    return tool_result{};
  };
  tools.add(look);
  auto server = server::with({}, std::move(tools));
  auto shared = std::make_shared<process_table>();
  for (int i = 0; i < 2; ++i) {
    auto out = std::make_shared<kept>();
    auto one = session::make(*server, nullptr, shared);
    one->receive(
        *parse_text(R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":)"
                    R"({"name":"look","arguments":{},"_meta":{)"
                    R"("io.modelcontextprotocol/protocolVersion":"2026-07-28",)"
                    R"("io.modelcontextprotocol/clientCapabilities":{}}}})"),
        out);
    REQUIRE(eventually(5s, [&] { return !out->answer(1).is_null(); }));
    INFO(out->answer(1).dump());
    one->close();
  }
  CHECK(seen == std::vector<process_table*>{shared.get(), shared.get()});
}
