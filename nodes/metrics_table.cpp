#include "nodes/metrics_table.hpp"

#include <array>
#include <utility>

namespace caged {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double mb = 1024.0 * 1024, gb = 1024.0 * mb;

/// States that a sandbox of this node can be in while it is shown.
constexpr std::array shown_states = {phase::pending,   phase::running,
                                     phase::unhealthy, phase::paused,
                                     phase::stopping,  phase::failed};

/// The series of one name.
class family {
public:
  family(const char* name, const char* help, MetricType type,
         const std::string& node)
      : node_{node} {
    out_.name = name;
    out_.help = help;
    out_.type = type;
  }

  ClientMetric& add(std::vector<ClientMetric::Label> labels) {
    auto& made = out_.metric.emplace_back();
    made.label = std::move(labels);
    made.label.push_back({"node", node_});
    return made;
  }

  void value(double number, std::vector<ClientMetric::Label> labels = {}) {
    auto& made = add(std::move(labels));
    if (out_.type == MetricType::Counter)
      made.counter.value = number;
    else
      made.gauge.value = number;
  }

  /// What has no series is not shown: no empty HELP and TYPE.
  void to(std::vector<MetricFamily>& all) && {
    if (!out_.metric.empty())
      all.push_back(std::move(out_));
  }

private:
  const std::string& node_;
  MetricFamily out_;
};

/// Writes families out of one copy of the numbers.
class page {
public:
  page(const metrics_table::numbers& from, const std::string& node)
      : from_{from}, node_{node} {}

  /// One series for each sandbox for which `read` gives a number.
  template <class Read>
  void each(const char* name, const char* help, MetricType type, Read read) {
    family out{name, help, type, node_};
    for (const auto& [id, sandbox] : from_.sandboxes)
      if (std::optional<double> number = read(sandbox))
        out.value(*number, {{"sandbox", id}});
    std::move(out).to(all);
  }

  /// A member of the agent's report.
  template <class Member>
  void agent(const char* name, const char* help, MetricType type, Member member,
             double scale = 1) {
    each(name, help, type, [&](const auto& s) -> std::optional<double> {
      if (!s.agent)
        return std::nullopt;
      std::optional<double> number = (*s.agent).*member;
      return number ? std::optional{*number * scale} : std::nullopt;
    });
  }

  /// A member of the host's own reading.
  template <class Member>
  void host(const char* name, const char* help, MetricType type,
            Member member) {
    each(name, help, type, [&](const auto& s) -> std::optional<double> {
      if (!s.host)
        return std::nullopt;
      return static_cast<double>((*s.host).*member);
    });
  }

  void one(const char* name, const char* help, double number) {
    family out{name, help, MetricType::Gauge, node_};
    out.value(number);
    std::move(out).to(all);
  }

  void counts(const char* name, const char* help, const char* label,
              const std::map<std::string, std::uint64_t, std::less<>>& by) {
    family out{name, help, MetricType::Counter, node_};
    for (const auto& [what, count] : by)
      out.value(static_cast<double>(count), {{label, what}});
    std::move(out).to(all);
  }

  void times(const char* name, const char* help,
             const metrics_table::histogram& of) {
    family out{name, help, MetricType::Histogram, node_};
    auto& made = out.add({}).histogram;
    made.sample_count = of.count;
    made.sample_sum = of.sum;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < of.bounds.size(); ++i)
      made.bucket.push_back({below += of.counts[i], of.bounds[i]});
    std::move(out).to(all);
  }

  std::vector<MetricFamily> all;

private:
  const metrics_table::numbers& from_;
  const std::string& node_;
};

