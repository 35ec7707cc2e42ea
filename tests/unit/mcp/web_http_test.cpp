#include <catch2/catch.hpp>

#include "fake_session.hpp"
#include "mcp/web_rules.hpp"
#include "web_client.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;
using namespace std::chrono_literals;

namespace {

const auto soon = patient(20s);

struct http_server : fake_server {
  explicit http_server(server_config with = {}, const web_times& times = {})
      : fake_server{transport::http, std::move(with), times} {}
};

using fields = web_client::fields;

/// The id of a new session.
std::string begin(const fake_server& server,
                  std::string_view revision = "2025-11-25") {
  web_client client{server.port()};
  auto answer = client.post(
      rpc(0, "initialize", {{"protocolVersion", std::string{revision}}}));
  if (answer.status != 200)
    throw std::runtime_error("no session: " + answer.body);
  return answer.header("mcp-session-id");
}

fields in(const std::string& session, fields extra = {}) {
  extra["Mcp-Session-Id"] = session;
  return extra;
}

fields modern(const std::string& method, const std::string& name = {},
              fields extra = {}) {
  extra.emplace("MCP-Protocol-Version", "2026-07-28");
  extra.emplace("Mcp-Method", method);
  if (!name.empty())
    extra.emplace("Mcp-Name", name);
  return extra;
}

std::string modern_call(int id, const std::string& method,
                        json params = json::object(),
                        const std::string& version = "2026-07-28") {
  params["_meta"] = {
      {"io.modelcontextprotocol/protocolVersion", version},
      {"io.modelcontextprotocol/clientCapabilities", json::object()}};
  return rpc(id, method, params);
}

int code_of(const http_response& answer) {
  return json::parse(answer.body)["error"]["code"];
}

/// The line of an event that starts so.
std::string line(const std::string& event, const std::string& with) {
  const auto at = ("\n" + event).find("\n" + with);
  if (at == std::string::npos)
    return {};
  const auto from = at + with.size();
  return event.substr(from, event.find('\n', from) - from);
}

bool serves(const fake_server& server) {
  web_client client{server.port()};
  return client.post(modern_call(1, "ping"), modern("ping")).status == 200;
}

} // namespace

TEST_CASE("a session begins with initialize and ends with DELETE",
          "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  REQUIRE(id.size() >= 32);
  CHECK(begin(server) != id);
  web_client client{server.port()};
  const auto pong = client.post(rpc(1, "ping"), in(id));
  CHECK(pong.status == 200);
  CHECK(pong.headers.at("content-type") == "application/json");
  CHECK(json::parse(pong.body)["id"] == 1);
  const auto note =
      client.post(R"({"jsonrpc":"2.0","method":"notifications/initialized"})",
                  in(id, {{"MCP-Protocol-Version", "2025-11-25"}}));
  CHECK(note.status == 202);
  CHECK(note.body.empty());
  CHECK(client.post(R"({"jsonrpc":"2.0","id":1,"result":{}})", in(id)).status
        == 202);
  CHECK(client.ask("DELETE", in(id)).status == 204);
  CHECK(server.world.closed == 1);
  CHECK(client.post(rpc(2, "ping"), in(id)).status == 404);
  CHECK(client.ask("DELETE", in(id)).status == 404);
  CHECK(client.ask("GET", in(id)).status == 404);
}

TEST_CASE("a request without its session is refused", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client client{server.port()};
  CHECK(client.post(rpc(1, "ping")).status == 400);
  CHECK(client.ask("GET").status == 400);
  CHECK(client.ask("DELETE").status == 400);
  CHECK(client.post(rpc(1, "ping"), in("x")).status == 404);
  CHECK(client.post(rpc(1, "ping"), in(id + " ")).status == 200);
  CHECK(client.post(rpc(1, "ping"), in(id + "0")).status == 404);
  CHECK(client
            .post(rpc(1, "initialize", {{"protocolVersion", "2025-11-25"}}),
                  in("00000000-0000-0000-0000-000000000000"))
            .status
        == 404);
  CHECK(server.world.made == 1);
}

