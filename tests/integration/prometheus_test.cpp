#include <catch2/catch.hpp>

#include <csignal>
#include <sstream>

#include "tests/support/hosts.hpp"
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
  CHECK(node.clear() == "");
}

TEST_CASE("a real Prometheus finds the nodes of a fleet through one of them") {
  if (run({"prometheus", "--version"}).exit != 0)
    return skip("prometheus is not installed");
  if (!etcd_cluster::can_run())
    return;
  hosts f{3, {"--labels", "zone=b", "--metrics-interval", "1s"}};
  auto gateway = read_file(f[0].run_dir() + "/gateway-address");
  gateway.erase(gateway.find_last_not_of('\n') + 1);
  prometheus_server server{told_by(gateway)};
  REQUIRE(server.up());
  CHECK(eventually(30s, [&] { return server.value("sum(up)") == 3.0; }));
  CHECK(server.value(R"(up{node="n2",label_zone="b"})") == 1.0);
  CHECK(server.value(R"(caged_node_cpus{node="n2"} > 0)"));
  CHECK_FALSE(server.value(R"(count({exported_node!=""}))"));

  // Load is seen on the node that has the sandbox, whoever was asked for it.
  const auto busy = f.make_on(1, 0), idle = f.make_on(2, 0);
  REQUIRE_FALSE(busy.empty());
  REQUIRE_FALSE(idle.empty());
  const auto burning =
      f[2].start_caged({"exec", busy, "--", "sh", "-c", "while :; do :; done"});
  for (const std::string family : {"caged_sandbox_", "caged_agent_"}) {
    CAPTURE(family);
    const auto of = [&](const std::string& id, const std::string& more = {}) {
      return family + "cpu_seconds_total{sandbox=\"" + id + "\"" + more + "}";
    };
    CHECK(eventually(60s, [&] {
      return server.value("rate(" + of(busy, ",node=\"n2\"") + "[10s])")
                 .value_or(0)
             > 0.3;
    }));
    const auto all = server.query(of(busy));
    REQUIRE(all.size() == 1);
    CHECK(all[0]["metric"]["node"] == "n2");
    CHECK(all[0]["metric"]["instance"] == f[1].metrics_address());
    CHECK_FALSE(server.value("count(" + of(busy, ",node!=\"n2\"") + ")"));
    CHECK(eventually(30s, [&] {
      return server.value("rate(" + of(idle, ",node=\"n3\"") + "[10s])")
                 .value_or(1)
             < 0.2;
    }));
  }
  // One that is gone is not forgotten: somebody is to be told.
  f[1].kill();
  CHECK(eventually(30s, [&] {
    return server.value(R"(up{node="n2"} == 0)") == 0.0
           && server.value(R"(up{node="n1"})") == 1.0;
  }));
  REQUIRE(f[1].start());
  CHECK(f.clear() == "");
}
