#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdio>
#include <set>

#include <sys/resource.h>

#include "tests/support/chance.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/gateway_client.hpp"

// Many MCP sessions through one node, which is killed in the middle.
using namespace caged::test;

namespace {

using steady = std::chrono::steady_clock;

struct one {
  std::unique_ptr<session> client;
  token with;
  std::size_t sandbox = 0;
  std::string id;
  int sent = 1;              ///< requests; initialize was the first
  std::set<int> answered{1}; ///< ids
  int twice = 0;
  std::vector<double> took; ///< milliseconds
  steady::time_point asked;
};

double at(std::vector<double> all, double share) {
  if (all.empty())
    return 0;
  std::sort(all.begin(), all.end());
  return all[static_cast<std::size_t>(share
                                      * static_cast<double>(all.size() - 1))];
}

/// A request that leaves a trace for each time it is run.
void ask(one& of) {
  ++of.sent;
  of.asked = steady::now();
  of.client->say("tools/call",
                 {{"name", "terminal_exec"},
                  {"arguments",
                   {{"command", "echo " + of.id + "-" + std::to_string(of.sent)
                                    + " >> /tmp/runs; echo "
                                    + std::to_string(of.sent)}}}});
}

void take(one& of) {
  const auto got = of.client->hear();
  INFO(got.dump());
  REQUIRE(got.contains("id"));
  if (!of.answered.insert(got["id"].get<int>()).second)
    ++of.twice;
  of.took.push_back(
      std::chrono::duration<double, std::milli>(steady::now() - of.asked)
          .count());
}

/// Sessions to a few sandboxes, two rounds of commands, a kill with a round in
/// flight, the rest after it.
void many(std::size_t sessions, std::size_t fleet) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  test_node node{roomy()};
  REQUIRE(node.start());
  const auto ids = make_fleet(node, fleet);
  REQUIRE(ids.size() == fleet);
  std::vector<token> tokens;
  for (const auto& id : ids)
    tokens.push_back(make_token(node, {"--sandbox", id}));
  std::vector<one> all(sessions);
  for (std::size_t i = 0; i < sessions; ++i) {
    auto& each = all[i];
    each.sandbox = i % fleet;
    each.with = tokens[each.sandbox];
    each.id = "session-of-the-load-test-" + std::to_string(i);
    each.client = std::make_unique<session>(port_of(node), each.with);
    const auto up = each.client->upgrade("?session=" + each.id);
    INFO(up.status << " " << up.body);
    REQUIRE(up.status == 101);
    each.client->hello();
  }
  for (int round = 0; round < 2; ++round) {
    for (auto& each : all)
      ask(each);
    for (auto& each : all)
      take(each);
  }
  std::vector<double> took;
  std::vector<double> worst;
  for (const auto& each : all) {
    took.insert(took.end(), each.took.begin(), each.took.end());
    worst.push_back(at(each.took, 1));
  }
  std::printf("%zu sessions in %zu sandboxes: a command p50 %.0f ms, p99 %.0f "
              "ms; slowest of a session p50 %.0f ms, p99 %.0f ms\n",
              sessions, fleet, at(took, 0.5), at(took, 0.99), at(worst, 0.5),
              at(worst, 0.99));

  for (auto& each : all)
    ask(each);
  for (std::size_t i = 0; i < sessions / 3; ++i)
    take(all[i]);
  node.kill();
  REQUIRE(node.start());
  int resent = 0;
  for (auto& each : all) {
    const auto had = each.client->heard;
    each.client->reconnect(port_of(node));
    // What has no answer is sent again, under its number: "initialized" was a
    // message, too, so request n is number n + 1.
    const auto next = each.sent + (each.answered.contains(each.sent) ? 2 : 1);
    auto up = each.client->upgrade("?session=" + each.id
                                   + "&received=" + std::to_string(had)
                                   + "&next=" + std::to_string(next));
    INFO(up.status << " " << up.body);
    REQUIRE(up.status == 101);
    if (!each.answered.contains(each.sent)) {
      each.client->say_again();
      ++resent;
    }
  }
  for (auto& each : all)
    while (!each.answered.contains(each.sent))
      take(each);
  std::printf("%d of them had no answer when the node was killed\n", resent);
  CHECK(resent > 0);
  for (auto& each : all) {
    ask(each);
    take(each);
  }

  int lost = 0, twice = 0;
  for (const auto& each : all) {
    lost += each.sent - static_cast<int>(each.answered.size());
    twice += each.twice;
  }
  CHECK(lost == 0);
  CHECK(twice == 0);
  // Every command ran once.
  std::size_t ran = 0;
  std::set<std::string> different;
  for (const auto& id : ids) {
    const auto text = node.caged({"exec", id, "--", "cat", "/tmp/runs"}).out;
    for (std::size_t from = 0, end; from < text.size(); from = end + 1) {
      end = text.find('\n', from);
      ++ran;
      different.insert(text.substr(from, end - from));
    }
  }
  CHECK(ran == sessions * 4);
  CHECK(different.size() == sessions * 4);
  CHECK(audit_findings(node) == "");
  all.clear();
  CHECK(node.clear() == "");
}

} // namespace

TEST_CASE("60 MCP sessions lose nothing when the node is killed") {
  many(60, 4);
}

TEST_CASE("500 MCP sessions lose nothing when the node is killed", "[.full]") {
  many(500, 20);
}
