#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "fake_session.hpp"
#include "mcp/ws_sessions.hpp"
#include "web_client.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;
using namespace std::chrono_literals;

namespace {

const auto soon = patient(20s);
const std::string id = "0123456789abcdef-A_z";

struct ws_server : fake_server {
  explicit ws_server(server_config with = {}, const web_times& times = {},
                     transport mode = transport::ws)
      : fake_server{mode, std::move(with), times} {}
};

std::string target(std::string_view more = {}, std::string_view session = id) {
  return "/mcp?session=" + std::string{session} + std::string{more};
}

/// A connection of a session.
struct resumed : web_client {
  explicit resumed(const fake_server& to, std::string_view more = {},
                   std::string_view session = id)
      : web_client{to.port()} {
    answer = handshake({}, target(more, session));
    if (answer.status != 101)
      throw std::runtime_error("no WebSocket: " + answer.body);
  }
  /// What the server says it has had.
  std::string had() { return answer.header("caged-received"); }
  json next() { return json::parse(hear().payload); }
  /// The code and the reason with which the server closes it.
  std::pair<int, std::string> closing() {
    const auto frame = hear();
    if (frame.opcode != 8)
      throw std::runtime_error("not closed: " + frame.payload);
    return {frame.code(), frame.payload.substr(2)};
  }
  bool say_close(std::string_view code = {}) { return send(frame(8, code)); }

  http_response answer;
};

constexpr std::string_view normal{"\x03\xe8", 2}, going_away{"\x03\xe9", 2};

/// Waits until the server has so many messages of the session: asks with a
/// number that it cannot have seen.
bool has_had(const fake_server& server, int messages) {
  return eventually(soon, [&] {
    resumed probe{server, "&received=999999"};
    return probe.had() == std::to_string(messages);
  });
}

bool lacks(const std::string& query, std::string_view name) {
  const auto got = parse_resume(query);
  return !got && got.error().code == ec::bad_request
         && got.error().message.rfind(name, 0) == 0
         && got.error().message.find('\n') == std::string::npos;
}

} // namespace

TEST_CASE("a session is asked for in the query", "[mcp][web]") {
  CHECK(parse_resume("/mcp")->id.empty());
  CHECK(parse_resume("/mcp?")->id.empty());
  CHECK(parse_resume("/mcp?received=5&other=1")->id.empty());
  auto got = parse_resume(target());
  CHECK(got->id == id);
  CHECK(got->received == 0);
  CHECK_FALSE(got->next);
  got = parse_resume(target("&x=1&received=7&&next=8&y"));
  CHECK(got->received == 7);
  CHECK(got->next == 8U);
  CHECK(parse_resume(target({}, std::string(128, 'a'))));
  for (const auto& bad : {std::string{}, std::string(15, 'a'),
                          std::string(129, 'a'), "%61" + std::string(20, 'a'),
                          std::string(20, 'a') + "=", std::string(20, '+')})
    CHECK(lacks(target({}, bad), "session must be"));
  CHECK(lacks("/mcp?session", "session must be"));
  CHECK(lacks(target("&session=" + id), "session must be there once"));
  for (const auto* bad : {"", "-1", "x", "1x", " 1", "+1", "0x1", "1.0",
                          "9999999999999999999", "99999999999999999999999"}) {
    CHECK(lacks(target("&received=" + std::string{bad}), "received must be"));
    CHECK(lacks(target("&next=" + std::string{bad}), "next must be"));
  }
  CHECK(lacks(target("&received"), "received must be"));
  CHECK(lacks(target("&next=0"), "next must be"));
  CHECK(lacks(target("&next=1&next=1"), "next must be there once"));
}

TEST_CASE("a bad query is refused before the WebSocket opens", "[mcp][web]") {
  ws_server server;
  for (const auto& bad :
       {target({}, "short"), target("&next=0"), target("&received=x")}) {
    web_client client{server.port()};
    const auto answer = client.handshake({}, bad);
    CHECK(answer.status == 400);
    CHECK(answer.body.find(" must be ") != std::string::npos);
  }
  CHECK(server.world.made == 0);
}

