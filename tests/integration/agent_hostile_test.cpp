// What caged-agent does with input that is wrong or meant to harm: an error or
// a close each time, and it keeps working, in at most 3 MB.

#include <memory>

#include <catch2/catch.hpp>

#include "messages/text.hpp"
#include "tests/support/agent_client.hpp"

using namespace caged;
using namespace caged::test;
using nlohmann::json;

namespace {

constexpr std::uint64_t peak_most_kb = 3 * 1024;

struct bad_input {
  std::string name;
  std::string bytes;
  std::string code; ///< of the error; empty: any
};

std::string message(const std::string& type, const std::string& payload) {
  return "{\"type\":\"" + type + "\",\"id\":1,\"payload\":" + payload + "}\n";
}

std::string repeat(const std::string& what, int times) {
  std::string out;
  for (int i = 0; i < times; ++i)
    out += what;
  return out;
}

std::vector<bad_input> bad_inputs() {
  auto deep = repeat("[", 100) + repeat("]", 100);
  auto wide = "[" + repeat("1,", 5000) + "1]";
  return {
      {"no JSON", "hello\n", "malformed"},
      {"half JSON", "{\"type\":\n", "malformed"},
      {"two objects", "{\"type\":\"ping\"}{}\n", "malformed"},
      {"an array", "[1,2]\n", "malformed"},
      {"a number", "7\n", "malformed"},
      {"a string", "\"ping\"\n", "malformed"},
      {"null", "null\n", "malformed"},
      {"a NUL inside", std::string{"{\"type\":\"ping\"}\0x\n", 18},
       "malformed"},
      {"only a NUL", std::string{"\0\n", 2}, "malformed"},
      {"invalid UTF-8", "{\"type\":\"\xff\xfe\"}\n", "malformed"},
      {"a lone surrogate", "{\"type\":\"\\ud800\"}\n", "malformed"},
      {"a control character in a string", "{\"type\":\"a\x01\"}\n",
       "malformed"},
      {"a number beyond double",
       "{\"type\":\"ping\",\"payload\":{\"a\":1e999}}\n", "malformed"},
      {"no type", "{\"id\":1}\n", "malformed"},
      {"a type that is a number", "{\"type\":1}\n", "malformed"},
      {"a type that is null", "{\"type\":null}\n", "malformed"},
      {"an id that is text", "{\"type\":\"ping\",\"id\":\"1\"}\n", "malformed"},
      {"an id below 0", "{\"type\":\"ping\",\"id\":-1}\n", "malformed"},
      {"an id above 2^53", "{\"type\":\"ping\",\"id\":9007199254740992}\n",
       "malformed"},
      {"an id with a fraction", "{\"type\":\"ping\",\"id\":1.5}\n",
       "malformed"},
      {"a payload that is a list", "{\"type\":\"ping\",\"payload\":[]}\n",
       "malformed"},
      {"a payload that is text", "{\"type\":\"ping\",\"payload\":\"x\"}\n",
       "malformed"},
      {"a line of 2 MiB", std::string(2 << 20, 'x') + "\n", "too_large"},
      {"a string of 200 KiB",
       message("ping", "{\"a\":\"" + std::string(200 << 10, 'x') + "\"}"),
       "too_large"},
      {"100 levels", message("ping", "{\"a\":" + deep + "}"), "too_large"},
      {"100 levels never closed",
       "{\"type\":\"ping\",\"payload\":" + repeat("{\"a\":", 100) + "\n",
       "too_large"},
      {"5000 values", message("ping", "{\"a\":" + wide + "}"), "too_large"},
      {"an unknown type", message("launch", "{}"), "bad_request"},
      {"an empty type", message("", "{}"), "bad_request"},
      {"a type with controls", message("\\u001b[2J", "{}"), "bad_request"},
      {"a message of the agent", message("heartbeat", "{}"), "bad_request"},
      {"hello of another version", message("hello", "{\"protocol\":99}"),
       "unsupported"},
      {"hello with raw as text",
       message("hello", "{\"protocol\":1,\"raw\":\"y\"}"), "bad_request"},
      {"exec without a name", message("exec", "{\"argv\":[\"true\"]}"),
       "bad_request"},
      {"exec with a bad name",
       message("exec", "{\"exec\":\"../x\",\"argv\":[\"true\"]}"),
       "bad_request"},
      {"exec without a command", message("exec", "{\"exec\":\"a\"}"),
       "bad_request"},
      {"exec with an empty argv",
       message("exec", "{\"exec\":\"a\",\"argv\":[]}"), "bad_request"},
      {"exec with two commands",
       message("exec",
               "{\"exec\":\"a\",\"argv\":[\"true\"],\"shell\":\"true\"}"),
       "bad_request"},
      {"exec with numbers in argv",
       message("exec", "{\"exec\":\"a\",\"argv\":[1]}"), "bad_request"},
      {"exec with a NUL in argv",
       message("exec", "{\"exec\":\"a\",\"argv\":[\"a\\u0000b\"]}"),
       "bad_request"},
      {"exec with = in a name",
       message("exec",
               "{\"exec\":\"a\",\"argv\":[\"true\"],\"env\":{\"A=B\":\"\"}}"),
       "bad_request"},
      {"exec with env as a list",
       message("exec", "{\"exec\":\"a\",\"argv\":[\"true\"],\"env\":[]}"),
       "bad_request"},
      {"exec with a NUL in cwd",
       message("exec",
               "{\"exec\":\"a\",\"argv\":[\"true\"],\"cwd\":\"/\\u0000\"}"),
       "bad_request"},
      {"exec with a timeout below 0",
       message("exec",
               "{\"exec\":\"a\",\"argv\":[\"true\"],\"timeout_ms\":-1}"),
       "bad_request"},
      {"exec with credit as a number",
       message("exec", "{\"exec\":\"a\",\"argv\":[\"true\"],\"credit\":5}"),
       "bad_request"},
      {"attach to nothing", message("attach", "{\"exec\":\"none\"}"),
       "not_found"},
      {"data for nothing",
       message("data", "{\"stream\":\"x\",\"channel\":\"stdin\",\"offset\":0,"
                       "\"data\":\"AAAA\"}"),
       "not_found"},
      {"data without members", message("data", "{}"), "bad_request"},
      {"ack without a stream", message("ack", "{\"offset\":1}"), "bad_request"},
      {"a read without a path", message("read", "{}"), "bad_request"},
      {"a read of a directory", message("read", "{\"path\":\"/\"}"),
       "bad_request"},
      {"a read of a device", message("read", "{\"path\":\"/dev/zero\"}"),
       "bad_request"},
      {"a read beyond any file",
       message("read", "{\"path\":\"/etc/passwd\",\"length\":1e9}"),
       "bad_request"},
      {"a path with a NUL", message("stat", "{\"path\":\"/etc\\u0000x\"}"),
       "bad_request"},
      {"a write without bytes", message("write", "{\"path\":\"f\"}"),
       "bad_request"},
      {"a write of bad base64",
       message("write", "{\"path\":\"f\",\"data\":\"*\"}"), "bad_request"},
      {"a write of raw bytes without hello",
       message("write", "{\"path\":\"f\",\"len\":4}"), "bad_request"},
      {"a write into the middle",
       message("write", "{\"path\":\"f\",\"data\":\"AAAA\",\"offset\":9}"),
       "bad_request"},
      {"a removal of the root",
       message("remove", "{\"path\":\"/\",\"recursive\":true}"), ""},
      {"a dial out of the sandbox",
       message("dial", "{\"stream\":\"d\",\"port\":80,\"host\":\"8.8.8.8\"}"),
       "bad_request"},
      {"a dial of port 0", message("dial", "{\"stream\":\"d\",\"port\":0}"),
       "bad_request"},
  };
}

} // namespace

