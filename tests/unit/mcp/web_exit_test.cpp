#include <catch2/catch.hpp>

#include "fake_session.hpp"
#include "web_client.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;
using namespace std::chrono_literals;

namespace {

const auto soon = patient(20s);

web_times idle_after(std::chrono::milliseconds time) {
  web_times out;
  out.idle_exit = time;
  return out;
}

server_config one_session() {
  server_config out;
  out.one_session = true;
  return out;
}

std::string begin(web_client& client) {
  auto answer =
      client.post(rpc(0, "initialize", {{"protocolVersion", "2025-11-25"}}));
  if (answer.status != 200)
    throw std::runtime_error("no session: " + answer.body);
  return answer.header("mcp-session-id");
}

bool ends(const fake_server& server) {
  return eventually(soon, [&] { return server.done.load(); });
}

/// Whether it goes on for a few ticks.
bool stays(const fake_server& server) {
  const auto until = std::chrono::steady_clock::now() + 250ms;
  return eventually(soon,
                    [&] {
                      return server.done
                             || std::chrono::steady_clock::now() > until;
                    })
         && !server.done;
}

constexpr auto resumable = "/mcp?session=0123456789abcdef";

} // namespace

TEST_CASE("a server without a client ends by itself when told so",
          "[mcp][web]") {
  fake_server server{transport::http, {}, idle_after(200ms)};
  CHECK(ends(server));
  fake_server ever{transport::http, {}, idle_after(0ms)};
  CHECK(stays(ever));
}

TEST_CASE("connections and sessions keep an idle server alive", "[mcp][web]") {
  auto times = idle_after(100ms);
  times.session_idle = 1s;
  times.resume_grace = 1s;
  SECTION("a connection") {
    fake_server server{transport::http, {}, times};
    web_client client{server.port()};
    CHECK(stays(server));
    client.close();
    CHECK(ends(server));
  }
  SECTION("a session of HTTP, until it expires") {
    fake_server server{transport::http, {}, times};
    {
      web_client client{server.port()};
      begin(client);
    }
    CHECK(stays(server));
    CHECK(ends(server));
    CHECK(server.world.closed == 1);
  }
  SECTION("a session of WebSocket, while its client may come back") {
    fake_server server{transport::http, {}, times};
    {
      web_client client{server.port()};
      REQUIRE(client.handshake({}, resumable).status == 101);
    }
    CHECK(stays(server));
    CHECK(ends(server));
    CHECK(server.world.closed == 1);
  }
}

TEST_CASE("a server for one session ends with it", "[mcp][web]") {
  SECTION("by DELETE") {
    fake_server server{transport::http, one_session()};
    web_client client{server.port()};
    const auto id = begin(client);
    CHECK(client.ask("DELETE", {{"Mcp-Session-Id", id}}).status == 204);
    CHECK(ends(server));
    CHECK(client.closed());
  }
  SECTION("by its expiry") {
    web_times times;
    times.session_idle = 200ms;
    fake_server server{transport::http, one_session(), times};
    {
      web_client client{server.port()};
      begin(client);
    }
    CHECK(ends(server));
  }
  SECTION("with the last of several") {
    fake_server server{transport::http, one_session()};
    web_client client{server.port()};
    const auto first = begin(client), second = begin(client);
    CHECK(client.ask("DELETE", {{"Mcp-Session-Id", first}}).status == 204);
    CHECK(stays(server));
    CHECK(client.ask("DELETE", {{"Mcp-Session-Id", second}}).status == 204);
    CHECK(ends(server));
  }
  SECTION("of a WebSocket") {
    fake_server server{transport::ws, one_session()};
    web_client client{server.port()};
    REQUIRE(client.handshake().status == 101);
    CHECK(stays(server));
    client.close();
    CHECK(ends(server));
  }
  SECTION("of a WebSocket that may come back") {
    fake_server server{transport::ws, one_session()};
    {
      web_client client{server.port()};
      REQUIRE(client.handshake({}, resumable).status == 101);
    }
    CHECK(stays(server));
    web_client client{server.port()};
    REQUIRE(client.handshake({}, resumable).status == 101);
    client.send(web_client::frame(8, {}));
    CHECK(client.hear().code() == 1000);
    CHECK(ends(server));
  }
}

TEST_CASE("requests without a session do not end a server for one",
          "[mcp][web]") {
  fake_server server{transport::http, one_session()};
  json params{
      {"_meta",
       {{"io.modelcontextprotocol/protocolVersion", "2026-07-28"},
        {"io.modelcontextprotocol/clientCapabilities", json::object()}}}};
  const auto ask = [&](web_client& client, int id, const char* method) {
    client.send(web_client::request(
        "POST",
        {{"MCP-Protocol-Version", "2026-07-28"}, {"Mcp-Method", method}},
        rpc(id, method, params)));
  };
  web_client client{server.port()};
  ask(client, 1, "ping");
  CHECK(client.response().status == 200);
  CHECK(stays(server));
  // And a session that ends does not end one of them.
  web_client other{server.port()};
  ask(other, 2, "hold");
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  const auto id = begin(client);
  CHECK(client.ask("DELETE", {{"Mcp-Session-Id", id}}).status == 204);
  CHECK(stays(server));
  server.world.release();
  const auto answer = other.response();
  CHECK(answer.status == 200);
  CHECK(answer.body.find("\"id\":2") != std::string::npos);
  CHECK(ends(server));
}
