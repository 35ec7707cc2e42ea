#include "mcp/web_rules.hpp"

#include <catch2/catch.hpp>

using namespace caged;
using namespace caged::mcp;

namespace {

web_policy local() {
  return *make_policy(server_config{});
}

web_head head_for(std::string_view host, std::string_view target = "/mcp") {
  web_head out;
  out.method = "POST";
  out.target = target;
  out.has_host = true;
  out.host = host;
  return out;
}

unsigned status_for(const web_policy& policy, const web_head& head) {
  const auto bad = check_head(policy, head);
  return bad ? bad->status : 200;
}

incoming modern_call(const std::string& method, json params) {
  params["_meta"] = {
      {"io.modelcontextprotocol/protocolVersion", "2026-07-28"},
      {"io.modelcontextprotocol/clientCapabilities", json::object()}};
  return {incoming::sort::request, 1, method, std::move(params)};
}

web_head mirrored(std::string_view method, std::string_view name) {
  web_head out;
  out.protocol_version = "2026-07-28";
  out.method_name = method;
  out.has_name = !name.empty();
  out.name = name;
  return out;
}

int code_for(const web_head& head, const incoming& request) {
  const auto bad = check_mirrored(head, request, "2026-07-28");
  return bad ? bad->code : 0;
}

} // namespace

TEST_CASE("a host must be a numeric address", "[mcp][web]") {
  server_config config;
  for (const auto* good : {"127.0.0.1", "localhost", "::1", "[::1]"}) {
    config.host = good;
    const auto policy = make_policy(config);
    REQUIRE(policy);
    CHECK(policy->loopback);
  }
  for (const auto* bad : {"example.com", "", "127.1", "0x7f000001", "::1%lo",
                          "127.0.0.1:80", "127.0.0.1\n"}) {
    config.host = bad;
    const auto policy = make_policy(config);
    REQUIRE_FALSE(policy);
    CHECK(policy.error().code == ec::bad_request);
    CHECK_FALSE(policy.error().hint.empty());
  }
}

TEST_CASE("beyond loopback a token is required", "[mcp][web]") {
  server_config config;
  for (const auto* open : {"0.0.0.0", "::", "10.0.0.7"}) {
    config.host = open;
    config.token.reset();
    REQUIRE_FALSE(make_policy(config));
    config.token = "";
    REQUIRE_FALSE(make_policy(config));
    config.token = "t";
    const auto policy = make_policy(config);
    REQUIRE(policy);
    CHECK_FALSE(policy->loopback);
  }
}

TEST_CASE("a Unix socket needs no token and checks as loopback does",
          "[mcp][web]") {
  server_config config;
  config.host = "0.0.0.0"; // not looked at
  config.socket = "/run/mcp.sock";
  const auto policy = make_policy(config);
  REQUIRE(policy);
  CHECK(policy->loopback);
  CHECK_FALSE(policy->token);
  CHECK(status_for(*policy, head_for("localhost")) == 200);
  CHECK(status_for(*policy, head_for("evil.example.com")) == 403);
}

TEST_CASE("only names of this machine pass as Host on loopback", "[mcp][web]") {
  for (const auto* good :
       {"localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:1", "127.9.9.9",
        "[::1]", "[::1]:9090", "[::ffff:127.0.0.1]"})
    CHECK(status_for(local(), head_for(good)) == 200);
  for (const auto* bad : {"evil.example.com",
                          "localhost.evil.example.com",
                          "127.0.0.1.evil.com",
                          "evil.com:9090",
                          "localhost:evil",
                          "localhost:",
                          "localhost:80:80",
                          "localhost@evil.com",
                          "evil.com@localhost",
                          "[::1",
                          "[::1]evil",
                          "[::2]",
                          "::1",
                          "",
                          "0.0.0.0",
                          "2130706433",
                          "127.1",
                          "localhost.",
                          " localhost",
                          "localhost/",
                          "192.168.0.1"})
    CHECK(status_for(local(), head_for(bad)) == 403);
}

TEST_CASE("a request without or with two Hosts is refused", "[mcp][web]") {
  auto head = head_for("localhost");
  head.has_host = false;
  CHECK(status_for(local(), head) == 400);
  head.http_1_0 = true;
  CHECK(status_for(local(), head) == 200);
  head = head_for("localhost");
  head.repeated = true;
  CHECK(status_for(local(), head) == 400);
}

