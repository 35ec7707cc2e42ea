#include "nodes/prometheus_exposer.hpp"

#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include "messages/text.hpp"

namespace caged {

namespace pm = prometheus;
using clock_type = std::chrono::steady_clock;

namespace {

constexpr std::size_t server_threads = 2;
constexpr double mega = 1024.0 * 1024.0;

/// Seconds: a pooled create is about a millisecond, a slow one ten seconds.
const std::vector<double> buckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

struct histogram {
  std::vector<std::uint64_t> counts =
      std::vector<std::uint64_t>(buckets.size());
  std::uint64_t count = 0;
  double sum = 0;
  void add(std::chrono::nanoseconds took) {
    auto seconds = std::chrono::duration<double>(took).count();
    for (std::size_t i = 0; i < buckets.size(); ++i)
      counts[i] += seconds <= buckets[i] ? 1u : 0u;
    ++count;
    sum += seconds;
  }
};

struct sandbox_numbers {
  sandbox_spec spec;
  phase state = phase::pending;
  std::optional<agent_metrics> agent;
  std::optional<host_stats> host;
  std::optional<clock_type::time_point> heartbeat;
  std::uint64_t refused = 0;
};

/// Builds families: one place that knows how prometheus-cpp wants them.
class page {
public:
  void add(const char* name, const char* help, pm::MetricType type,
           std::vector<pm::ClientMetric::Label> labels, double value) {
    pm::ClientMetric metric;
    metric.label = std::move(labels);
    if (type == pm::MetricType::Counter)
      metric.counter.value = value;
    else
      metric.gauge.value = value;
    family(name, help, type).metric.push_back(std::move(metric));
  }
  void add(const char* name, const char* help, const histogram& from,
           std::vector<pm::ClientMetric::Label> labels) {
    pm::ClientMetric metric;
    metric.label = std::move(labels);
    metric.histogram.sample_count = from.count;
    metric.histogram.sample_sum = from.sum;
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      pm::ClientMetric::Bucket bucket;
      bucket.upper_bound = buckets[i];
      bucket.cumulative_count = from.counts[i];
      metric.histogram.bucket.push_back(bucket);
    }
    family(name, help, pm::MetricType::Histogram)
        .metric.push_back(std::move(metric));
  }
  std::vector<pm::MetricFamily> take() {
    std::vector<pm::MetricFamily> out;
    for (auto& [_, item] : families_)
      out.push_back(std::move(item));
    return out;
  }

private:
  pm::MetricFamily& family(const char* name, const char* help,
                           pm::MetricType type) {
    auto& out = families_[name];
    out.name = name;
    out.help = help;
    out.type = type;
    return out;
  }
  std::map<std::string, pm::MetricFamily> families_;
};

class exposer : public prometheus_exposer, public pm::Collectable {
public:
  std::string node, version, runtime, address;
  std::unique_ptr<pm::Exposer> server;

  std::string listen_address() const override { return address; }

  // -- metrics_sink --

  void info(const std::string& id, const sandbox_spec& spec) override {
    std::lock_guard guard{mutex_};
    sandboxes_[id].spec = spec;
  }
  void state(const std::string& id, phase now) override {
    std::lock_guard guard{mutex_};
    if (auto it = sandboxes_.find(id); it != sandboxes_.end()) {
      it->second.state = now;
      if (now == phase::failed || now == phase::stopping) {
        it->second.agent.reset(); // what no longer runs reports nothing
        it->second.host.reset();
        it->second.heartbeat.reset();
      }
    }
  }
  void agent(const std::string& id, const agent_metrics& sample) override {
    update(id, [&](auto& to) { to.agent = sample; });
  }
  void heartbeat(const std::string& id) override {
    update(id, [](auto& to) { to.heartbeat = clock_type::now(); });
  }
  void host(const std::string& id, const host_stats& stats) override {
    update(id, [&](auto& to) { to.host = stats; });
  }
  void remove(const std::string& id) override {
    std::lock_guard guard{mutex_};
    sandboxes_.erase(id);
  }
  void capacity(unsigned cpus_total, unsigned cpus_used,
                std::uint64_t memory_total, std::uint64_t memory_used,
                std::uint64_t disk_total, std::uint64_t disk_used) override {
    std::lock_guard guard{mutex_};
    capacity_ = {static_cast<double>(cpus_total),
                 static_cast<double>(cpus_used),
                 static_cast<double>(memory_total) * mega,
                 static_cast<double>(memory_used) * mega,
                 static_cast<double>(disk_total) * mega * 1024,
                 static_cast<double>(disk_used) * mega * 1024};
  }
  void created(std::chrono::nanoseconds took) override {
    std::lock_guard guard{mutex_};
    create_.add(took);
  }
  void exec_answered(std::chrono::nanoseconds took) override {
    std::lock_guard guard{mutex_};
    exec_.add(took);
  }
  void message(std::string_view verb) override {
    std::lock_guard guard{mutex_};
    ++messages_[std::string{verb}];
  }
  void error(ec code) override {
    std::lock_guard guard{mutex_};
    ++errors_[std::string{to_string(code)}];
  }
  void refused_sample(const std::string& id) override {
    update(id, [](auto& to) { ++to.refused; });
  }
  void orphans(std::size_t count) override {
    std::lock_guard guard{mutex_};
    orphans_ = count;
  }