TEST_CASE("each malformed input gets a clear error and the link goes on",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  auto inputs = bad_inputs();
  CHECK(inputs.size() >= 50);
  for (const auto& input : inputs) {
    CAPTURE(input.name);
    agent_client client{agent.socket()};
    REQUIRE(client.send(input.bytes));
    auto answer = client.wait_type("error");
    REQUIRE(answer);
    auto text = answer->payload.value("message", "");
    CAPTURE(text);
    if (!input.code.empty())
      CHECK(answer->payload.value("code", "") == input.code);
    CHECK(text.size() > 10);
    CHECK(text == escape_text(text));
    // One error for one mistake, and the connection goes on.
    CHECK(client.call("ping", {{"n", 1}}).type == "pong");
    CHECK_FALSE(client.wait_type("error", 0ms));
  }
  CHECK(agent.process().alive());
  CHECK(agent.peak_kb() <= peak_most_kb);
}

TEST_CASE("random bytes never end the agent", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  std::uint32_t state = 12345;
  for (int round = 0; round < 50; ++round) {
    agent_client client{agent.socket()};
    std::string bytes;
    for (int i = 0; i < 20000; ++i) {
      state = state * 1664525 + 1013904223;
      bytes += static_cast<char>(state >> 24);
    }
    client.send(bytes);
  }
  agent_client after{agent.socket()};
  CHECK(after.call("ping", json::object()).type == "pong");
  CHECK(agent.peak_kb() <= peak_most_kb);
}

TEST_CASE("half a line and then a close is dropped without an answer",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  for (int i = 0; i < 100; ++i) {
    agent_client client{agent.socket()};
    REQUIRE(client.send("{\"type\":\"shutdown\",\"payload\":{}"));
  }
  // The agent may not have seen all of the hang-ups yet.
  CHECK(eventually(5s, [&] {
    agent_client after{agent.socket()};
    return after.call("ping", json::object()).type == "pong";
  }));
}