TEST_CASE("Origin must be of this machine or allowed", "[mcp][web]") {
  auto policy = local();
  policy.origins = {"https://app.example.com", "vscode-webview://x"};
  auto head = head_for("localhost");
  head.has_origin = true;
  for (const auto* good :
       {"http://localhost", "http://localhost:3000", "https://127.0.0.1:8443",
        "http://[::1]:1", "https://app.example.com", "HTTPS://APP.EXAMPLE.COM",
        "vscode-webview://x"}) {
    head.origin = good;
    CHECK(status_for(policy, head) == 200);
  }
  for (const auto* bad :
       {"null", "", "http://evil.example.com", "http://localhost.evil.com",
        "http://localhost@evil.com", "http://evil.com#localhost",
        "http://localhost/", "http://localhost:80@evil.com", "file://",
        "https://app.example.com.evil.com", "https://app.example.com:444",
        "http://app.example.com", "chrome-extension://localhost",
        "http://127.0.0.1.evil.com", "http://"}) {
    head.origin = bad;
    CHECK(status_for(policy, head) == 403);
  }
}

TEST_CASE("a token is compared as a whole", "[mcp][web]") {
  CHECK(token_matches("Bearer secret", "secret"));
  CHECK(token_matches("bearer  secret", "secret"));
  for (const auto* bad : {"", "Bearer", "Bearer ", "Bearer secre",
                          "Bearer secrets", "Bearer secretsecret", "secret",
                          "Basic secret", "Bearer Secret", "Bearersecret"})
    CHECK_FALSE(token_matches(bad, "secret"));
  CHECK_FALSE(token_matches("Bearer ", ""));
  auto policy = local();
  policy.token = "secret";
  auto head = head_for("localhost");
  CHECK(status_for(policy, head) == 401);
  head.authorization = "Bearer secret";
  CHECK(status_for(policy, head) == 200);
  // Strangers from the web do not even learn that there is a token.
  head.authorization = "";
  head.has_origin = true;
  head.origin = "http://evil.example.com";
  CHECK(status_for(policy, head) == 403);
}

TEST_CASE("nothing but the endpoint is served", "[mcp][web]") {
  for (const auto* good : {"/", "/mcp", "/mcp?x=1", "/?token=../x"})
    CHECK(status_for(local(), head_for("localhost", good)) == 200);
  for (const auto* bad :
       {"", "/mcp/", "//mcp", "/mcp/..", "/../mcp", "/%6dcp", "/MCP", "mcp",
        "http://localhost/mcp", "*", "/mcp#x", "/mcp;x", "/mcp%3f", "/.mcp",
        "/mcp\\", "/etc/passwd", "/mcp/../../etc/passwd"})
    CHECK(status_for(local(), head_for("localhost", bad)) == 404);
}

TEST_CASE("Accept is read with wildcards and weights", "[mcp][web]") {
  const auto* json = "application/json";
  for (const auto* good :
       {"", "*/*", "application/json", "text/event-stream, application/json",
        "APPLICATION/JSON;q=0.5", "application/*", "text/html,*/*;q=0.1",
        " application/json ; charset=utf-8 "})
    CHECK(accepts(good, json));
  for (const auto* bad :
       {"text/html", "text/*", "application/json;q=0", "application/jsonp",
        "application/json; q=0.000, */*", "*/*;q=0", "application/xml,text/a"})
    CHECK_FALSE(accepts(bad, json));
}

TEST_CASE("a message is JSON in UTF-8", "[mcp][web]") {
  for (const auto* good :
       {"application/json", "Application/JSON; charset=utf-8",
        "application/json;charset=\"UTF-8\""})
    CHECK(is_json(good));
  for (const auto* bad :
       {"", "text/plain", "application/json-patch+json",
        "application/x-www-form-urlencoded", "application/json; charset=utf-16",
        "multipart/form-data; boundary=application/json"})
    CHECK_FALSE(is_json(bad));
}

TEST_CASE("header values are decoded as the revision says", "[mcp][web]") {
  // The examples of 2026-07-28, streamable-http, "Value Encoding".
  CHECK(decode_header("us-west1") == "us-west1");
  CHECK(decode_header("=?base64?SGVsbG8sIOS4lueVjA==?=")
        == "Hello, \u4e16\u754c");
  CHECK(decode_header("=?base64?IHBhZGRlZCA=?=") == " padded ");
  CHECK(decode_header("=?base64?bGluZTEKbGluZTI=?=") == "line1\nline2");
  CHECK(decode_header("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=")
        == "=?base64?literal?=");
  CHECK(decode_header("=?base64?"
                      "?=")
        == "");
  CHECK(decode_header("=?BASE64?eA==?=") == "=?BASE64?eA==?=");
  CHECK_FALSE(decode_header("=?base64?!!!?="));
  CHECK_FALSE(decode_header("a\x01z"));
  CHECK_FALSE(decode_header("\xc3\xa9"));
}