  // -- Collectable, on a thread of the HTTP server --

  std::vector<pm::MetricFamily> Collect() const override {
    page out;
    std::lock_guard guard{mutex_};
    for (const auto& [id, numbers] : sandboxes_)
      add_sandbox(out, id, numbers);
    add_node(out);
    return out.take();
  }

private:
  using labels = std::vector<pm::ClientMetric::Label>;
  static pm::ClientMetric::Label label(const char* name, std::string value) {
    pm::ClientMetric::Label out;
    out.name = name;
    out.value = std::move(value);
    return out;
  }

  template <class Change>
  void update(const std::string& id, Change change) {
    std::lock_guard guard{mutex_};
    if (auto it = sandboxes_.find(id); it != sandboxes_.end())
      change(it->second);
  }

  void add_sandbox(page& out, const std::string& id,
                   const sandbox_numbers& n) const {
    using enum pm::MetricType;
    labels who = {label("sandbox", id), label("node", node)};
    auto described = who;
    described.push_back(label("name", n.spec.name));
    described.push_back(label("template", n.spec.template_name));
    out.add("caged_sandbox_info", "Name and template of a sandbox; always 1.",
            Gauge, described, 1);
    out.add("caged_sandbox_up", "Whether the sandbox's agent answers.", Gauge,
            who, n.state == phase::running ? 1 : 0);
    auto with_state = who;
    with_state.push_back(label("state", std::string{to_string(n.state)}));
    out.add("caged_sandbox_state", "The state the sandbox is in; 1 for it.",
            Gauge, with_state, 1);
    out.add("caged_agent_samples_refused_total",
            "Samples of the agent that were not plausible.", Counter, who,
            static_cast<double>(n.refused));
    if (n.heartbeat)
      out.add("caged_agent_heartbeat_age_seconds",
              "Time since the agent's last heartbeat.", Gauge, who,
              std::chrono::duration<double>(clock_type::now() - *n.heartbeat)
                  .count());
    if (n.agent)
      add_agent(out, who, *n.agent);
    if (n.host)
      add_host(out, who, *n.host);
  }

  static void add_agent(page& out, const labels& who, const agent_metrics& m) {
    using enum pm::MetricType;
    out.add("caged_agent_cpu_usage_ratio",
            "Cpu use between the last two samples; 1 is one core.", Gauge, who,
            m.cpu_percent / 100);
    out.add("caged_agent_cpu_seconds_total",
            "Cpu time used, as the agent reports it.", Counter, who,
            m.cpu_seconds);
    out.add("caged_agent_memory_used_bytes",
            "Memory used, as the agent reports it.", Gauge, who,
            m.memory_used_bytes);
    out.add("caged_agent_memory_limit_bytes",
            "Memory limit, as the agent reports it.", Gauge, who,
            m.memory_total_bytes);
    out.add("caged_agent_disk_used_bytes",
            "Used bytes of the workspace's file system.", Gauge, who,
            m.disk_used_bytes);
    out.add("caged_agent_disk_size_bytes",
            "Size of the workspace's file system.", Gauge, who,
            m.disk_total_bytes);
    out.add("caged_agent_processes", "Processes inside the sandbox.", Gauge,
            who, m.processes);
    if (m.network_receive_bytes)
      out.add("caged_agent_network_receive_bytes_total", "Bytes received.",
              Counter, who, *m.network_receive_bytes);
    if (m.network_transmit_bytes)
      out.add("caged_agent_network_transmit_bytes_total", "Bytes sent.",
              Counter, who, *m.network_transmit_bytes);
  }

  static void add_host(page& out, const labels& who, const host_stats& h) {
    using enum pm::MetricType;
    auto number = [](std::uint64_t value) {
      return static_cast<double>(value);
    };
    out.add("caged_sandbox_cpu_seconds_total",
            "Cpu time used, read from the cgroup.", Counter, who,
            h.cpu_seconds);
    out.add("caged_sandbox_cpu_throttled_seconds_total",
            "Time the cpu limit held the sandbox back.", Counter, who,
            h.cpu_throttled_seconds);
    out.add("caged_sandbox_memory_bytes", "Memory charged to the cgroup.",
            Gauge, who, number(h.memory_bytes));
    out.add("caged_sandbox_memory_limit_bytes", "Memory limit of the cgroup.",
            Gauge, who, number(h.memory_limit_bytes));
    out.add("caged_sandbox_memory_peak_bytes",
            "Most memory that was ever charged.", Gauge, who,
            number(h.memory_peak_bytes));
    out.add("caged_sandbox_oom_kills_total",
            "Processes killed at the memory limit.", Counter, who,
            number(h.oom_kills));
    out.add("caged_sandbox_processes", "Processes and threads in the cgroup.",
            Gauge, who, number(h.pids));
    out.add("caged_sandbox_processes_limit", "Limit of processes and threads.",
            Gauge, who, number(h.pids_limit));
    out.add("caged_sandbox_forks_refused_total",
            "Forks refused at the limit of processes.", Counter, who,
            number(h.pids_refused));
    out.add("caged_sandbox_disk_bytes",
            "Bytes the disk layer takes on the host.", Gauge, who,
            number(h.disk_bytes));
    out.add("caged_sandbox_disk_limit_bytes", "Size limit of the disk layer.",
            Gauge, who, number(h.disk_limit_bytes));
  }

