#include <catch2/catch.hpp>

#include <csignal>
#include <sstream>

#include "tests/support/etcd.hpp"
#include "tests/support/prometheus.hpp"
#include "tests/support/test_node.hpp"

// A real Prometheus scrapes a real node.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string scraping(const std::string& target) {
  return "global: {scrape_interval: 1s}\n"
         "scrape_configs:\n"
         "  - job_name: caged\n"
         "    static_configs: [{targets: ['"
         + target + "']}]\n";
}

/// What a gateway tells of the fleet.
std::string told_by(const std::string& gateway) {
  return "global: {scrape_interval: 1s}\n"
         "scrape_configs:\n"
         "  - job_name: caged\n"
         "    honor_labels: true\n"
         "    http_sd_configs: [{url: 'http://"
         + gateway + "/v1/sd/prometheus', refresh_interval: 1s}]\n";
}

} // namespace

TEST_CASE("promtool finds nothing to complain about") {
  if (run({"promtool", "--version"}).exit != 0)
    return skip("promtool is not installed");
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  REQUIRE(eventually(
      15s, [&] { return has(node.metrics(), "caged_agent_processes{"); }));
  auto text = node.metrics();
  auto checked = run({"promtool", "check", "metrics"}, with_input(text));
  INFO(checked.err << checked.out);
  CHECK(checked.exit == 0);
  CHECK(checked.err.empty());
  // Name and template stand on the info series only.
  CHECK(has(text, "caged_sandbox_info{"));
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);)
    if (has(line, "name=\"web\""))
      CHECK(line.rfind("caged_sandbox_info{", 0) == 0);
}

TEST_CASE("a real Prometheus follows 20 sandboxes for a minute") {
  if (run({"prometheus", "--version"}).exit != 0)
    return skip("prometheus is not installed");
  test_node node{{"--metrics-interval", "1s", "--cpus", "100", "--memory-mb",
                  "20000", "--disk-gb", "100"}};
  REQUIRE(node.start());
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(node.up({"--cpus", "1", "--memory", "128", "--disk", "1"}));
    REQUIRE_FALSE(ids.back().empty());
  }
  prometheus_server server{scraping(node.metrics_address())};
  REQUIRE(server.up());
  REQUIRE(eventually(30s, [&] {
    return server.value("count(caged_sandbox_up == 1)") == 20.0;
  }));
  auto begun = std::chrono::steady_clock::now();
  auto busy = node.start_caged({"exec", ids[0], "--timeout", "50s", "--", "sh",
                                "-c", "while :; do :; done"});
  auto of = [&](const std::string& id) { return "{sandbox=\"" + id + "\"}"; };
  // Host and agent agree on who is busy.
  CHECK(eventually(40s, [&] {
    return server.value("rate(caged_sandbox_cpu_seconds_total" + of(ids[0])
                        + "[10s])")
                   .value_or(0)
               > 0.3
           && server.value("rate(caged_agent_cpu_seconds_total" + of(ids[0])
                           + "[10s])")
                      .value_or(0)
                  > 0.3;
  }));
  CHECK(
      server
          .value("rate(caged_sandbox_cpu_seconds_total" + of(ids[1]) + "[10s])")
          .value_or(1)
      < 0.2);
  REQUIRE(node.caged({"destroy", ids[19]}).exit == 0);
  CHECK_FALSE(has(node.metrics(), ids[19]));
  CHECK(eventually(30s, [&] {
    return server.value("count(caged_sandbox_up == 1)") == 19.0;
  }));
  busy->signal(SIGINT);
  busy->wait(10s);
  // A whole minute, without one failed scrape.
  CHECK(eventually(
      90s, [&] { return std::chrono::steady_clock::now() - begun >= 60s; }));
  CHECK(server.value("min_over_time(up{job=\"caged\"}[50s])") == 1.0);
  CHECK(node.clear().empty());
}

TEST_CASE("a real Prometheus finds the nodes of a fleet through one of them") {
  if (run({"prometheus", "--version"}).exit != 0)
    return skip("prometheus is not installed");
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  const auto store = "etcd://" + etcd.endpoint(0).text() + "/fleet";
  test_node one{{"--store", store, "--node-name", "one"}},
      two{{"--store", store, "--node-name", "two", "--labels", "zone=b"}};
  REQUIRE(one.start());
  REQUIRE(two.start());
  auto gateway = read_file(one.run_dir() + "/gateway-address");
  gateway.erase(gateway.find_last_not_of('\n') + 1);
  prometheus_server server{told_by(gateway)};
  REQUIRE(server.up());
  CHECK(eventually(30s, [&] { return server.value("sum(up)") == 2.0; }));
  CHECK(server.value(R"(up{node="two",label_zone="b"})") == 1.0);
  CHECK(server.value(R"(caged_node_cpus{node="two"} > 0)"));
  CHECK_FALSE(server.value(R"(count({exported_node!=""}))"));
  // One that is gone is not forgotten: somebody is to be told.
  two.kill();
  CHECK(eventually(30s, [&] {
    return server.value(R"(up{node="two"} == 0)") == 0.0
           && server.value(R"(up{node="one"})") == 1.0;
  }));
  REQUIRE(two.start());
  CHECK(one.clear() == "");
  CHECK(two.clear() == "");
}
