#include <catch2/catch.hpp>

#include <vector>

#include "tests/support/knock.hpp"
#include "tests/support/person.hpp"

// Whoever reaches the port and is no client: refused, counted, and nobody else
// notices.
using namespace caged::test;

namespace {

double refused(const test_node& node) {
  return node.series("caged_node_clients_refused_total{reason=\"handshake\"")
      .value_or(0);
}

} // namespace

TEST_CASE(
    "strangers at the port are refused and counted, and the node goes on") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  REQUIRE(alice.up("web"));
  auto open =
      alice.start_caged({"exec", "--no-stdin", "web", "--", "sh", "-c",
                         "while [ ! -e /tmp/told ]; do echo line; sleep "
                         "0.1; done; exit 4"});
  REQUIRE(eventually(20s, [&] { return !open->out().empty(); }));
  const auto endpoint = tcp_endpoint(node);
  const auto port = static_cast<std::uint16_t>(
      std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));

  SECTION("random bytes") {
    std::uint32_t state = 7;
    constexpr int rounds = 50;
    for (int i = 0; i < rounds; ++i) {
      knock on{"127.0.0.1", port};
      REQUIRE(on.good());
      on.say(noise(state, static_cast<std::size_t>(1 + i * 97)));
    }
    CHECK(eventually(20s, [&] { return refused(node) >= rounds; }));
  }
  SECTION("a greeting of ours and then a frame without end") {
    knock on{"127.0.0.1", port};
    REQUIRE(on.good());
    on.say(greeting());
    on.say(std::string{6, 0, 0, 1, 0, 0, 0, 0, 0});
    CHECK(on.over());
    CHECK(eventually(10s, [&] { return refused(node) >= 1; }));
  }
  SECTION("a hundred that only sit there") {
    constexpr std::size_t many = 100;
    std::vector<std::unique_ptr<knock>> silent;
    while (silent.size() < many) {
      silent.push_back(std::make_unique<knock>("127.0.0.1", port));
      REQUIRE(silent.back()->good());
    }
    // Others are served meanwhile.
    CHECK(alice.caged({"exec", "web", "--", "true"}).exit == 0);
    for (const auto& each : silent)
      CHECK(each->over());
    CHECK(eventually(10s, [&] { return refused(node) >= many; }));
  }
  // The log has a few lines of it, not one each.
  const auto log = node.log();
  std::size_t lines = 0;
  for (auto at = log.find("client_refused"); at != std::string::npos;
       at = log.find("client_refused", at + 1))
    ++lines;
  CHECK(lines >= 1);
  CHECK(lines <= 20);
  CHECK(alice.caged({"exec", "web", "--", "touch", "/tmp/told"}).exit == 0);
  REQUIRE(open->wait(20s));
  CHECK(open->exit() == 4);
  CHECK(node.clear() == "");
}