  void add_node(page& out) const {
    using enum pm::MetricType;
    labels here = {label("node", node)};
    auto described = here;
    described.push_back(label("version", version));
    described.push_back(label("runtime", runtime));
    out.add("caged_node_info", "Version and runtime of the node; always 1.",
            Gauge, described, 1);
    static constexpr std::array<std::pair<const char*, const char*>, 6> names =
        {{{"caged_node_cpus", "Cpus that may be promised to sandboxes."},
          {"caged_node_cpus_reserved", "Cpus promised to sandboxes."},
          {"caged_node_memory_bytes", "Memory that may be promised."},
          {"caged_node_memory_reserved_bytes", "Memory promised."},
          {"caged_node_disk_bytes", "Disk that may be promised."},
          {"caged_node_disk_reserved_bytes", "Disk promised."}}};
    for (std::size_t i = 0; i < names.size(); ++i)
      out.add(names[i].first, names[i].second, Gauge, here, capacity_[i]);
    std::map<phase, int> counts;
    for (auto state : {phase::pending, phase::running, phase::unhealthy,
                       phase::paused, phase::stopping, phase::failed})
      counts[state] = 0;
    for (const auto& [_, numbers] : sandboxes_)
      ++counts[numbers.state];
    for (const auto& [state, count] : counts) {
      auto one = here;
      one.push_back(label("state", std::string{to_string(state)}));
      out.add("caged_node_sandboxes", "Sandboxes in each state.", Gauge, one,
              count);
    }
    out.add("caged_node_create_seconds",
            "From the request of a sandbox to its agent's first answer.",
            create_, here);
    out.add("caged_node_exec_seconds",
            "From the request of an exec to its start.", exec_, here);
    for (const auto& [verb, count] : messages_) {
      auto one = here;
      one.push_back(label("type", verb));
      out.add("caged_node_messages_total", "Messages of clients.", Counter, one,
              static_cast<double>(count));
    }
    for (const auto& [code, count] : errors_) {
      auto one = here;
      one.push_back(label("code", code));
      out.add("caged_node_errors_total", "Requests that ended in an error.",
              Counter, one, static_cast<double>(count));
    }
    out.add("caged_node_orphans",
            "Resources without a lease, at the last audit.", Gauge, here,
            static_cast<double>(orphans_));
  }

  mutable std::mutex mutex_;
  std::map<std::string, sandbox_numbers> sandboxes_;
  std::array<double, 6> capacity_{};
  histogram create_, exec_;
  std::map<std::string, std::uint64_t> messages_, errors_;
  std::size_t orphans_ = 0;
};

} // namespace

result<std::shared_ptr<prometheus_exposer>>
prometheus_exposer::open(const std::string& address, const std::string& node,
                         const std::string& version,
                         const std::string& runtime) {
  auto colon = address.rfind(':');
  auto port =
      colon == std::string::npos ? std::string{} : address.substr(colon + 1);
  if (port.empty() || port.size() > 5
      || port.find_first_not_of("0123456789") != std::string::npos
      || std::stoul(port) > 65535)
    return fail(ec::bad_request,
                "the metrics address " + caged::quoted(address)
                    + " is not of the form ADDRESS:PORT",
                "for example --metrics-address 127.0.0.1:9464");
  auto made = std::make_shared<exposer>();
  try {
    auto server = std::make_unique<pm::Exposer>(address, server_threads);
    auto ports = server->GetListeningPorts();
    made->node = node;
    made->version = version;
    made->runtime = runtime;
    made->address = address.substr(0, colon + 1)
                    + (ports.empty() ? port : std::to_string(ports.front()));
    // The server holds the page weakly, the page holds the server.
    server->RegisterCollectable(made);
    made->server = std::move(server);
    return std::shared_ptr<prometheus_exposer>{std::move(made)};
  } catch (const std::exception& e) {
    return fail(ec::io,
                "metrics cannot be served at " + address + ": " + e.what(),
                "is the port in use? choose another with --metrics-address");
  }
}

} // namespace caged