TEST_CASE("of 200 connections 32 are served, the others told and closed",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  std::vector<std::unique_ptr<agent_client>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<agent_client>(agent.socket()));
    REQUIRE(clients.back()->connected());
  }
  int served = 0, refused = 0;
  for (auto& client : clients) {
    if (client->call("ping", json::object()).type == "pong")
      ++served;
    else if (auto why = client->wait_type("error", 0ms);
             why && why->payload.at("code") == "too_large"
             && client->wait_closed())
      ++refused;
  }
  CHECK(served == 32);
  CHECK(refused == 168);
  clients.clear();
  CHECK(eventually(10s, [&] {
    agent_client again{agent.socket()};
    return again.call("ping", json::object()).type == "pong";
  }));
  CHECK(agent.peak_kb() <= peak_most_kb);
}

TEST_CASE("unfinished lines of all connections together are bounded",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  std::vector<std::unique_ptr<agent_client>> clients;
  int refused = 0;
  for (int i = 0; i < 31; ++i) {
    clients.push_back(std::make_unique<agent_client>(agent.socket()));
    REQUIRE(clients.back()->send("{\"type\":\"ping\",\"payload\":{\"a\":\""
                                 + std::string(120'000, 'x')));
  }
  agent_client other{agent.socket()};
  CHECK(other.call("ping", json::object()).type == "pong");
  for (auto& client : clients)
    if (auto why = client->wait_type("error", 200ms);
        why && why->payload.at("code") == "too_large")
      ++refused;
  CHECK(refused > 20);
  // Every one of them goes on behind the end of its line.
  for (auto& client : clients) {
    REQUIRE(client->send("\n"));
    CHECK(client->call("ping", json::object()).type == "pong");
  }
  CHECK(agent.peak_kb() <= peak_most_kb);
}

TEST_CASE("clients that never read their answers cost a bounded memory",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  write_file(agent.path("big"), std::string(65536, '\x01'));
  std::vector<std::unique_ptr<agent_client>> clients;
  std::string flood;
  for (int i = 0; i < 200; ++i)
    flood += message("read", "{\"path\":\"big\"}");
  for (int i = 0; i < 31; ++i) {
    clients.push_back(std::make_unique<agent_client>(agent.socket()));
    // Less than the socket holds: send() must not start to read.
    clients.back()->send(flood);
  }
  agent_client other{agent.socket()};
  CHECK(other.call("ping", json::object()).type == "pong");
  CHECK(agent.process().alive());
  CHECK(agent.peak_kb() <= peak_most_kb);
}

TEST_CASE("everything at its worst at once stays below 3 MB", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  REQUIRE(client.hello(true).type == "hello");
  // Output that nobody takes fills the retention.
  for (int i = 0; i < 30; ++i)
    REQUIRE(client
                .call("exec", {{"exec", "y" + std::to_string(i)},
                               {"shell", "yes | head -c 10000000"}})
                .type
            == "result");
  // Input that nobody reads fills the promises.
  for (int i = 0; i < 30; ++i) {
    auto name = "i" + std::to_string(i);
    REQUIRE(
        client
            .call("exec",
                  {{"exec", name}, {"argv", {"sleep", "100"}}, {"stdin", true}})
            .type
        == "result");
    std::uint64_t sent = 0;
    for (int round = 0; round < 40; ++round) {
      auto credit = client.wait(
          [&](const auto& line) {
            return line.type == "credit" && line.payload.at("stream") == name;
          },
          30ms);
      if (!credit)
        break;
      auto limit = credit->payload.at("limit").template get<std::uint64_t>();
      while (sent < limit) {
        auto n = std::min<std::uint64_t>(limit - sent, 65536);
        client.send(agent_protocol::encode_data(
            "data", {},
            {{"stream", name}, {"channel", "stdin"}, {"offset", sent}},
            std::string(n, 'x'), true));
        sent += n;
      }
    }
  }
  // A wide line, a long line, unfinished lines, answers that nobody reads.
  client.send(message("ping", "{\"a\":["
                                  + repeat("\"abcdefghijklmnopqrstuvw\",", 2000)
                                  + "1]}"));
  client.send(message("ping", "{\"a\":\"" + std::string(130'000, 'x') + "\"}"));
  write_file(agent.path("big"), std::string(65536, '\x01'));
  std::string flood;
  for (int i = 0; i < 100; ++i)
    flood += message("read", "{\"path\":\"big\"}");
  std::vector<std::unique_ptr<agent_client>> clients;
  for (int i = 0; i < 28; ++i) {
    clients.push_back(std::make_unique<agent_client>(agent.socket()));
    clients.back()->send(i % 2 ? flood
                               : "{\"type\":\"ping\",\"payload\":{\"a\":\""
                                     + std::string(120'000, 'x'));
  }
  agent_client other{agent.socket()};
  CHECK(other.call("ping", json::object()).type == "pong");
  CHECK(agent.process().alive());
  CAPTURE(agent.peak_kb());
  CHECK(agent.peak_kb() <= peak_most_kb);
  CHECK(other.call("shutdown", {{"deadline_ms", 200}}).type == "result");
  CHECK(agent.process().wait(10s));
}