void agent_families(page& out) {
  using m = agent_metrics;
  constexpr auto gauge = MetricType::Gauge, counter = MetricType::Counter;
  out.agent("caged_agent_cpu_seconds_total",
            "CPU time used, as the agent reports it.", counter,
            &m::cpu_seconds);
  out.agent("caged_agent_cpu_usage_ratio",
            "CPU use since the sample before, 1 is one core; as the agent "
            "reports it.",
            gauge, &m::cpu_percent, 0.01);
  out.agent("caged_agent_memory_used_bytes",
            "Memory in use, as the agent reports it.", gauge,
            &m::memory_used_bytes);
  out.agent("caged_agent_memory_limit_bytes",
            "Memory limit, as the agent sees it.", gauge,
            &m::memory_total_bytes);
  out.agent("caged_agent_disk_used_bytes",
            "Bytes used on the workspace's file system, as the agent reports "
            "it.",
            gauge, &m::disk_used_bytes);
  out.agent("caged_agent_disk_size_bytes",
            "Size of the workspace's file system, as the agent reports it.",
            gauge, &m::disk_total_bytes);
  out.agent("caged_agent_processes",
            "Processes in the sandbox, as the agent reports it.", gauge,
            &m::processes);
  out.agent("caged_agent_network_receive_bytes_total",
            "Bytes received, as the agent reports it; absent without a "
            "network.",
            counter, &m::network_receive_bytes);
  out.agent("caged_agent_network_transmit_bytes_total",
            "Bytes sent, as the agent reports it; absent without a network.",
            counter, &m::network_transmit_bytes);
  auto now = metrics_table::clock::now();
  out.each("caged_agent_heartbeat_age_seconds",
           "Time since the agent's last heartbeat.", gauge,
           [&](const auto& s) -> std::optional<double> {
             if (!s.heartbeat)
               return std::nullopt;
             return std::chrono::duration<double>(now - *s.heartbeat).count();
           });
  out.each("caged_agent_samples_refused_total",
           "Claims of the agent that were refused as implausible.", counter,
           [](const auto& s) -> std::optional<double> {
             return static_cast<double>(s.refused);
           });
}

void host_families(page& out) {
  using h = host_stats;
  constexpr auto gauge = MetricType::Gauge, counter = MetricType::Counter;
  out.each("caged_sandbox_up",
           "Whether the sandbox runs and its agent answers.", gauge,
           [](const auto& s) -> std::optional<double> {
             return s.state == phase::running ? 1 : 0;
           });
  out.host("caged_sandbox_cpu_seconds_total",
           "CPU time used, read from the cgroup.", counter, &h::cpu_seconds);
  out.host("caged_sandbox_cpu_throttled_seconds_total",
           "Time the sandbox had to wait because of its CPU limit.", counter,
           &h::cpu_throttled_seconds);
  out.host("caged_sandbox_memory_bytes",
           "Memory charged to the sandbox, read from the cgroup.", gauge,
           &h::memory_bytes);
  out.host("caged_sandbox_memory_limit_bytes", "Memory limit.", gauge,
           &h::memory_limit_bytes);
  out.host("caged_sandbox_memory_peak_bytes",
           "Most memory ever charged to the sandbox.", gauge,
           &h::memory_peak_bytes);
  out.host("caged_sandbox_oom_kills_total",
           "Processes killed at the memory limit.", counter, &h::oom_kills);
  out.host("caged_sandbox_processes",
           "Processes and threads, read from the cgroup.", gauge, &h::pids);
  out.host("caged_sandbox_processes_limit", "Limit of processes and threads.",
           gauge, &h::pids_limit);
  out.host("caged_sandbox_forks_refused_total",
           "Forks refused at the limit of processes.", counter,
           &h::pids_refused);
  out.host("caged_sandbox_disk_bytes",
           "Bytes that the sandbox's disk layer takes on the host.", gauge,
           &h::disk_bytes);
  out.host("caged_sandbox_disk_limit_bytes", "Size limit of the disk layer.",
           gauge, &h::disk_limit_bytes);
}

void pool_families(page& out, const metrics_table::numbers& from,
                   const std::string& node) {
  family size{"caged_node_pool_size",
              "Sandboxes to be kept ready of a template, as configured.",
              MetricType::Gauge, node};
  family ready{"caged_node_pool_ready",
               "Booted, frozen sandboxes that can be handed out at once.",
               MetricType::Gauge, node};
  family asked{"caged_node_pool_requests_total",
               "Sandboxes asked for of a template with a pool: hit from the "
               "pool, miss started anew.",
               MetricType::Counter, node};
  for (const auto& [name, pool] : from.pools) {
    size.value(static_cast<double>(pool.size), {{"template", name}});
    ready.value(static_cast<double>(pool.ready), {{"template", name}});
    asked.value(static_cast<double>(pool.hits),
                {{"template", name}, {"result", "hit"}});
    asked.value(static_cast<double>(pool.misses),
                {{"template", name}, {"result", "miss"}});
  }
  std::move(size).to(out.all);
  std::move(ready).to(out.all);
  std::move(asked).to(out.all);
}

} // namespace

