#include <catch2/catch.hpp>

#include "actors/exec_relay.hpp"

using namespace caged;
using nlohmann::json;
namespace ap = agent_protocol;

namespace {

ap::line data(std::uint64_t offset, const std::string& bytes,
              const char* channel = "stdout") {
  ap::line out;
  out.type = "data";
  out.payload = {{"stream", "e"},
                 {"channel", channel},
                 {"offset", offset},
                 {"len", bytes.size()}};
  out.raw = bytes;
  return out;
}

ap::line control(const char* type, json payload) {
  ap::line out;
  out.type = type;
  out.payload = std::move(payload);
  return out;
}

exec_relay started() {
  exec_relay relay{"e", "uid:0", 1};
  api::exec what;
  what.argv = {"true"};
  what.wants_stdin = true;
  what.stdout_credit = what.stderr_credit = 100;
  relay.start(what, "/workspace", "route");
  relay.started({{"exec", "e"}, {"pid", 7}}, "cage-a", false);
  return relay;
}

} // namespace

TEST_CASE("output goes to the client with its offsets") {
  auto relay = started();
  auto first = data(0, "hello");
  auto out = relay.from_agent(first);
  REQUIRE(out);
  REQUIRE(out->to_client.size() == 1);
  auto& sent = std::get<api::stream_data>(out->to_client[0]);
  CHECK(sent.bytes == "hello");
  CHECK(sent.offset == 0);
  CHECK(out->to_agent.empty()); // acknowledged by the client, not by us
}

TEST_CASE("an agent's false offsets and lengths are violations") {
  auto relay = started();
  auto gap = data(5, "x");
  CHECK_FALSE(relay.from_agent(gap));
  auto beyond = data(0, std::string(101, 'x'));
  CHECK_FALSE(relay.from_agent(beyond));
  auto right = data(0, "abc");
  CHECK(relay.from_agent(right));
  auto again = data(0, "abc");
  CHECK_FALSE(relay.from_agent(again));
  auto unknown = data(3, "abc", "stdin");
  CHECK_FALSE(relay.from_agent(unknown));
  auto early = control("ack", {{"channel", "stdin"}, {"offset", 1u}});
  CHECK_FALSE(relay.from_agent(early));
  auto wide = control("credit", {{"channel", "stdin"}, {"limit", 1ULL << 50}});
  CHECK_FALSE(relay.from_agent(wide));
  auto eof = control("eof", {{"channel", "stdout"}, {"offset", 99u}});
  CHECK_FALSE(relay.from_agent(eof));
  auto odd = control("exit", {{"code", 4000u}});
  CHECK_FALSE(relay.from_agent(odd));
}

TEST_CASE("data after the end of a channel is a violation") {
  auto relay = started();
  auto end = control("eof", {{"channel", "stdout"}, {"offset", 0u}});
  REQUIRE(relay.from_agent(end));
  auto late = data(0, "x");
  CHECK_FALSE(relay.from_agent(late));
}

TEST_CASE("stdin is bounded by the agent's credit") {
  auto relay = started();
  CHECK_FALSE(relay.from_client(api::stream_data{api::channel::in, 0, "abc"}));
  auto credit = control("credit", {{"channel", "stdin"}, {"limit", 3u}});
  auto granted = relay.from_agent(credit);
  REQUIRE(granted);
  CHECK(std::get<api::stream_credit>(granted->to_client.at(0)).limit == 3);
  CHECK(relay.from_client(api::stream_data{api::channel::in, 0, "abc"}));
  CHECK_FALSE(relay.from_client(api::stream_data{api::channel::in, 5, "x"}));
  CHECK_FALSE(relay.from_client(api::stream_data{api::channel::out, 0, "x"}));
}

TEST_CASE("a client cannot acknowledge or open more than it may") {
  auto relay = started();
  CHECK_FALSE(relay.from_client(api::stream_ack{api::channel::out, 1}));
  CHECK_FALSE(relay.from_client(
      api::stream_credit{api::channel::out, limits::window_max + 1}));
  CHECK_FALSE(relay.from_client(api::stream_ack{api::channel::exit, 0}));
  CHECK_FALSE(relay.from_client(api::exec_signal{0}));
  CHECK(relay.from_client(api::exec_signal{2})->to_agent.size() == 1);
}

TEST_CASE("an exec is over when its client has acknowledged the exit") {
  auto relay = started();
  auto exit =
      control("exit", {{"exec", "e"}, {"signal", 9u}, {"reason", "signaled"}});
  auto out = relay.from_agent(exit);
  REQUIRE(out);
  CHECK_FALSE(out->over);
  auto& ended = std::get<api::exec_exit>(out->to_client.at(0));
  CHECK(ended.signal == 9);
  CHECK(ended.code == -1);
  auto over = relay.from_client(api::stream_ack{api::channel::exit, 0});
  REQUIRE(over);
  CHECK(over->over);
  CHECK(over->to_agent.empty());
  CHECK(relay.exit_ack().find("\"exit\"") != std::string::npos);
}

TEST_CASE("output that the node keeps is acknowledged and credited by it") {
  exec_relay relay{"e", "node", 0};
  std::string kept;
  relay.keep_output(
      [&](api::channel, std::string_view bytes) { kept += bytes; });
  relay.start({}, "/workspace", "");
  auto first = data(0, "line\n");
  auto out = relay.from_agent(first);
  REQUIRE(out);
  CHECK(kept == "line\n");
  CHECK(out->to_agent.size() == 2); // ack and credit
  CHECK(out->to_client.empty());
  auto exit = control("exit", {{"exec", "e"}, {"code", 0u}});
  CHECK(relay.from_agent(exit)->over);
}

TEST_CASE("whoever comes back goes on at the offsets it names") {
  auto relay = started();
  auto first = data(0, "0123456789");
  REQUIRE(relay.from_agent(first));
  api::exec again;
  again.stdout_offset = 4;
  again.stdout_credit = 104;
  auto payload = relay.attach(again, "route2");
  CHECK(payload["stdout"] == 4);
  CHECK(relay.route() == "route2");
  auto out = relay.started({{"stdin", 0}}, "cage-a", true);
  CHECK_FALSE(std::get<api::exec_started>(out.to_client.at(0)).created);
  auto rest = data(4, "456789");
  auto got = relay.from_agent(rest);
  REQUIRE(got);
  CHECK(std::get<api::stream_data>(got->to_client.at(0)).offset == 4);
}

TEST_CASE("who only attaches goes on behind what an earlier client has had") {
  auto relay = started();
  auto first = data(0, "0123456789");
  REQUIRE(relay.from_agent(first));
  REQUIRE(relay.from_client(api::stream_ack{api::channel::out, 6}));
  api::exec joins;
  joins.attach_only = true;
  joins.stdout_credit = joins.stderr_credit = 8;
  auto payload = relay.attach(joins, "route2");
  CHECK(payload["stdout"] == 6);
  CHECK(payload["stderr"] == 0);
  CHECK(payload["credit"]["stdout"] == 14); // its window, not the first one's
  auto out = relay.started({{"stdin", 0}}, "cage-a", true);
  auto& told = std::get<api::stream_data>(out.to_client.back());
  CHECK(told.on == api::channel::out);
  CHECK(told.offset == 6);
  CHECK(told.bytes.empty());
  auto rest = data(6, "6789");
  CHECK(relay.from_agent(rest));
  // Told once.
  for (const auto& body : relay.started({}, "cage-a", true).to_client)
    CHECK_FALSE(std::holds_alternative<api::stream_data>(body));
}
