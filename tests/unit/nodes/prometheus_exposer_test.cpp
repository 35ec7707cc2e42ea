#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "messages/text.hpp"
#include "nodes/prometheus_exposer.hpp"

using namespace caged;
using namespace std::chrono_literals;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::unique_ptr<prometheus_exposer> open() {
  auto made = prometheus_exposer::open("127.0.0.1:0", "n1", "0.1.0", "oci 1");
  REQUIRE(made);
  return std::move(*made);
}

/// Connects and asks; the answer is read by the caller, or never.
int ask(const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(
      std::stoi(address.substr(address.rfind(':') + 1))));
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string line = "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n";
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0
      || ::write(fd, line.data(), line.size())
             != static_cast<ssize_t>(line.size())) {
    ::close(fd);
    return -1;
  }
  return fd;
}

std::string scrape(const prometheus_exposer& from) {
  int fd = ask(from.listen_address());
  REQUIRE(fd >= 0);
  std::string out;
  char buffer[65536];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  auto body = out.find("\r\n\r\n");
  REQUIRE(body != std::string::npos);
  return out.substr(body + 4);
}

void fill(metrics_sink& to, const std::string& id) {
  sandbox_spec spec;
  spec.name = "web";
  to.info(id, spec);
  to.state(id, phase::running);
  agent_metrics sample;
  sample.cpu_percent = 50;
  sample.cpu_seconds = 12.5;
  sample.memory_used_bytes = 1e6;
  sample.processes = 3;
  to.agent(id, sample);
  to.heartbeat(id);
  host_stats stats;
  stats.cpu_seconds = 13;
  stats.oom_kills = 2;
  stats.disk_bytes = 4096;
  to.host(id, stats);
  to.refused_sample(id);
}

} // namespace

TEST_CASE("a sandbox's series bear its id and node, and leave with it") {
  auto exposer = open();
  fill(*exposer, "cage-aaaaaaaa");
  auto text = scrape(*exposer);
  for (const char* line :
       {"caged_sandbox_info{sandbox=\"cage-aaaaaaaa\",name=\"web\",template="
        "\"minimal\",node=\"n1\"} 1",
        "caged_sandbox_up{sandbox=\"cage-aaaaaaaa\",node=\"n1\"} 1",
        "caged_sandbox_state{sandbox=\"cage-aaaaaaaa\",state=\"running\",node="
        "\"n1\"} 1",
        "caged_agent_cpu_usage_ratio{sandbox=\"cage-aaaaaaaa\",node=\"n1\"} "
        "0.5",
        "caged_agent_cpu_seconds_total{sandbox=\"cage-aaaaaaaa\",node=\"n1\"} "
        "12.5",
        "caged_sandbox_cpu_seconds_total{sandbox=\"cage-aaaaaaaa\",node=\"n1\"}"
        " 13",
        "caged_sandbox_oom_kills_total{sandbox=\"cage-aaaaaaaa\",node=\"n1\"} "
        "2",
        "caged_agent_samples_refused_total{sandbox=\"cage-aaaaaaaa\",node="
        "\"n1\"} 1",
        "caged_node_sandboxes{state=\"running\",node=\"n1\"} 1"}) {
    INFO(line);
    CHECK(has(text, line));
  }
  CHECK(has(text, "caged_agent_heartbeat_age_seconds{"));
  // Without a network there is nothing to say about it.
  CHECK_FALSE(has(text, "caged_agent_network"));

  exposer->state("cage-aaaaaaaa", phase::failed);
  text = scrape(*exposer);
  CHECK(has(text, "caged_sandbox_up{sandbox=\"cage-aaaaaaaa\",node=\"n1\"} 0"));
  CHECK(has(text, "caged_node_sandboxes{state=\"failed\",node=\"n1\"} 1"));
  CHECK_FALSE(has(text, "state=\"running\",node=\"n1\"} 1"));

  exposer->remove("cage-aaaaaaaa");
  // What comes late does not bring it back.
  exposer->heartbeat("cage-aaaaaaaa");
  exposer->agent("cage-aaaaaaaa", {});
  exposer->host("cage-aaaaaaaa", {});
  exposer->state("cage-aaaaaaaa", phase::destroyed);
  CHECK_FALSE(has(scrape(*exposer), "cage-aaaaaaaa"));
}

