#include <catch2/catch.hpp>

#include "fake_session.hpp"
#include "web_client.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;
using namespace std::chrono_literals;

namespace {

const auto soon = patient(20s);

struct ws_server : fake_server {
  explicit ws_server(server_config with = {}, const web_times& times = {})
      : fake_server{transport::ws, std::move(with), times} {}
};

/// Its connection is open.
struct ws_client : web_client {
  explicit ws_client(const fake_server& to, int receive_buffer = 0)
      : web_client{to.port(), receive_buffer} {
    if (handshake().status != 101)
      throw std::runtime_error("no WebSocket");
  }
};

/// Sends `bytes` (whole frames) again and again until the peer takes nothing
/// for half a second, or `most` bytes; how many it took.
std::size_t push(web_client& to, const std::string& bytes, std::size_t most) {
  std::size_t taken = 0;
  while (taken < most) {
    const auto n =
        to.send_some(std::string_view{bytes}.substr(taken % bytes.size()));
    taken += n;
    if (n == 0 && !to.writable(500ms))
      break;
  }
  return taken;
}

bool serves(const fake_server& server) {
  ws_client fresh{server};
  return json::parse(fresh.exchange(rpc(7, "ping")))["id"] == 7;
}

} // namespace

TEST_CASE("a WebSocket speaks the subprotocol mcp", "[mcp][web]") {
  ws_server server;
  web_client client{server.port()};
  const auto answer = client.handshake();
  REQUIRE(answer.status == 101);
  CHECK(answer.headers.at("sec-websocket-protocol") == "mcp");
  // RFC 6455, 1.3, the example's key.
  CHECK(answer.headers.at("sec-websocket-accept")
        == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(json::parse(client.exchange(rpc(1, "ping")))["id"] == 1);
}

TEST_CASE("a WebSocket without a subprotocol is served, with another it is not",
          "[mcp][web]") {
  ws_server server;
  web_client plain{server.port()};
  const auto answer = plain.handshake({{"Sec-WebSocket-Protocol", ""}});
  CHECK(answer.status == 101);
  CHECK_FALSE(answer.headers.contains("sec-websocket-protocol"));
  web_client several{server.port()};
  CHECK(several.handshake({{"Sec-WebSocket-Protocol", "chat, mcp"}}).status
        == 101);
  web_client other{server.port()};
  CHECK(other.handshake({{"Sec-WebSocket-Protocol", "chat"}}).status == 400);
}

TEST_CASE("strangers get no WebSocket", "[mcp][web]") {
  server_config config;
  config.token = "secret";
  ws_server server{config};
  const auto status = [&](web_client::fields extra) {
    web_client client{server.port()};
    extra.emplace("Authorization", "Bearer secret");
    return client.handshake(extra).status;
  };
  CHECK(status({}) == 101);
  CHECK(status({{"Origin", "http://localhost:3000"}}) == 101);
  CHECK(status({{"Origin", "http://evil.example.com"}}) == 403);
  CHECK(status({{"Origin", "null"}}) == 403);
  CHECK(status({{"Host", "evil.example.com"}}) == 403);
  CHECK(status({{"Host", "evil.example.com:80"}}) == 403);
  CHECK(status({{"Host", ""}}) == 400);
  CHECK(status({{"Authorization", ""}}) == 401);
  CHECK(status({{"Authorization", "Bearer wrong"}}) == 401);
  CHECK(status({{"Upgrade", ""}, {"Connection", ""}}) == 426);
  CHECK(status({{"Sec-WebSocket-Key", ""}}) == 400);
  CHECK(status({{"X", std::string(20'000, 'x')}}) == 431);
  CHECK(server.world.made == 2);
}

TEST_CASE("a WebSocket is at the endpoint alone", "[mcp][web]") {
  ws_server server;
  const auto status = [&](std::string_view target) {
    web_client client{server.port()};
    client.send(web_client::upgrade({}, target));
    return client.head().status;
  };
  CHECK(status("/") == 101);
  CHECK(status("/mcp?x=1") == 101);
  for (const auto* bad :
       {"/../mcp", "//mcp", "/mcp/", "/%6dcp", "/x", "http://localhost/mcp"})
    CHECK(status(bad) == 404);
}

TEST_CASE("bytes that are no request end a connection, not the server",
          "[mcp][web]") {
  ws_server server;
  for (const auto* bad :
       {"\r\n\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "GET /mcp\r\n\r\n", "GET /mcp HTTP/9.9\r\n\r\n",
        "GET /mcp HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET /mcp HTTP/1.1\r\nHost: a\x01\r\n\r\n", "\x81\x80\x00\x00\x00\x00",
        "POST /mcp HTTP/1.1\r\nContent-Length: 5"
        "\r\nHost: localhost\r\n\r\n12345"}) {
    web_client client{server.port()};
    client.send(bad);
    client.send("\r\n\r\n");
    CHECK(client.closed(15s));
  }
  CHECK(serves(server));
  CHECK(server.world.made == 1);
}

TEST_CASE("text that is no message is answered and the next one is served",
          "[mcp][web]") {
  ws_server server;
  ws_client client{server};
  const auto bad = json::parse(client.exchange("{\"jsonrpc\": "));
  CHECK(bad["error"]["code"] == rpc_code::parse_error);
  CHECK(bad["id"].is_null());
  CHECK(json::parse(client.exchange("[]")).contains("error"));
  CHECK(json::parse(client.exchange("")).contains("error"));
  CHECK(json::parse(client.exchange(rpc(2, "ping")))["id"] == 2);
}

TEST_CASE("wrong frames close a WebSocket with their code", "[mcp][web]") {
  server_config config;
  config.max_message_bytes = 100'000;
  ws_server server{config};
  const auto code = [&](const std::string& bytes) {
    ws_client client{server};
    client.send(bytes);
    const auto frame = client.hear();
    CHECK(frame.opcode == 8);
    CHECK(client.closed());
    return frame.code();
  };
  using c = web_client;
  CHECK(code(c::frame(2, "{}")) == 1003);              // binary
  CHECK(code(c::frame(1, "\xff\xfe")) == 1007);        // no UTF-8
  CHECK(code(c::frame(1, "\xed\xa0\x80")) == 1007);    // a surrogate
  CHECK(code(c::frame(1, "{}", true, false)) == 1002); // not masked
  CHECK(code(c::frame(3, "{}")) == 1002);              // unknown opcode
  CHECK(code(c::frame(0, "{}")) == 1002);              // nothing to continue
  CHECK(code(c::frame(1, "a", false) + c::frame(1, "b")) == 1002);
  CHECK(code(c::frame(9, "a", false)) == 1002); // a ping in parts
  CHECK(code(c::frame(9, std::string(126, 'a'))) == 1002);
  CHECK(code(std::string{"\xf1\x80\0\0\0\0", 6}) == 1002); // reserved bits
  CHECK(code(c::frame(8, "x")) == 1002);                   // half a code
  CHECK(code(c::frame(1, std::string(100'001, ' '))) == 1009);
  // A frame that says it is as long as a disk: refused before it comes.
  CHECK(
      code(std::string{"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14})
      == 1009);
  CHECK(eventually(soon,
                   [&] { return server.world.closed == server.world.made; }));
  CHECK(serves(server));
}

TEST_CASE("a message in many frames with pings between is one message",
          "[mcp][web]") {
  ws_server server;
  ws_client client{server};
  const auto text = rpc(3, "ping");
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bytes += web_client::frame(i == 0 ? 1 : 0, text.substr(i, 1),
                               i + 1 == text.size());
    if (i == 5)
      bytes += web_client::frame(9, "are you there");
  }
  client.send(bytes);
  const auto pong = client.hear();
  CHECK(pong.opcode == 10);
  CHECK(pong.payload == "are you there");
  CHECK(json::parse(client.hear().payload)["id"] == 3);
}

TEST_CASE("many messages at once are answered in order", "[mcp][web]") {
  ws_server server;
  ws_client client{server};
  std::string bytes;
  for (int i = 0; i < 2'000; ++i)
    bytes += web_client::frame(1, rpc(i, "ping"));
  std::thread writer{[&] { client.send(bytes); }};
  int wrong = 0;
  for (int i = 0; i < 2'000; ++i)
    wrong += json::parse(client.hear().payload)["id"] == i ? 0 : 1;
  writer.join();
  CHECK(wrong == 0);
}

TEST_CASE("large messages pass both ways", "[mcp][web]") {
  ws_server server;
  ws_client client{server};
  const auto text = rpc(
      1, "ping", {{"size", 3'000'000}, {"pad", std::string(2'000'000, 'p')}});
  std::thread writer{[&] { client.say(text); }};
  const auto answer = client.hear();
  writer.join();
  CHECK(answer.fin);
  CHECK(answer.payload.size() > 3'000'000);
  CHECK(json::parse(client.exchange(rpc(2, "ping")))["id"] == 2);
}

TEST_CASE("a lost WebSocket ends its session and its calls", "[mcp][web]") {
  ws_server server;
  {
    ws_client client{server};
    client.say(rpc(1, "hold"));
    REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
    // In the middle of a message.
    client.send(web_client::frame(1, rpc(2, "ping")).substr(0, 9));
  }
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
  server.world.release();
  CHECK(eventually(soon, [&] { return server.world.gone == 1; }));
  CHECK(serves(server));
}

TEST_CASE("a WebSocket that says goodbye gets an answer to it", "[mcp][web]") {
  ws_server server;
  ws_client client{server};
  client.send(web_client::frame(8, std::string{"\x03\xe8", 2}));
  const auto frame = client.hear();
  CHECK(frame.opcode == 8);
  CHECK(frame.code() == 1000);
  CHECK(client.closed());
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
}

TEST_CASE("a reader that stops holds its own worker back and nobody else",
          "[mcp][web]") {
  ws_server server;
  ws_client slow{server, 4096};
  slow.say(rpc(1, "flood", {{"size", 100'000}, {"count", 400}}));
  // What the kernel takes, and no more than the outbox.
  int before = 0;
  auto since = std::chrono::steady_clock::now();
  CHECK(eventually(soon, [&] {
    const int now = server.world.sent;
    if (now != before)
      since = std::chrono::steady_clock::now();
    before = now;
    return now > 0 && std::chrono::steady_clock::now() - since > 50ms;
  }));
  CHECK(server.world.sent < 200);
  CHECK(serves(server));
  // It goes on when the reader does.
  int heard = 0;
  while (!json::parse(slow.hear().payload).contains("id"))
    ++heard;
  CHECK(heard == 400);
}

TEST_CASE("a reader that never goes on is closed", "[mcp][web]") {
  web_times times;
  times.stall = 300ms;
  ws_server server{{}, times};
  ws_client slow{server, 4096};
  slow.say(rpc(1, "flood", {{"size", 100'000}, {"count", 100'000}}));
  CHECK(eventually(soon, [&] { return server.world.gone == 1; }));
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
  CHECK(serves(server));
}

TEST_CASE("requests of a client that reads nothing stop being read",
          "[mcp][web]") {
  ws_server server;
  ws_client slow{server, 4096};
  // Each answer is 1000 times its request.
  const auto bytes = web_client::frame(1, rpc(1, "ping", {{"size", 100'000}}));
  std::string many;
  for (int i = 0; i < 1'000; ++i)
    many += bytes;
  CHECK(push(slow, many, 50'000'000) < 50'000'000);
  CHECK(serves(server));
}

TEST_CASE("a client that sends pings and reads nothing is no burden",
          "[mcp][web]") {
  ws_server server;
  ws_client slow{server, 4096};
  std::string many;
  for (int i = 0; i < 1'000; ++i)
    many += web_client::frame(9, std::string(125, 'p'));
  CHECK(push(slow, many, 100'000'000) < 100'000'000);
  CHECK(serves(server));
}

TEST_CASE("a handshake that does not come is not waited for", "[mcp][web]") {
  web_times times;
  times.head = 200ms;
  ws_server server{{}, times};
  web_client silent{server.port()};
  web_client half{server.port()};
  half.send("GET /mcp HTTP/1.1\r\nHost: localhost\r\n");
  CHECK(silent.closed());
  CHECK(half.closed());
  // One byte now and then does not help.
  web_client trickle{server.port()};
  const std::string head = web_client::upgrade();
  std::size_t sent = 0;
  CHECK(eventually(soon, [&] {
    return !trickle.send(head.substr(sent++ % head.size(), 1))
           || trickle.closed(20ms);
  }));
  CHECK(serves(server));
}

TEST_CASE("a message that does not end is not waited for", "[mcp][web]") {
  web_times times;
  times.body = 200ms;
  times.head = 200ms;
  ws_server server{{}, times};
  ws_client client{server};
  client.send(web_client::frame(1, "{\"jsonrpc\":", false));
  const auto frame = client.hear();
  CHECK(frame.opcode == 8);
  CHECK(frame.code() == 1008);
  CHECK(client.closed());
}

TEST_CASE("a silent WebSocket gets pings and is closed without a pong",
          "[mcp][web]") {
  web_times times;
  times.silence = 600ms;
  ws_server server{{}, times};
  ws_client client{server};
  CHECK(client.hear().opcode == 9);
  CHECK(client.closed());
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
}

TEST_CASE("connections beyond the limit are told so", "[mcp][web]") {
  server_config config;
  config.max_connections = 4;
  ws_server server{config};
  std::vector<std::unique_ptr<ws_client>> all;
  for (int i = 0; i < 4; ++i)
    all.push_back(std::make_unique<ws_client>(server));
  web_client fifth{server.port()};
  const auto answer = fifth.handshake();
  CHECK(answer.status == 503);
  CHECK(answer.headers.contains("retry-after"));
  // A flood of them is closed.
  std::vector<std::unique_ptr<web_client>> flood;
  for (int i = 0; i < 200; ++i)
    flood.push_back(std::make_unique<web_client>(server.port()));
  CHECK(flood.back()->closed());
  CHECK(json::parse(all[3]->exchange(rpc(1, "ping")))["id"] == 1);
  flood.clear();
  fifth.close();
  all.pop_back();
  CHECK(eventually(soon, [&] {
    web_client again{server.port()};
    return again.handshake().status == 101;
  }));
}

TEST_CASE("many large messages that never end cost a bounded amount",
          "[mcp][web]") {
  server_config config;
  config.max_message_bytes = 4U << 20U;
  ws_server server{config};
  std::vector<std::unique_ptr<ws_client>> all;
  int refused = 0;
  const auto part =
      web_client::frame(1, std::string((4U << 20U) - 1000, ' '), false);
  for (int i = 0; i < 6; ++i) {
    all.push_back(std::make_unique<ws_client>(server));
    all.back()->send(part);
  }
  CHECK(eventually(soon, [&] {
    for (auto& each : all)
      if (each && each->readable(0ms)) {
        refused += each->hear().code() == 1013 ? 1 : 0;
        each.reset();
      }
    return refused >= 2;
  }));
  CHECK(serves(server));
  all.clear();
  CHECK(eventually(soon, [&] { return serves(server); }));
}

TEST_CASE("a server that stops says so and waits a moment for calls",
          "[mcp][web]") {
  ws_server server;
  ws_client idle{server}, busy{server};
  busy.say(rpc(1, "hold"));
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  server.server->stop();
  const auto frame = idle.hear();
  CHECK(frame.opcode == 8);
  CHECK(frame.code() == 1001);
  server.world.release();
  CHECK(json::parse(busy.hear().payload)["id"] == 1);
  CHECK(busy.hear().code() == 1001);
  CHECK_THROWS(web_client{server.port()});
  CHECK(eventually(soon, [&] { return server.done.load(); }));
}

TEST_CASE("a server that stops does not wait for ever", "[mcp][web]") {
  web_times times;
  times.last_calls = 300ms;
  ws_server server{{}, times};
  ws_client busy{server};
  busy.say(rpc(1, "hold"));
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  server.server->stop();
  CHECK(eventually(soon, [&] { return server.done.load(); }));
  CHECK(busy.closed());
  CHECK(server.world.closed == 1);
}

TEST_CASE("a port that is in use is named", "[mcp][web]") {
  ws_server server;
  server_config config;
  config.mode = transport::ws;
  config.port = server.port();
  const auto second = web_server::listen(config, {});
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ec::conflict);
  CHECK(second.error().message.find(std::to_string(server.port()))
        != std::string::npos);
  CHECK(second.error().hint.find("--port") != std::string::npos);
}
