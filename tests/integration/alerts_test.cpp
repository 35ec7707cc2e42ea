#include <catch2/catch.hpp>

#include <map>
#include <regex>
#include <sstream>

#include <nlohmann/json.hpp>

#include "messages/error.hpp"
#include "messages/sandbox.hpp"
#include "tests/support/etcd.hpp"
#include "tests/support/person.hpp"
#include "tests/support/prometheus.hpp"
#include "tests/support/promql.hpp"
#include "tests/support/source_tree.hpp"
#include "tests/support/test_node.hpp"
#include "tests/unit/mcp/web_client.hpp"

// What ops/ says to Prometheus, Grafana and container engines, held against the
// real programs.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool installed(const std::string& program) {
  return run({program, "--version"}).exit == 0;
}

/// Expressions of the dashboard by panel, Grafana's variables filled in.
std::multimap<std::string, std::string> panels() {
  const std::map<std::string, std::string> variables = {
      {"$__rate_interval", "1m"}, {"$node", ".*"}, {"$sandbox", ".*"}};
  std::multimap<std::string, std::string> out;
  const auto board = json::parse(
      read_file(source_file("ops/grafana/dashboards/caged-fleet.json")));
  for (const auto& panel : board["panels"]) {
    const std::string title = panel["title"];
    if (panel["type"] == "row")
      continue;
    CHECK(panel["datasource"]["uid"] == "caged");
    if (panel["targets"].empty())
      FAIL_CHECK("the panel " << title << " asks for nothing");
    for (const auto& target : panel["targets"]) {
      std::string text = target["expr"];
      for (const auto& [name, value] : variables)
        for (auto at = text.find(name); at != text.npos; at = text.find(name))
          text.replace(at, name.size(), value);
      out.emplace(title, text);
    }
  }
  return out;
}

/// The names of rows, in their order.
std::vector<std::string> rows() {
  std::vector<std::string> out;
  const auto board = json::parse(
      read_file(source_file("ops/grafana/dashboards/caged-fleet.json")));
  for (const auto& panel : board["panels"])
    if (panel["type"] == "row")
      out.push_back(panel["title"]);
  return out;
}

/// The alerts of alerts.yml by name, as Prometheus has read them.
std::map<std::string, json> alerts(prometheus_server& server) {
  std::map<std::string, json> out;
  const auto got = server.get("/api/v1/rules");
  if (!got.is_object())
    return out;
  for (const auto& group : got["groups"])
    for (const auto& rule : group["rules"])
      out[rule["name"]] = rule;
  return out;
}

/// What a selector asks for that no series has; empty: it is all there. Values
/// of codes and states are held against the program's own lists, since not each
/// of them occurs in one run; so is what a pattern matches not looked at.
std::string lacks(prometheus_server& server, const series_selector& what) {
  auto any = [&](const std::string& selector) {
    const auto got = server.query(selector);
    return got.is_array() && !got.empty();
  };
  if (!any(what.metric))
    return "there is no series " + what.metric;
  for (const auto& one : what.matchers) {
    if (!any(what.metric + "{" + one.label + "!=\"\"}"))
      return what.metric + " has no label " + one.label;
    std::istringstream values{one.value};
    for (std::string value; std::getline(values, value, '|');) {
      if (one.label == "code") {
        if (caged::to_string(caged::ec_from_string(value)) != value)
          return "there is no error code " + value;
      } else if (one.label == "state") {
        if (!caged::phase_from_string(value))
          return "there is no state " + value;
      } else if (one.op == "="
                 && !any(what.metric + "{" + one.label + "=\"" + value
                         + "\"}")) {
        return "no " + what.metric + " has " + one.label + " " + value;
      }
    }
  }
  return {};
}

/// Complaints about what an expression asks for, one a line.
std::string complaints(prometheus_server& server, const std::string& text) {
  std::string out;
  const auto found = selectors_of(text);
  if (found.empty())
    return "it asks for no series";
  for (const auto& each : found)
    if (auto why = lacks(server, each); !why.empty())
      out += why + "\n";
  return out;
}