metrics_table::numbers::numbers()
    // Around the promises of DESIGN.md section 10: 40 ms and 150 ms for a
    // start, 2 ms for an exec.
    : create{{.005, .01, .02, .04, .08, .15, .3, .6, 1.2, 2.5, 5, 10, 30}},
      exec{{.0005, .001, .002, .004, .008, .015, .03, .06, .12, .25, .5, 1,
            5}} {}

void metrics_table::histogram::add(std::chrono::nanoseconds took) {
  auto seconds = std::chrono::duration<double>(took).count();
  ++count;
  sum += seconds;
  for (std::size_t i = 0; i < bounds.size(); ++i)
    if (seconds <= bounds[i]) {
      ++counts[i];
      return;
    }
}

metrics_table::metrics_table(std::string node, std::string version,
                             std::string runtime)
    : node_{std::move(node)},
      version_{std::move(version)},
      runtime_{std::move(runtime)} {}

template <class Change>
void metrics_table::change(const std::string& id, Change what) {
  std::lock_guard guard{mutex_};
  if (auto it = now_.sandboxes.find(id); it != now_.sandboxes.end())
    what(it->second);
}

void metrics_table::info(const std::string& id, const sandbox_spec& spec) {
  std::lock_guard guard{mutex_};
  auto& to = now_.sandboxes[id];
  to.name = spec.name;
  to.template_name = spec.template_name;
}

void metrics_table::state(const std::string& id, phase now) {
  std::lock_guard guard{mutex_};
  if (now == phase::destroyed)
    now_.sandboxes.erase(id);
  else
    now_.sandboxes[id].state = now;
}

void metrics_table::agent(const std::string& id, const agent_metrics& sample) {
  change(id, [&](auto& s) { s.agent = sample; });
}

void metrics_table::heartbeat(const std::string& id) {
  change(id, [now = clock::now()](auto& s) { s.heartbeat = now; });
}

void metrics_table::host(const std::string& id, const host_stats& stats) {
  change(id, [&](auto& s) { s.host = stats; });
}

void metrics_table::remove(const std::string& id) {
  std::lock_guard guard{mutex_};
  now_.sandboxes.erase(id);
}

void metrics_table::capacity(unsigned cpus_total, unsigned cpus_reserved,
                             std::uint64_t memory_mb_total,
                             std::uint64_t memory_mb_reserved,
                             std::uint64_t disk_gb_total,
                             std::uint64_t disk_gb_reserved) {
  std::lock_guard guard{mutex_};
  now_.cpus = cpus_total;
  now_.cpus_reserved = cpus_reserved;
  now_.memory = static_cast<double>(memory_mb_total) * mb;
  now_.memory_reserved = static_cast<double>(memory_mb_reserved) * mb;
  now_.disk = static_cast<double>(disk_gb_total) * gb;
  now_.disk_reserved = static_cast<double>(disk_gb_reserved) * gb;
}

void metrics_table::pool(const std::string& template_name, std::size_t size,
                         std::size_t ready) {
  std::lock_guard guard{mutex_};
  auto& to = now_.pools[template_name];
  to.size = size;
  to.ready = ready;
}

void metrics_table::pool_asked(const std::string& template_name, bool hit) {
  std::lock_guard guard{mutex_};
  auto& to = now_.pools[template_name];
  ++(hit ? to.hits : to.misses);
}

void metrics_table::created(std::chrono::nanoseconds took) {
  std::lock_guard guard{mutex_};
  now_.create.add(took);
}

void metrics_table::exec_answered(std::chrono::nanoseconds took) {
  std::lock_guard guard{mutex_};
  now_.exec.add(took);
}

void metrics_table::message(std::string_view verb) {
  std::lock_guard guard{mutex_};
  if (auto it = now_.messages.find(verb); it != now_.messages.end())
    ++it->second;
  else
    now_.messages.emplace(verb, 1);
}

void metrics_table::error(ec code) {
  std::lock_guard guard{mutex_};
  ++now_.errors[std::string{to_string(code)}];
}

void metrics_table::refused_sample(const std::string& id) {
  change(id, [](auto& s) { ++s.refused; });
}