TEST_CASE("a session begins with its first connection", "[mcp][web]") {
  ws_server server;
  resumed client{server};
  CHECK(client.answer.header("mcp-session-id") == id);
  CHECK(client.had() == "0");
  CHECK(client.answer.header("sec-websocket-protocol") == "mcp");
  client.say(rpc(1, "ping"));
  CHECK(client.next()["id"] == 1);
  // A connection without one is as it always was.
  web_client plain{server.port()};
  auto answer = plain.handshake();
  CHECK(answer.status == 101);
  CHECK(answer.header("mcp-session-id").empty());
  CHECK(answer.header("caged-received").empty());
}

TEST_CASE("a lost connection comes back, nothing is lost and nothing is twice",
          "[mcp][web]") {
  const auto mode = GENERATE(transport::ws, transport::http);
  ws_server server{{}, {}, mode};
  {
    resumed client{server};
    for (int i = 1; i <= 5; ++i)
      client.say(rpc(i, "ping"));
    for (int i = 1; i <= 3; ++i)
      CHECK(client.next()["id"] == i);
    REQUIRE(has_had(server, 5));
  } // the answers 4 and 5 go down with it
  resumed client{server, "&received=3&next=5"};
  CHECK(client.had() == "5");
  client.say(rpc(5, "ping")); // again: it was had
  client.say(rpc(6, "ping"));
  for (int i = 4; i <= 6; ++i)
    CHECK(client.next()["id"] == i);
  client.close();
  resumed all{server};
  CHECK(all.had() == "6");
  for (int i = 1; i <= 6; ++i)
    CHECK(all.next()["id"] == i);
  all.say(rpc(7, "ping"));
  CHECK(all.next()["id"] == 7);
  CHECK(server.world.made == 1);
  CHECK(server.world.closed == 0);
}

TEST_CASE("a call goes on while its client is away", "[mcp][web]") {
  ws_server server;
  {
    resumed client{server};
    client.say(rpc(1, "hold", {{"count", 2}}));
    CHECK(client.next()["method"] == "progress");
    CHECK(client.next()["method"] == "progress");
  }
  REQUIRE(has_had(server, 1));
  server.world.release();
  server.world.join();
  CHECK(server.world.gone == 0);
  resumed client{server, "&received=2"};
  CHECK(client.next()["id"] == 1);
  CHECK(server.world.closed == 0);
}

TEST_CASE("messages of the client are taken once", "[mcp][web]") {
  ws_server server;
  {
    resumed client{server};
    client.say(rpc(1, "ping"));
    client.say("no JSON");
    client.say(rpc(3, "ping"));
    // Half of one does not count.
    client.send(web_client::frame(1, rpc(4, "ping")).substr(0, 12));
    CHECK(client.next()["id"] == 1);
    REQUIRE(has_had(server, 3));
  }
  resumed client{server, "&received=3&next=1"};
  CHECK(client.had() == "3");
  // The first three are skipped whatever they are.
  for (int i = 1; i <= 4; ++i)
    client.say(rpc(i, "ping"));
  CHECK(client.next()["id"] == 4);
  client.close();
  resumed gap{server, "&received=4&next=8"};
  CHECK(gap.had() == "4");
  CHECK(gap.closing()
        == std::pair<int, std::string>{4410, "messages 5 to 7 never arrived"});
  resumed back{server, "&received=4&next=5"};
  back.say(rpc(5, "ping"));
  CHECK(back.next()["id"] == 5);
}

TEST_CASE("a session that is not there is not made up", "[mcp][web]") {
  ws_server server;
  for (const auto* more : {"&received=7", "&next=2", "&received=7&next=3"}) {
    resumed client{server, more};
    const auto [code, reason] = client.closing();
    CHECK(code == 4404);
    CHECK(reason.find("messages after") != std::string::npos);
    CHECK(client.had().empty());
  }
  CHECK(server.world.made == 0);
  resumed fresh{server, "&received=0&next=1"};
  fresh.say(rpc(1, "ping"));
  CHECK(fresh.next()["id"] == 1);
}

TEST_CASE("messages that were never sent cannot have been received",
          "[mcp][web]") {
  ws_server server;
  resumed client{server};
  client.say(rpc(1, "ping"));
  CHECK(client.next()["id"] == 1);
  resumed wrong{server, "&received=2"};
  CHECK(wrong.closing().first == 4400);
  // Which does not take the session from anybody.
  client.say(rpc(2, "ping"));
  CHECK(client.next()["id"] == 2);
}