/// prometheus.yml of the fleet, but for the targets: no service discovery.
std::string scraping(const test_node& node, const etcd_cluster& etcd) {
  const auto status =
      json::parse(node.caged({"node", "status", "--format", "json"}).out);
  return "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
         "rule_files: ['"
         + source_file("ops/prometheus/alerts.yml")
         + "']\n"
           "scrape_configs:\n"
           "  - job_name: caged\n"
           "    honor_labels: true\n"
           "    static_configs:\n"
           "      - targets: ['"
         + node.metrics_address() + "']\n        labels: {node: '"
         + status.value("node", "") + "'}\n"
         + "  - job_name: etcd\n"
           "    static_configs: [{targets: ['"
         + etcd.endpoint(0).text() + "']}]\n";
}

/// A bit of everything that has a series of its own only when it has happened.
void live_a_little(const test_node& node) {
  CHECK(node.caged({"exec", "web", "--", "true"}).exit == 0);
  CHECK(node.caged({"up", "--no-config", "--memory", "8g"}).exit != 0);
  const person stranger{node, "stranger", ""};
  CHECK(stranger.caged({"list"}).exit != 0);
  const auto gateway = read_file(node.run_dir() + "/gateway-address");
  web_client client{static_cast<std::uint16_t>(
      std::stoi(gateway.substr(gateway.rfind(':') + 1)))};
  client.send("GET /v1/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  CHECK(client.head().status == 401);
}

} // namespace

TEST_CASE("every panel and every alert asks for series that a fleet has") {
  if (!installed("prometheus"))
    return skip("prometheus is not installed; ops/deps installs it");
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  test_node node{{"--store", "etcd://" + etcd.endpoint(0).text() + "/fleet",
                  "--listen", "tcp://127.0.0.1:0", "--pool", "minimal=1",
                  "--cpus", "4", "--memory-mb", "2000", "--disk-gb", "20",
                  "--metrics-interval", "500ms", "--heartbeat-interval",
                  "500ms"}};
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web", "--memory", "128"}).empty());
  prometheus_server server{scraping(node, etcd)};
  INFO(server.log());
  REQUIRE(server.up());
  live_a_little(node);
  REQUIRE(eventually(20s, [&] {
    return server.value("count(rate(caged_agent_cpu_seconds_total[1m]))") == 1
           && server.value("count(rate(caged_node_errors_total[1m]) >= 0)")
           && server.value("count(rate(etcd_server_id[1m]))");
  }));

  CHECK(rows() == std::vector<std::string>{"Fleet", "Node", "Sandbox"});
  const auto board = panels();
  CHECK(board.size() > 30);
  for (const auto& [title, text] : board) {
    INFO("panel " << title << ": " << text);
    CHECK(complaints(server, text) == "");
    std::string error;
    CHECK(eventually(10s, [&, query = text] {
      error.clear();
      const auto got = server.query(query, &error);
      return !error.empty() || (got.is_array() && !got.empty());
    }));
    CHECK(error == "");
  }

  REQUIRE(eventually(20s, [&] {
    const auto all = alerts(server);
    for (const auto& [_, rule] : all)
      if (rule["health"] == "unknown")
        return false;
    return !all.empty();
  }));
  for (const auto& [name, rule] : alerts(server)) {
    const std::string text = rule["query"];
    INFO("alert " << name << ": " << text);
    CHECK(rule.value("lastError", "") == "");
    CHECK(rule["health"] == "ok");
    CHECK(complaints(server, text) == "");
    // One sandbox at work is no reason to call anybody.
    if (rule["labels"]["severity"] == "page")
      CHECK(rule["state"] != "firing");
  }

  // The same checks see what is wrong.
  CHECK(has(complaints(server, "sum(rate(caged_node_mesages_total[1m]))"),
            "no series caged_node_mesages_total"));
  CHECK(has(complaints(server, R"(caged_node_sandboxes{phase="running"})"),
            "no label phase"));
  CHECK(has(complaints(server, R"(caged_node_sandboxes{state="dead"})"),
            "no state dead"));
  CHECK(has(complaints(server, R"(up{job="nodes"})"), "job nodes"));
  CHECK(server.query("sum(").is_null());
  CHECK(node.clear() == "");
}