TEST_CASE("headers of 2026-07-28 must say what the body says", "[mcp][web]") {
  const auto list = modern_call("tools/list", json::object());
  const auto tool = modern_call("tools/call", {{"name", "file_read"}});
  const auto read = modern_call("resources/read", {{"uri", "file:///\u00e4"}});
  CHECK(code_for(mirrored("tools/list", ""), list) == 0);
  CHECK(code_for(mirrored("tools/call", "file_read"), tool) == 0);
  CHECK(code_for(mirrored("tools/call", "=?base64?ZmlsZV9yZWFk?="), tool) == 0);
  CHECK(
      code_for(mirrored("resources/read", "=?base64?ZmlsZTovLy/DpA==?="), read)
      == 0);
  const auto wrong = rpc_code::header_mismatch;
  CHECK(code_for(mirrored("", ""), list) == wrong);
  CHECK(code_for(mirrored("TOOLS/LIST", ""), list) == wrong);
  CHECK(code_for(mirrored("tools/call", "file_read"), list) == wrong);
  CHECK(code_for(mirrored("tools/call", ""), tool) == wrong);
  CHECK(code_for(mirrored("tools/call", "File_read"), tool) == wrong);
  CHECK(code_for(mirrored("tools/call", "file_write"), tool) == wrong);
  CHECK(code_for(mirrored("tools/call", "=?base64?%?="), tool) == wrong);
  auto old = mirrored("tools/list", "");
  old.protocol_version = "2025-11-25";
  CHECK(code_for(old, list) == wrong);
  old.protocol_version = "";
  CHECK(code_for(old, list) == wrong);
}

TEST_CASE("what 2026-07-28 requires in _meta is missed", "[mcp][web]") {
  auto request = modern_call("tools/list", json::object());
  CHECK_FALSE(lacks_meta(request));
  request.params["_meta"].erase("io.modelcontextprotocol/clientCapabilities");
  CHECK(lacks_meta(request));
  request.params = json::object();
  CHECK(lacks_meta(request));
  request.params["_meta"] = 7;
  CHECK(lacks_meta(request));
}

TEST_CASE("an answer has the status that its revision says", "[mcp][web]") {
  const auto error = [](const json& id, int code) {
    return json{{"jsonrpc", "2.0"},
                {"id", id},
                {"error", {{"code", code}, {"message", "m"}}}}
        .dump();
  };
  CHECK(status_of(R"({"jsonrpc":"2.0","id":1,"result":{}})", true, false)
        == 200);
  CHECK(status_of(R"({"id":1,"result":{"text":"\"error\":{\"code\":-32601}"}})",
                  true, false)
        == 200);
  CHECK(status_of(R"({"id":1,"result":{"error":{"code":-32601}}})", true, false)
        == 200);
  CHECK(status_of(error(1, -32601), true, false) == 404);
  CHECK(status_of(error(1, -32601), false, false) == 200);
  CHECK(status_of(error(1, -32020), true, false) == 400);
  CHECK(status_of(error(1, -32021), true, false) == 400);
  CHECK(status_of(error(1, -32022), true, false) == 400);
  CHECK(status_of(error(1, -32602), true, false) == 200);
  CHECK(status_of(error(1, -32602), true, true) == 400);
  CHECK(status_of(error(nullptr, -32600), false, false) == 400);
  CHECK(status_of("\"error\"", true, false) == 200);
}

TEST_CASE("event ids are two numbers", "[mcp][web]") {
  CHECK(parse_event_id("3-14") == event_id{3, 14});
  CHECK(parse_event_id("0-0") == event_id{0, 0});
  CHECK(parse_event_id("18446744073709551615-1")
        == event_id{18446744073709551615U, 1});
  for (const auto* bad :
       {"", "-", "1", "1-", "-1", "a-1", "1-a", "1-2-3", "+1-2", " 1-2", "1- 2",
        "18446744073709551616-1", "1-99999999999999999999999", "0x1-1"})
    CHECK_FALSE(parse_event_id(bad));
}

TEST_CASE("events and chunks have their form", "[mcp][web]") {
  std::string out;
  const event_id id{2, 7};
  append_event(out, &id, "{}");
  CHECK(out == "id: 2-7\nevent: message\ndata: {}\n\n");
  out.clear();
  append_event(out, nullptr, "{}");
  CHECK(out == "event: message\ndata: {}\n\n");
  out.clear();
  append_chunk(out, std::string(26, 'x'));
  CHECK(out == "1a\r\n" + std::string(26, 'x') + "\r\n");
}

TEST_CASE("a response says how long it is and when it was", "[mcp][web]") {
  auto head = response_head({200, "application/json", 12, true, false});
  CHECK(head.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(head.find("Content-Length: 12\r\n") != std::string::npos);
  CHECK(head.find("\r\nDate: ") != std::string::npos);
  CHECK(head.find(" GMT\r\n") != std::string::npos);
  head = response_head({200, "text/event-stream", std::nullopt, true, false});
  CHECK(head.find("Transfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(head.find("Content-Length") == std::string::npos);
  head = response_head({200, "text/event-stream", std::nullopt, false, true});
  CHECK(head.starts_with("HTTP/1.0 200 OK\r\n"));
  CHECK(head.find("chunked") == std::string::npos);
  CHECK(head.find("Connection: close\r\n") != std::string::npos);
}