TEST_CASE("what is not kept any more is named, and the session goes on",
          "[mcp][web]") {
  ws_server server;
  {
    resumed client{server};
    client.say(rpc(1, "ping"));
    CHECK(client.next()["id"] == 1);
    client.say(rpc(2, "hold"));
    REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  }
  REQUIRE(has_had(server, 2));
  // The log holds 1 MiB; a worker that sends more is not held up.
  {
    resumed client{server, "&received=1"};
    client.say(rpc(3, "flood", {{"size", 100'000}, {"count", 100}}));
    REQUIRE(eventually(soon, [&] { return server.world.sent > 0; }));
  }
  REQUIRE(eventually(soon, [&] { return server.world.sent == 100; }));
  server.world.release();
  server.world.join();
  // 1 pong, 100 notes and their answer, the answer to 2.
  resumed late{server, "&received=1"};
  const auto [code, reason] = late.closing();
  CHECK(code == 4410);
  REQUIRE(reason.rfind("messages 2 to ", 0) == 0);
  CHECK(reason.find(" are not kept any more") != std::string::npos);
  const auto lost = std::stoi(reason.substr(14));
  CHECK(lost > 85);
  CHECK(lost < 95);
  resumed client{server, "&received=" + std::to_string(lost)};
  for (int i = lost + 1; i <= 101; ++i)
    CHECK(client.next()["method"] == "progress");
  CHECK(client.next().contains("id"));
  CHECK(client.next().contains("id"));
  client.say(rpc(9, "ping"));
  CHECK(client.next()["id"] == 9);
  CHECK(server.world.closed == 0);
}

TEST_CASE("a reader that stalls loses its connection, not its session",
          "[mcp][web]") {
  web_times times;
  times.stall = 300ms;
  ws_server server{{}, times};
  {
    web_client slow{server.port(), 4096};
    REQUIRE(slow.handshake({}, target()).status == 101);
    slow.say(rpc(1, "flood", {{"size", 100'000}, {"count", 400}}));
    // The connection goes, then the worker runs through.
    REQUIRE(eventually(soon, [&] { return server.world.sent == 400; }));
  }
  server.world.join();
  CHECK(server.world.gone == 0);
  CHECK(server.world.closed == 0);
  resumed client{server, "&received=400"};
  CHECK(client.next()["id"] == 1);
}

TEST_CASE("a reader that is slow holds its worker back", "[mcp][web]") {
  ws_server server;
  web_client slow{server.port(), 4096};
  REQUIRE(slow.handshake({}, target()).status == 101);
  slow.say(rpc(1, "flood", {{"size", 100'000}, {"count", 400}}));
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
  int heard = 0;
  while (!json::parse(slow.hear().payload).contains("id"))
    ++heard;
  CHECK(heard == 400);
}

TEST_CASE("a session has one connection: the newest", "[mcp][web]") {
  ws_server server;
  resumed first{server};
  first.say(rpc(1, "hold"));
  REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  resumed second{server};
  CHECK(second.had() == "1");
  CHECK(first.closing()
        == std::pair<int, std::string>{
            4409, "another connection took the session over"});
  CHECK(first.closed());
  server.world.release();
  CHECK(second.next()["id"] == 1);
  CHECK(server.world.made == 1);
  CHECK(server.world.closed == 0);
}

TEST_CASE("a request that is no WebSocket takes no session over",
          "[mcp][web]") {
  ws_server server;
  resumed first{server};
  for (const auto* lacking : {"Sec-WebSocket-Key", "Sec-WebSocket-Version"}) {
    web_client bad{server.port()};
    CHECK(bad.handshake({{lacking, ""}}, target()).status != 101);
  }
  first.say(rpc(1, "ping"));
  CHECK(first.next()["id"] == 1);
}

TEST_CASE("a client that says goodbye ends its session, one that goes away "
          "does not",
          "[mcp][web]") {
  ws_server server;
  {
    resumed client{server};
    client.say(rpc(1, "ping"));
    CHECK(client.next()["id"] == 1);
    client.say_close(going_away);
    CHECK(client.closing().first == 1001);
  }
  {
    resumed client{server, "&received=1"};
    CHECK(client.had() == "1");
    client.say_close(normal);
    CHECK(client.closing().first == 1000);
  }
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
  {
    resumed gone{server, "&received=1"};
    CHECK(gone.closing().first == 4404);
    resumed fresh{server};
    fresh.say_close();
    CHECK(fresh.closing().first == 1000);
  }
  CHECK(eventually(soon, [&] { return server.world.closed == 2; }));
  // A frame that no client may send is no goodbye.
  {
    resumed client{server};
    client.send(web_client::frame(2, "{}"));
    CHECK(client.closing().first == 1003);
    resumed broken{server};
    broken.send(web_client::frame(1, "\xff\xfe"));
    CHECK(broken.closing().first == 1007);
  }
  CHECK(server.world.made == 3);
  CHECK(server.world.closed == 2);
}

TEST_CASE("a session without a connection ends after its grace", "[mcp][web]") {
  web_times times;
  times.resume_grace = 300ms;
  ws_server server{{}, times};
  {
    resumed client{server};
    client.say(rpc(1, "hold"));
    REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  }
  CHECK(eventually(soon, [&] { return server.world.closed == 1; }));
  server.world.release();
  CHECK(eventually(soon, [&] { return server.world.gone == 1; }));
  resumed late{server, "&received=0&next=2"};
  CHECK(late.closing().first == 4404);
}

TEST_CASE("there are at most so many sessions", "[mcp][web]") {
  server_config config;
  config.max_connections = 2;
  ws_server server{config};
  { resumed one{server, "", std::string(16, 'a')}; }
  resumed two{server, "", std::string(16, 'b')};
  CHECK(eventually(soon, [&] {
    web_client third{server.port()};
    const auto answer = third.handshake({}, target("", std::string(16, 'c')));
    return answer.status == 503
           && answer.body.find("sessions") != std::string::npos;
  }));
  two.say_close(normal);
  CHECK(eventually(soon, [&] {
    web_client third{server.port()};
    return third.handshake({}, target("", std::string(16, 'c'))).status == 101;
  }));
}

TEST_CASE("a server that stops ends the sessions that wait for their client",
          "[mcp][web]") {
  web_times times;
  times.last_calls = 300ms;
  ws_server server{{}, times};
  {
    resumed client{server};
    client.say(rpc(1, "hold"));
    REQUIRE(eventually(soon, [&] { return server.world.waiting() == 1; }));
  }
  resumed other{server, "", std::string(16, 'b')};
  server.server->stop();
  CHECK(other.closing().first == 1001);
  CHECK(eventually(soon, [&] { return server.done.load(); }));
  CHECK(server.world.closed == 2);
}

TEST_CASE("messages of several workers pass once and in order over many "
          "connections",
          "[mcp][web]") {
  constexpr int each = 2'000;
  web_budget budget{1000};
  resumable_outbox out{budget};
  std::atomic<int> refused = 0;
  std::vector<std::thread> workers;
  for (int w = 0; w < 2; ++w)
    workers.emplace_back([&, w] {
      for (int i = 0; i < each; ++i)
        refused += out.send(json{w, i}.dump()) ? 0 : 1;
    });
  std::uint64_t received = 0;
  int next[2] = {0, 0};
  int wrong = 0;
  CHECK(eventually(soon, [&] {
    for (int connection = 0; connection < 20; ++connection) {
      wrong += out.attach(received, [] {}) ? 1 : 0;
      std::string message;
      for (int i = 0; i < 37 && out.take(message); ++i) {
        const auto text = json::parse(message);
        wrong += text[1] == next[text[0].get<int>()]++ ? 0 : 1;
        ++received;
        if (i % 2 == 0) // the others are lost with their connection
          out.written(message.size());
      }
      if (connection % 3 == 0)
        out.close();
    }
    return received == 2U * each;
  }));
  for (auto& one : workers)
    one.join();
  CHECK(wrong == 0);
  CHECK(refused == 0);
  CHECK(out.last() == 2U * each);
  out.end();
  CHECK_FALSE(out.send("{}"));
}