TEST_CASE("the node's numbers are in base units") {
  auto exposer = open();
  exposer->capacity(8, 2, 1024, 512, 10, 5);
  exposer->created(30ms);
  exposer->exec_answered(1500us);
  exposer->message("up");
  exposer->message("up");
  exposer->error(ec::not_found);
  exposer->orphans(1);
  exposer->client_refused("unknown_key");
  exposer->gateway_connections(2);
  exposer->gateway_request(401);
  exposer->gateway_request(401);
  auto text = scrape(*exposer);
  for (const char* line :
       {"caged_node_cpus{node=\"n1\"} 8",
        "caged_node_cpus_reserved{node=\"n1\"} 2",
        "caged_node_memory_bytes{node=\"n1\"} 1073741824",
        "caged_node_disk_reserved_bytes{node=\"n1\"} 5368709120",
        "caged_node_create_seconds_bucket{node=\"n1\",le=\"0.02\"} 0",
        "caged_node_create_seconds_bucket{node=\"n1\",le=\"0.04\"} 1",
        "caged_node_create_seconds_bucket{node=\"n1\",le=\"+Inf\"} 1",
        "caged_node_exec_seconds_bucket{node=\"n1\",le=\"0.002\"} 1",
        "caged_node_messages_total{type=\"up\",node=\"n1\"} 2",
        "caged_node_errors_total{code=\"not_found\",node=\"n1\"} 1",
        "caged_node_clients_refused_total{reason=\"unknown_key\",node=\"n1\"}"
        " 1",
        "caged_node_orphans{node=\"n1\"} 1",
        "caged_gateway_connections{node=\"n1\"} 2",
        "caged_gateway_requests_total{status=\"401\",node=\"n1\"} 2",
        "caged_node_info{version=\"0.1.0\",runtime=\"oci 1\",node=\"n1\"} 1"}) {
    INFO(line);
    CHECK(has(text, line));
  }
}

TEST_CASE("whether the shared store answers is shown once it is known") {
  auto metrics = open();
  CHECK_FALSE(has(scrape(*metrics), "caged_node_store_up"));
  metrics->store_up(true);
  CHECK(has(scrape(*metrics), "caged_node_store_up{node=\"n1\"} 1\n"));
  metrics->store_up(false);
  CHECK(has(scrape(*metrics), "caged_node_store_up{node=\"n1\"} 0\n"));
}

TEST_CASE("promtool accepts every series") {
  if (std::system("promtool --version >/dev/null 2>&1") != 0) {
    std::cout << "SKIPPED: promtool is not installed" << std::endl;
    return;
  }
  auto exposer = open();
  for (int i = 0; i < 3; ++i)
    fill(*exposer, "cage-aaaaaaa" + std::to_string(i));
  agent_metrics networked;
  networked.network_receive_bytes = 1;
  networked.network_transmit_bytes = 2;
  exposer->agent("cage-aaaaaaa0", networked);
  exposer->created(30ms);
  exposer->message("up");
  exposer->error(ec::internal);
  auto base = std::filesystem::temp_directory_path()
              / ("caged-metrics-" + random_name(8));
  auto page = base.string() + ".txt", said = base.string() + ".said";
  std::ofstream{page} << scrape(*exposer);
  auto exit = std::system(
      ("promtool check metrics <" + page + " >" + said + " 2>&1").c_str());
  std::ifstream in{said};
  std::string complaints{std::istreambuf_iterator<char>{in}, {}};
  std::filesystem::remove(page);
  std::filesystem::remove(said);
  CHECK(complaints.empty());
  CHECK(exit == 0);
}

TEST_CASE("an address in use is refused with the address and the flag") {
  auto first = open();
  auto second =
      prometheus_exposer::open(first->listen_address(), "n", "v", "r");
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ec::io);
  CHECK(has(second.error().message, first->listen_address()));
  CHECK(has(second.error().message, "in use"));
  CHECK(has(second.error().hint, "--metrics-address"));
  for (const char* bad : {"", "9464", "localhost", "127.0.0.1:", "1.2.3:x"}) {
    INFO(bad);
    auto refused = prometheus_exposer::open(bad, "n", "v", "r");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ec::bad_request);
  }
}

TEST_CASE("scrapers that do not read their answers hold up nobody's numbers") {
  auto exposer = open();
  for (int i = 0; i < 500; ++i)
    fill(*exposer, "cage-" + std::to_string(10000000 + i));
  std::vector<int> slow;
  for (int i = 0; i < 3; ++i)
    slow.push_back(ask(exposer->listen_address()));
  auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i)
    exposer->heartbeat("cage-10000000");
  CHECK(std::chrono::steady_clock::now() - begun < 1s);
  CHECK(has(scrape(*exposer), "cage-10000499"));
  for (int fd : slow)
    ::close(fd);
}