TEST_CASE("a refused initialize leaves no session", "[mcp][web]") {
  http_server server;
  web_client client{server.port()};
  auto answer = client.post(rpc(1, "initialize"));
  CHECK(answer.header("mcp-session-id").empty());
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
}

TEST_CASE("heads that the transport does not take are refused", "[mcp][web]") {
  server_config config;
  config.token = "secret";
  http_server server{config};
  const auto status = [&](std::string_view method, fields extra,
                          std::string_view body = rpc(1, "ping")) {
    web_client client{server.port()};
    extra.emplace("Authorization", "Bearer secret");
    return client.ask(method, extra, method == "POST" ? body : "").status;
  };
  const auto ok = modern("ping");
  const auto with = [&](const std::string& name, const std::string& value) {
    auto out = ok;
    out[name] = value;
    return out;
  };
  const auto body = modern_call(1, "ping");
  CHECK(status("POST", ok, body) == 200);
  CHECK(status("POST", with("Host", "evil.example.com"), body) == 403);
  CHECK(status("POST", with("Host", "evil.example.com:9090"), body) == 403);
  CHECK(status("POST", with("Host", "localhost.evil.com"), body) == 403);
  CHECK(status("POST", with("Origin", "http://evil.example.com"), body) == 403);
  CHECK(status("POST", with("Origin", "null"), body) == 403);
  CHECK(status("POST", with("Origin", "http://localhost:6274"), body) == 200);
  CHECK(status("POST", with("Authorization", "Bearer nonsense"), body) == 401);
  CHECK(status("POST", with("Authorization", "Basic c2VjcmV0"), body) == 401);
  CHECK(status("POST", with("Content-Type", "text/plain"), body) == 415);
  CHECK(status("POST", with("Content-Type", ""), body) == 415);
  CHECK(status("POST", with("Content-Encoding", "gzip"), body) == 415);
  CHECK(status("POST", with("Accept", "text/html"), body) == 406);
  CHECK(status("POST", with("Accept", "application/json;q=0"), body) == 406);
  CHECK(status("GET", {{"Accept", "application/json"}}) == 406);
  CHECK(status("GET", {{"MCP-Protocol-Version", "2026-07-28"}}) == 405);
  CHECK(status("DELETE", {{"MCP-Protocol-Version", "2026-07-28"}}) == 405);
  CHECK(status("PUT", {}) == 405);
  CHECK(status("TRACE", {}) == 405);
  CHECK(status("BREW", {}) == 405);
  CHECK(status("POST", with("X", std::string(20'000, 'x')), body) == 431);
}

TEST_CASE("a refusal tells what to do", "[mcp][web]") {
  server_config config;
  config.token = "secret";
  http_server server{config};
  web_client client{server.port()};
  const auto answer = client.post(rpc(1, "ping"));
  CHECK(answer.status == 401);
  CHECK(answer.headers.at("www-authenticate") == "Bearer");
  const auto body = json::parse(answer.body);
  CHECK(body["id"].is_null());
  CHECK(body["error"]["message"].get<std::string>().find("token")
        != std::string::npos);
  CHECK(client.closed());
}

TEST_CASE("repeated and smuggled headers are refused", "[mcp][web]") {
  http_server server;
  const auto status = [&](const std::string& extra, const std::string& body) {
    web_client client{server.port()};
    client.send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                "application/json\r\n"
                + extra + "\r\n" + body);
    const auto answer = client.response();
    CHECK(client.closed());
    return answer.status;
  };
  const auto ping = modern_call(1, "ping");
  const auto size = "Content-Length: " + std::to_string(ping.size()) + "\r\n";
  CHECK(status(size + "Host: evil.example.com\r\n", ping) == 400);
  CHECK(status(size + "Origin: http://localhost\r\nOrigin: http://evil.com\r\n",
               ping)
        == 400);
  CHECK(status(size + "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n", ping)
        == 400);
  CHECK(status(size + "Mcp-Method: ping\r\nmcp-method: pong\r\n", ping) == 400);
  CHECK(status(size + "Content-Length: 3\r\n", ping) == 400);
  CHECK(status(size + "Transfer-Encoding: chunked\r\n", "0\r\n\r\n") == 400);
  CHECK(status("Content-Length: -1\r\n", ping) == 400);
  CHECK(status("Content-Length: 99999999999999999999999\r\n", ping) == 400);
  CHECK(status("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n") == 400);
  CHECK(status("Content-Length : 2\r\n", "{}") == 400);
  CHECK(serves(server));
  CHECK(server.world.made == 1);
}

TEST_CASE("nothing but the endpoint is there", "[mcp][web]") {
  http_server server;
  for (const auto* target : {"/x", "/mcp/", "//mcp", "/../mcp", "/%6dcp",
                             "http://localhost/mcp", "/mcp/../../etc/passwd"}) {
    web_client client{server.port()};
    client.send("GET " + std::string{target}
                + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(client.response().status == 404);
  }
}

TEST_CASE("a body that is no message is refused with a JSON-RPC error",
          "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client client{server.port()};
  auto answer = client.post("{\"jsonrpc\":", in(id));
  CHECK(answer.status == 400);
  CHECK(code_of(answer) == rpc_code::parse_error);
  CHECK(client.post("", in(id)).status == 400);
  CHECK(client.post("7", in(id)).status == 400);
  // A batch, of which the session thinks nothing.
  answer =
      client.post("[" + rpc(1, "ping") + "," + rpc(2, "ping") + "]", in(id));
  CHECK(answer.status == 400);
  CHECK(code_of(answer) == rpc_code::invalid_request);
  CHECK(client.post(rpc(3, "ping"), in(id)).status == 200);
}

TEST_CASE("a revision that nobody speaks is refused", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client client{server.port()};
  for (const auto* bad : {"1999-01-01", "2099-01-01", "nonsense"}) {
    const fields version{{"MCP-Protocol-Version", bad}};
    CHECK(client.post(rpc(1, "ping"), version).status == 400);
    CHECK(client.post(rpc(1, "ping"), in(id, version)).status == 400);
    CHECK(client.ask("GET", in(id, version)).status == 400);
  }
  for (const auto* good : {"2025-03-26", "2025-06-18", "2025-11-25"})
    CHECK(client.post(rpc(1, "ping"), in(id, {{"MCP-Protocol-Version", good}}))
              .status
          == 200);
}

TEST_CASE("a body that is too large is refused before it comes", "[mcp][web]") {
  server_config config;
  config.max_message_bytes = 10'000;
  http_server server{config};
  web_client client{server.port()};
  client.send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
              "application/json\r\nContent-Length: 10001\r\n\r\n");
  CHECK(client.response().status == 413);
  // And one that does not say how large it is, while it comes.
  web_client chunked{server.port()};
  std::string parts;
  append_chunk(parts, std::string(6'000, ' '));
  chunked.send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
               "application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
               + parts + parts);
  CHECK(chunked.response().status == 413);
  CHECK(serves(server));
}

TEST_CASE("a slow answer comes as events with ids", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client client{server.port()};
  client.send(
      web_client::request("POST", in(id), rpc(1, "hold", {{"count", 2}})));
  auto head = client.head();
  CHECK(head.status == 200);
  CHECK(head.header("content-type") == "text/event-stream");
  const auto opening = client.event().value();
  CHECK(line(opening, "id: ").ends_with("-0"));
  CHECK(line(opening, "data: ").empty());
  CHECK(line(opening, "retry: ") == "1000");
  CHECK(json::parse(line(client.event().value(), "data: "))["method"]
        == "progress");
  CHECK(json::parse(line(client.event().value(), "data: "))["method"]
        == "progress");
  server.world.release();
  const auto last = client.event().value();
  CHECK(json::parse(line(last, "data: "))["id"] == 1);
  CHECK(line(last, "id: ").ends_with("-3"));
  CHECK_FALSE(client.event()); // the end of the stream
  // The connection serves on.
  CHECK(client.post(rpc(2, "ping"), in(id)).status == 200);
}

TEST_CASE("an older client gets no event without a message", "[mcp][web]") {
  http_server server;
  const auto id = begin(server, "2025-06-18");
  web_client client{server.port()};
  client.send(web_client::request("POST", in(id), rpc(1, "hold")));
  client.head();
  server.world.release();
  CHECK(json::parse(line(client.event().value(), "data: "))["id"] == 1);
}

TEST_CASE("an answer that comes soon is plain JSON", "[mcp][web]") {
  web_times times;
  times.quick = patient(5s);
  http_server server{{}, times};
  const auto id = begin(server);
  web_client client{server.port()};
  client.send(web_client::request("POST", in(id), rpc(1, "hold")));
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  server.world.release();
  auto answer = client.response();
  CHECK(answer.header("content-type") == "application/json");
  CHECK(json::parse(answer.body)["id"] == 1);
}

TEST_CASE("a client that takes one kind alone gets that", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client client{server.port()};
  client.send(web_client::request("POST",
                                  in(id, {{"Accept", "*/*;q=0, "
                                                     "application/json"}}),
                                  rpc(1, "hold", {{"count", 3}})));
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  server.world.release();
  auto answer = client.response();
  CHECK(answer.header("content-type") == "application/json");
  CHECK(json::parse(answer.body)["id"] == 1);
  answer =
      client.post(rpc(2, "ping"), in(id, {{"Accept", "text/event-stream"}}));
  CHECK(answer.header("content-type") == "text/event-stream");
  CHECK(answer.body.find("\"id\":2") != std::string::npos);
}

TEST_CASE("a lost stream is resumed where it was", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  std::string seen;
  {
    web_client client{server.port()};
    client.send(
        web_client::request("POST", in(id), rpc(1, "hold", {{"count", 3}})));
    client.head();
    client.event();
    seen = line(client.event().value(), "id: ");
    REQUIRE(seen.ends_with("-1"));
  }
  server.world.release();
  server.world.join();
  web_client again{server.port()};
  again.send(web_client::request("GET", in(id, {{"Last-Event-ID", seen}})));
  CHECK(again.head().status == 200);
  CHECK(line(again.event().value(), "id: ").ends_with("-2"));
  CHECK(line(again.event().value(), "id: ").ends_with("-3"));
  const auto last = again.event().value();
  CHECK(line(last, "id: ").ends_with("-4"));
  CHECK(json::parse(line(last, "data: "))["id"] == 1);
  CHECK_FALSE(again.event());
  // Nothing of it goes to other sessions.
  const auto other = begin(server);
  CHECK(again.ask("GET", in(other, {{"Last-Event-ID", seen}})).status == 400);
  CHECK(server.world.closed == 0);
}

TEST_CASE("a resumed stream goes on while it runs, on the new connection alone",
          "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client old{server.port()};
  old.send(web_client::request("POST", in(id), rpc(1, "hold", {{"count", 2}})));
  old.head();
  const auto first = line(old.event().value(), "id: ");
  web_client fresh{server.port()};
  fresh.send(web_client::request("GET", in(id, {{"Last-Event-ID", first}})));
  CHECK(fresh.head().status == 200);
  CHECK(line(fresh.event().value(), "id: ").ends_with("-1"));
  CHECK(line(fresh.event().value(), "id: ").ends_with("-2"));
  CHECK(old.closed());
  server.world.release();
  CHECK(line(fresh.event().value(), "id: ").ends_with("-3"));
}

TEST_CASE("a resumption that would lose messages is refused", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  {
    web_client client{server.port()};
    client.send(web_client::request(
        "POST", in(id), rpc(1, "flood", {{"size", 100'000}, {"count", 50}})));
    client.response();
  }
  web_client client{server.port()};
  const auto status = [&](const std::string& last) {
    web_client again{server.port()};
    return again.ask("GET", in(id, {{"Last-Event-ID", last}})).status;
  };
  CHECK(status("1-1") == 400);
  CHECK(status("1-50") == 200);
  for (const auto* bad :
       {"1-52", "7-0", "0-0", "x", "-1", "1-", "1-1-1",
        "18446744073709551615-18446744073709551615", "../../etc/passwd"})
    CHECK(status(bad) == 400);
}

TEST_CASE("the GET stream carries what belongs to no request", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  const auto note = R"({"jsonrpc":"2.0","method":"notifications/event"})";
  web_client poster{server.port()};
  auto stream = std::make_unique<web_client>(server.port());
  stream->send(web_client::request("GET", in(id)));
  CHECK(stream->head().status == 200);
  CHECK(line(stream->event().value(), "id: ") == "0-0");
  poster.post(note, in(id));
  const auto event = stream->event().value();
  CHECK(line(event, "id: ") == "0-1");
  CHECK(json::parse(line(event, "data: "))["method"] == "event");
  // Lost, missed and resumed.
  stream.reset();
  poster.post(note, in(id));
  web_client again{server.port()};
  again.send(web_client::request("GET", in(id, {{"Last-Event-ID", "0-1"}})));
  again.head();
  CHECK(line(again.event().value(), "id: ") == "0-2");
  // A new one takes its place and does not see the past.
  web_client third{server.port()};
  third.send(web_client::request("GET", in(id)));
  third.head();
  CHECK(line(third.event().value(), "id: ") == "0-2");
  CHECK(again.closed());
  CHECK(poster.ask("DELETE", in(id)).status == 204);
  CHECK_FALSE(third.event());
}

TEST_CASE("a quiet stream shows that it lives", "[mcp][web]") {
  web_times times;
  times.keep_alive = 100ms;
  http_server server{{}, times};
  const auto id = begin(server);
  web_client client{server.port()};
  client.send(web_client::request("GET", in(id)));
  client.head();
  client.event();
  CHECK(client.event().value() == ":");
}

TEST_CASE("2026-07-28 needs no session", "[mcp][web]") {
  http_server server;
  web_client client{server.port()};
  auto answer = client.post(modern_call(1, "ping"), modern("ping"));
  CHECK(answer.status == 200);
  CHECK(json::parse(answer.body)["id"] == 1);
  CHECK(answer.header("mcp-session-id").empty());
  // A session of older revisions is ignored.
  answer = client.post(modern_call(2, "ping"),
                       modern("ping", "", {{"Mcp-Session-Id", "stale"}}));
  CHECK(answer.status == 200);
  CHECK(client
            .post(R"({"jsonrpc":"2.0","method":"notifications/x"})",
                  modern("notifications/x"))
            .status
        == 202);
  CHECK(eventually(soon, [&] {
    return server.world.made == 2 && server.world.closed == 2;
  }));
}

TEST_CASE("2026-07-28 refuses headers that disagree with the body",
          "[mcp][web]") {
  http_server server;
  web_client client{server.port()};
  const auto code = [&](const fields& with, const std::string& body) {
    const auto answer = client.post(body, with);
    CHECK(answer.status == 400);
    CHECK(json::parse(answer.body)["id"] == 5);
    return code_of(answer);
  };
  const auto body = modern_call(5, "tools/call", {{"name", "a"}});
  CHECK(client.post(body, modern("tools/call", "a")).status == 200);
  CHECK(client.post(body, modern("tools/call", "  a ")).status == 200);
  CHECK(client.post(body, modern("tools/call", "=?base64?YQ==?=")).status
        == 200);
  CHECK(code(modern("tools/call", "b"), body) == -32020);
  CHECK(code(modern("tools/call"), body) == -32020);
  CHECK(code(modern("tools/list", "a"), body) == -32020);
  CHECK(code(modern("TOOLS/CALL", "a"), body) == -32020);
  CHECK(code({{"MCP-Protocol-Version", "2026-07-28"}}, body) == -32020);
  CHECK(code({}, body) == -32020);
  CHECK(
      code(modern("tools/call", "a", {{"MCP-Protocol-Version", "2025-11-25"}}),
           body)
      == -32020);
  CHECK(code(modern("ping"), modern_call(5, "ping", json::object(), "v999"))
        == -32020);
  // Nothing in the body to compare with.
  CHECK(code(modern("ping"), rpc(5, "ping")) == rpc_code::invalid_params);
}

TEST_CASE("2026-07-28 gives errors a status", "[mcp][web]") {
  http_server server;
  web_client client{server.port()};
  const auto status = [&](int code) {
    return client.post(modern_call(1, "fail", {{"code", code}}), modern("fail"))
        .status;
  };
  CHECK(status(-32601) == 404);
  CHECK(status(-32021) == 400);
  CHECK(status(-32022) == 400);
  CHECK(status(-32603) == 200);
  const auto id = begin(server);
  CHECK(client.post(rpc(1, "fail", {{"code", -32601}}), in(id)).status == 200);
}

TEST_CASE("2026-07-28 takes one request alone", "[mcp][web]") {
  http_server server;
  web_client client{server.port()};
  CHECK(client
            .post("[" + modern_call(1, "ping") + "," + modern_call(2, "ping")
                      + "]",
                  modern("ping"))
            .status
        == 400);
  CHECK(
      client.post(R"({"jsonrpc":"2.0","id":1,"result":{}})", modern("x")).status
      == 400);
}

TEST_CASE("a stream of 2026-07-28 is cancelled with its connection",
          "[mcp][web]") {
  http_server server;
  {
    web_client client{server.port()};
    client.send(web_client::request("POST", modern("hold"),
                                    modern_call(1, "hold", {{"count", 1}})));
    CHECK(client.head().status == 200);
    const auto event = client.event().value();
    CHECK(line(event, "id: ").empty());
    CHECK(json::parse(line(event, "data: "))["method"] == "progress");
  }
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
  server.world.release();
  CHECK(eventually(soon, [&] { return server.world.gone == 1; }));
}

TEST_CASE("requests that come together are answered in order", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client client{server.port()};
  std::string all;
  for (int i = 0; i < 20; ++i)
    all += web_client::request("POST", in(id), rpc(i, "ping"));
  // One that takes its time in front of others.
  client.send(web_client::request("POST", in(id), rpc(99, "hold")) + all);
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  server.world.release();
  CHECK(client.response().status == 200);
  for (int i = 0; i < 20; ++i)
    CHECK(json::parse(client.response().body)["id"] == i);
}

TEST_CASE("bodies come in any form of HTTP", "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  const auto body = rpc(4, "ping");
  const auto head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                    "application/json\r\nMcp-Session-Id: "
                    + id + "\r\n";
  web_client chunked{server.port()};
  std::string parts;
  for (const auto c : body)
    append_chunk(parts, std::string(1, c));
  chunked.send(head + "Transfer-Encoding: chunked\r\n\r\n" + parts
               + "0\r\n\r\n");
  CHECK(json::parse(chunked.response().body)["id"] == 4);
  web_client expecting{server.port()};
  expecting.send(head + "Expect: 100-continue\r\nContent-Length: "
                 + std::to_string(body.size()) + "\r\n\r\n");
  CHECK(expecting.head().status == 100);
  expecting.send(body);
  CHECK(json::parse(expecting.response().body)["id"] == 4);
  web_client old{server.port()};
  old.send("POST / HTTP/1.0\r\nContent-Type: application/json\r\n"
           "Mcp-Session-Id: "
           + id + "\r\nContent-Length: " + std::to_string(body.size())
           + "\r\n\r\n" + body);
  CHECK(json::parse(old.response().body)["id"] == 4);
  CHECK(old.closed());
}

TEST_CASE("web pages that are allowed can read what they get", "[mcp][web]") {
  server_config config;
  config.token = "secret";
  config.allowed_origins = {"https://app.example.com"};
  http_server server{config};
  web_client client{server.port()};
  // A preflight carries no token.
  auto answer =
      client.ask("OPTIONS", {{"Origin", "https://app.example.com"},
                             {"Access-Control-Request-Method", "POST"}});
  CHECK(answer.status == 204);
  CHECK(answer.header("access-control-allow-origin")
        == "https://app.example.com");
  CHECK(answer.header("access-control-allow-headers").find("Mcp-Session-Id")
        != std::string::npos);
  answer = client.post(modern_call(1, "ping"),
                       modern("ping", "",
                              {{"Origin", "https://app.example.com"},
                               {"Authorization", "Bearer secret"}}));
  CHECK(answer.status == 200);
  CHECK(answer.header("access-control-allow-origin")
        == "https://app.example.com");
  web_client evil{server.port()};
  answer = evil.ask("OPTIONS", {{"Origin", "https://evil.example.com"}});
  CHECK(answer.status == 403);
  CHECK(answer.header("access-control-allow-origin").empty());
}

TEST_CASE("requests that do not come are not waited for", "[mcp][web]") {
  web_times times;
  times.head = times.body = times.idle = 200ms;
  http_server server{{}, times};
  const auto id = begin(server);
  web_client silent{server.port()};
  CHECK(silent.closed());
  web_client half{server.port()};
  half.send("POST /mcp HTTP/1.1\r\nHost: loc");
  CHECK(half.closed());
  web_client body{server.port()};
  body.send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
            "application/json\r\nContent-Length: 100\r\n\r\n{");
  CHECK(body.closed());
  web_client idle{server.port()};
  CHECK(idle.post(rpc(1, "ping"), in(id)).status == 200);
  CHECK(idle.closed());
  web_client trickle{server.port()};
  std::size_t sent = 0;
  const auto head = web_client::request("POST", in(id), rpc(1, "ping"));
  CHECK(eventually(soon, [&] {
    return !trickle.send(head.substr(sent++ % head.size(), 1))
           || trickle.closed(20ms);
  }));
  CHECK(serves(server));
}

TEST_CASE("a stream whose reader stops is closed and kept for later",
          "[mcp][web]") {
  web_times times;
  times.stall = 300ms;
  http_server server{{}, times};
  const auto id = begin(server);
  web_client slow{server.port(), 4096};
  slow.send(web_client::request(
      "POST", in(id), rpc(1, "flood", {{"size", 100'000}, {"count", 300}})));
  // The call ends all the same: what is sent meanwhile is bounded.
  CHECK(eventually(soon, [&] { return server.world.sent == 300; }));
  CHECK(server.world.gone == 0);
  CHECK(server.world.closed == 0);
  web_client again{server.port()};
  again.send(web_client::request("GET", in(id, {{"Last-Event-ID", "1-300"}})));
  CHECK(again.head().status == 200);
  CHECK(json::parse(line(again.event().value(), "data: "))["id"] == 1);
}

TEST_CASE("sessions are bounded and expire", "[mcp][web]") {
  server_config config;
  config.max_connections = 3;
  web_times times;
  times.session_idle = 400ms;
  http_server server{config, times};
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(begin(server));
  {
    web_client client{server.port()};
    const auto answer =
        client.post(rpc(0, "initialize", {{"protocolVersion", "2025-11-25"}}));
    CHECK(answer.status == 503);
    CHECK(answer.headers.contains("retry-after"));
  }
  // One with a stream does not expire.
  web_client stream{server.port()};
  stream.send(web_client::request("GET", in(ids[0])));
  CHECK(stream.head().status == 200);
  CHECK(eventually(soon, [&] { return server.world.closed == 2; }));
  web_client client{server.port()};
  CHECK(client.post(rpc(1, "ping"), in(ids[1])).status == 404);
  CHECK(client.post(rpc(1, "ping"), in(ids[0])).status == 200);
}

TEST_CASE("connections of HTTP beyond the limit are told so", "[mcp][web]") {
  server_config config;
  config.max_connections = 2;
  http_server server{config};
  web_client first{server.port()}, second{server.port()};
  CHECK(first.post(modern_call(1, "ping"), modern("ping")).status == 200);
  CHECK(second.post(modern_call(1, "ping"), modern("ping")).status == 200);
  web_client third{server.port()};
  CHECK(third.post(modern_call(1, "ping"), modern("ping")).status == 503);
  CHECK(first.post(modern_call(2, "ping"), modern("ping")).status == 200);
}

TEST_CASE("a server of HTTP that stops ends streams after their calls",
          "[mcp][web]") {
  http_server server;
  const auto id = begin(server);
  web_client events{server.port()}, busy{server.port()};
  events.send(web_client::request("GET", in(id)));
  events.head();
  events.event();
  busy.send(web_client::request("POST", in(id), rpc(1, "hold")));
  busy.head();
  busy.event();
  server.server->stop();
  server.world.release();
  CHECK(json::parse(line(busy.event().value(), "data: "))["id"] == 1);
  CHECK_FALSE(busy.event());
  CHECK_FALSE(events.event());
  CHECK(eventually(soon, [&] { return server.done.load(); }));
  CHECK(server.world.closed == 1);
}

TEST_CASE("a connection of HTTP may become a WebSocket", "[mcp][web]") {
  server_config config;
  config.token = "secret";
  http_server server{config};
  const fields known{{"Authorization", "Bearer secret"}};
  web_client client{server.port()};
  // Also after requests of its own.
  auto first = modern("ping");
  first.insert(known.begin(), known.end());
  REQUIRE(client.post(modern_call(1, "ping"), first).status == 200);
  const auto answer = client.handshake(known);
  REQUIRE(answer.status == 101);
  CHECK(answer.headers.at("sec-websocket-protocol") == "mcp");
  CHECK(json::parse(client.exchange(rpc(2, "ping")))["id"] == 2);
  CHECK(server.world.made == 2);
  client.close();
  CHECK(eventually(soon, [&] { return server.world.closed == 2; }));
}

TEST_CASE("an upgrade of HTTP is checked as every request", "[mcp][web]") {
  server_config config;
  config.token = "secret";
  http_server server{config};
  const auto status = [&](fields extra) {
    web_client client{server.port()};
    extra.emplace("Authorization", "Bearer secret");
    return client.handshake(extra).status;
  };
  CHECK(status({}) == 101);
  CHECK(status({{"Authorization", ""}}) == 401);
  CHECK(status({{"Host", "evil.example.com"}}) == 403);
  CHECK(status({{"Origin", "http://evil.example.com"}}) == 403);
  CHECK(status({{"Sec-WebSocket-Protocol", "chat"}}) == 400);
  CHECK(status({{"Sec-WebSocket-Key", ""}}) == 400);
  CHECK(status({{"Content-Length", "5"}}) == 400);
  // Without the upgrade it is a GET of HTTP.
  CHECK(status({{"Connection", ""}, {"Accept", "application/json"}}) == 406);
  web_client hasty{server.port()};
  hasty.send(web_client::upgrade({{"Authorization", "Bearer secret"}})
             + web_client::frame(1, rpc(1, "ping")));
  CHECK(hasty.head().status == 400);
  CHECK(server.world.made == 1);
}