TEST_CASE("promtool takes prometheus.yml and the alerts, and each alert has a "
          "case in which it fires and a word in the operator's guide") {
  if (!installed("promtool"))
    return skip("promtool is not installed; ops/deps installs it");
  const auto rules = source_file("ops/prometheus/alerts.yml");
  const auto cases = source_file("ops/prometheus/alerts_test.yml");
  for (const auto& argv : std::vector<std::vector<std::string>>{
           {"promtool", "check", "rules", rules},
           {"promtool", "check", "config",
            source_file("ops/prometheus/prometheus.yml")},
           {"promtool", "check", "config",
            source_file("ops/docker/fleet/prometheus.yml"), "--syntax-only"},
           {"promtool", "test", "rules", cases}}) {
    const auto done = run(argv);
    INFO(argv[2] << ": " << done.out << done.err);
    CHECK(done.exit == 0);
  }
  const auto guide = read_file(source_file("docs/operations.md"));
  const auto tests = read_file(cases);
  const auto text = read_file(rules);
  const std::regex alert{"- alert: (\\w+)"};
  std::size_t count = 0;
  for (std::sregex_iterator it{text.begin(), text.end(), alert}, end; it != end;
       ++it, ++count) {
    const auto name = it->str(1);
    INFO(name);
    CHECK(has(tests, "alertname: " + name + "\n        exp_alerts:\n"));
    CHECK(has(guide, "`" + name + "`"));
  }
  CHECK(count > 20);
  // Nor is there a word about one that is no more.
  const std::regex told{"`((?:Caged|Etcd)[A-Z]\\w+)`"};
  for (std::sregex_iterator it{guide.begin(), guide.end(), told}, end;
       it != end; ++it) {
    INFO(it->str(1));
    CHECK(has(text, "- alert: " + it->str(1) + "\n"));
  }
}

TEST_CASE(
    "docker-compose takes the compose file, and what it mounts is there") {
  if (!installed("docker-compose"))
    return skip("docker-compose is not installed; ops/deps installs it");
  const auto file = source_file("docker-compose.yml");
  const auto done = run({"docker-compose", "-f", file, "config", "-q"});
  INFO(done.err);
  CHECK(done.exit == 0);
  CHECK_FALSE(has(done.err, "WARNING"));
  // Files of the tree that services mount or are built from.
  const auto text = read_file(file);
  const std::regex path{"[ \"'](?:\\./)?(ops/[\\w./-]+)"};
  std::size_t count = 0;
  for (std::sregex_iterator it{text.begin(), text.end(), path}, end; it != end;
       ++it, ++count)
    CHECK_NOTHROW(source_file(it->str(1)));
  CHECK(count > 5);
  // It can fail.
  temp_dir elsewhere;
  write_file(elsewhere / "docker-compose.yml",
             "version: '3.8'\nservices: {a: {image: b, no_such_key: 1}}\n");
  CHECK(run({"docker-compose", "-f", elsewhere / "docker-compose.yml", "config",
             "-q"})
            .exit
        != 0);
}

TEST_CASE("selectors are found wherever PromQL has them") {
  auto names = [](std::string_view text) {
    std::string out;
    for (const auto& each : selectors_of(text)) {
      out += each.metric;
      for (const auto& one : each.matchers)
        out += "," + one.label + one.op + one.value;
      out += ";";
    }
    return out;
  };
  CHECK(names("a") == "a;");
  CHECK(
      names(R"(sum by (x, y) (rate(a{b="c", d=~"e|f"}[5m])) / on (z) c > 0.5)")
      == "a,b=c,d=~e|f;c;");
  CHECK(names(R"(histogram_quantile(0.9, sum(rate(a_bucket[1m])) by (le)))")
        == "a_bucket;");
  CHECK(names(R"(a * on (n) group_left (name) b unless c{d!="\"}"} offset 10m)")
        == "a;b;c,d!=\"};");
  CHECK(
      names(R"x(label_replace(a, "to", "$1", "from", "(.*)") or vector(1e3))x")
      == "a;");
  CHECK_THROWS(names(R"({job="a"})"));
  CHECK_THROWS(names(R"(a{b="c)"));
}
