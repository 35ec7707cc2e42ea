#include <catch2/catch.hpp>

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/support/cluster.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/knock.hpp"

// Whoever reaches the ports of a fleet and is no client of it: all nodes, all
// ports, at once, while the fleet works.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t client_port = 7400, gateway_port = 7480,
                        metrics_port = 9464;

/// ZeroMQ's greeting with CURVE, then a frame that says it is endless.
std::string endless_frame() {
  return greeting() + std::string{6, 0x7f, 0, 1, 0, 0, 0, 0, 0};
}

/// Of handshakes that a node refused.
double refused(const test_cluster& fleet, unsigned node) {
  const auto text = run({"curl", "-sS", "--noproxy", "*",
                         "http://" + fleet.address("n" + std::to_string(node))
                             + ":9464/metrics"})
                        .out;
  const std::string series =
      "caged_node_clients_refused_total{reason=\"handshake\"";
  const auto at = text.find("\n" + series);
  const auto value = at == std::string::npos ? at : text.find("} ", at);
  return value == std::string::npos ? 0 : std::stod(text.substr(value + 2));
}

} // namespace

TEST_CASE("strangers at every port of every node, and the fleet goes on",
          "[cluster]") {
  if (!test_cluster::can_run())
    return;
  test_cluster fleet;
  REQUIRE(fleet.up());
  REQUIRE_FALSE(fleet.any()
                    .up({"--memory", "128", "--name", "web", "--node", "n2"})
                    .empty());
  // A stream from one node through another.
  auto counting =
      fleet.node(1).start_caged({"exec", "--no-stdin", "web", "--", "sh", "-c",
                                 count_while("[ ! -e /tmp/end ]")});
  REQUIRE(eventually(20s, [&] { return counting->out().size() > 500'000; }));
  std::vector<std::uint64_t> before;
  for (unsigned i = 1; i <= 3; ++i)
    before.push_back(status_kb(fleet.pid("n" + std::to_string(i)), "VmRSS"));

  constexpr int rounds = 40;
  std::uint32_t state = 11;
  std::vector<std::unique_ptr<knock>> open; ///< half-open until the end
  for (int round = 0; round < rounds; ++round)
    for (unsigned i = 1; i <= 3; ++i)
      for (const auto port : {client_port, gateway_port, metrics_port}) {
        auto one = std::make_unique<knock>(
            fleet.address("n" + std::to_string(i)), port);
        REQUIRE(one->good());
        switch (round % 4) {
        case 0:
          one->say(noise(state, 3000));
          break;
        case 1:
          one->say(endless_frame());
          one->say(noise(state, 60'000));
          break;
        case 2:
          one->say("GET /" + std::string(40'000, 'x') + " HTTP/1.1\r\n");
          break;
        default:
          open.push_back(std::move(one)); // says nothing, and stays
        }
        // Others are served meanwhile, by every node.
        if (round % 10 == 0 && port == client_port)
          CHECK(fleet.node(i).caged({"exec", "web", "--", "true"}).exit == 0);
      }
  // Counted by each; those that stayed are out after the time for a handshake.
  for (unsigned i = 1; i <= 3; ++i)
    CHECK(eventually(20s, [&] { return refused(fleet, i) >= rounds * 3 / 4; }));
  const auto had = counting->out().size();
  CHECK(
      eventually(20s, [&] { return counting->out().size() > had + 500'000; }));
  if (memory_counts())
    for (unsigned i = 1; i <= 3; ++i) {
      constexpr std::uint64_t allowance_kb = 24 * 1024;
      const auto now = status_kb(fleet.pid("n" + std::to_string(i)), "VmRSS");
      CAPTURE(i, before[i - 1], now);
      CHECK(now <= before[i - 1] + allowance_kb);
    }
  // The log has lines of it, and not one for each.
  for (unsigned i = 1; i <= 3; ++i) {
    const auto log = fleet.log("n" + std::to_string(i));
    std::size_t lines = 0;
    for (auto at = log.find("client_refused"); at != std::string::npos;
         at = log.find("client_refused", at + 1))
      ++lines;
    CHECK(lines >= 1);
    CHECK(lines <= 30);
  }
  CHECK(fleet.node(3).caged({"exec", "web", "--", "touch", "/tmp/end"}).exit
        == 0);
  REQUIRE(counting->wait(60s));
  CHECK(counting->out()
        == numbered(
            std::strtoull(last_line(counting->out()).c_str(), nullptr, 10)));
  fleet.down();
  CHECK(fleet.leftovers() == "");
}