void metrics_table::orphans(std::size_t count) {
  std::lock_guard guard{mutex_};
  now_.orphans = count;
}

void metrics_table::client_refused(std::string_view reason) {
  std::lock_guard guard{mutex_};
  ++now_.refused[std::string{reason}];
}

void metrics_table::gateway_connections(std::size_t count) {
  std::lock_guard guard{mutex_};
  now_.gateway_connections = count;
}

void metrics_table::gateway_request(unsigned status) {
  std::lock_guard guard{mutex_};
  ++now_.gateway_requests[std::to_string(status)];
}

void metrics_table::store_up(bool answers) {
  std::lock_guard guard{mutex_};
  now_.store_up = answers;
}

std::vector<MetricFamily> metrics_table::Collect() const {
  auto copy = [this] {
    std::lock_guard guard{mutex_};
    return now_;
  }();
  page out{copy, node_};
  {
    family info{"caged_node_info", "What this node is; always 1.",
                MetricType::Gauge, node_};
    info.value(1, {{"version", version_}, {"runtime", runtime_}});
    std::move(info).to(out.all);
  }
  out.one("caged_node_cpus", "CPUs that may be promised to sandboxes.",
          copy.cpus);
  out.one("caged_node_cpus_reserved", "CPUs promised to sandboxes.",
          copy.cpus_reserved);
  out.one("caged_node_memory_bytes",
          "Memory that may be promised to sandboxes.", copy.memory);
  out.one("caged_node_memory_reserved_bytes", "Memory promised to sandboxes.",
          copy.memory_reserved);
  out.one("caged_node_disk_bytes", "Disk that may be promised to sandboxes.",
          copy.disk);
  out.one("caged_node_disk_reserved_bytes", "Disk promised to sandboxes.",
          copy.disk_reserved);
  out.one("caged_node_orphans",
          "Resources in the kernel that no lease accounts for, at the last "
          "audit.",
          static_cast<double>(copy.orphans));
  if (copy.store_up)
    out.one("caged_node_store_up",
            "Whether the shared store answered the last time that it was "
            "asked.",
            *copy.store_up ? 1 : 0);
  {
    family by{"caged_node_sandboxes", "Sandboxes by state.", MetricType::Gauge,
              node_};
    for (auto state : shown_states) {
      double count = 0;
      for (const auto& [_, sandbox] : copy.sandboxes)
        count += sandbox.state == state ? 1 : 0;
      by.value(count, {{"state", std::string{to_string(state)}}});
    }
    std::move(by).to(out.all);
  }
  pool_families(out, copy, node_);
  out.counts("caged_node_messages_total", "Requests received, by verb.", "type",
             copy.messages);
  out.counts("caged_node_errors_total", "Errors answered, by code.", "code",
             copy.errors);
  out.counts("caged_node_clients_refused_total",
             "Connections and messages of clients that were refused, by "
             "reason.",
             "reason", copy.refused);
  out.one("caged_gateway_connections",
          "Connections to the MCP gateway now, sessions over WebSocket among "
          "them.",
          static_cast<double>(copy.gateway_connections));
  out.counts("caged_gateway_requests_total",
             "Requests to the MCP gateway, by status of the answer.", "status",
             copy.gateway_requests);
  out.times("caged_node_create_seconds",
            "From a request for a sandbox to its agent's first answer.",
            copy.create);
  out.times("caged_node_exec_seconds",
            "From a request for a command to its start.", copy.exec);
  {
    family info{"caged_sandbox_info",
                "Name and template of a sandbox, to join by; always 1.",
                MetricType::Gauge, node_};
    family state{"caged_sandbox_state",
                 "The state a sandbox is in; its series is 1.",
                 MetricType::Gauge, node_};
    for (const auto& [id, sandbox] : copy.sandboxes) {
      info.value(1, {{"sandbox", id},
                     {"name", sandbox.name},
                     {"template", sandbox.template_name}});
      if (sandbox.state)
        state.value(1, {{"sandbox", id},
                        {"state", std::string{to_string(*sandbox.state)}}});
    }
    std::move(info).to(out.all);
    std::move(state).to(out.all);
  }
  host_families(out);
  agent_families(out);
  return std::move(out.all);
}

} // namespace caged
