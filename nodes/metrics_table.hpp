#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include "actors/metrics_sink.hpp"

namespace caged {

/// The last known numbers, and how they become Prometheus' families. Not the
/// library's Counter and Gauge objects: most counters here are cumulative
/// values that were read elsewhere, ages are computed when somebody asks, and
/// a sandbox's series must all leave in one step.
///
/// info() and state() make a sandbox's entry; a sample that comes after
/// remove(), or after the state `destroyed`, does not bring it back.
class metrics_table : public metrics_sink, public prometheus::Collectable {
public:
  metrics_table(std::string node, std::string version, std::string runtime);

  void info(const std::string& id, const sandbox_spec& spec) override;
  void state(const std::string& id, phase now) override;
  void agent(const std::string& id, const agent_metrics& sample) override;
  void heartbeat(const std::string& id) override;
  void host(const std::string& id, const host_stats& stats) override;
  void remove(const std::string& id) override;
  void capacity(unsigned cpus_total, unsigned cpus_reserved,
                std::uint64_t memory_mb_total, std::uint64_t memory_mb_reserved,
                std::uint64_t disk_gb_total,
                std::uint64_t disk_gb_reserved) override;
  void pool(const std::string& template_name, std::size_t size,
            std::size_t ready) override;
  void pool_asked(const std::string& template_name, bool hit) override;
  void created(std::chrono::nanoseconds took) override;
  void exec_answered(std::chrono::nanoseconds took) override;
  void message(std::string_view verb) override;
  void error(ec code) override;
  void refused_sample(const std::string& id) override;
  void orphans(std::size_t count) override;
  void client_refused(std::string_view reason) override;
  void gateway_connections(std::size_t count) override;
  void gateway_request(unsigned status) override;
  /// Not of the sink: no actor knows. Not shown before the first call.
  void store_up(bool answers);

  /// On a scraper's thread.
  std::vector<prometheus::MetricFamily> Collect() const override;

  using clock = std::chrono::steady_clock;

  struct sandbox_numbers {
    std::string name, template_name;
    std::optional<phase> state;
    std::optional<agent_metrics> agent;
    std::optional<clock::time_point> heartbeat;
    std::optional<host_stats> host;
    std::uint64_t refused = 0;
  };

  struct histogram {
    explicit histogram(std::vector<double> upper_bounds)
        : bounds{std::move(upper_bounds)}, counts(bounds.size()) {}
    void add(std::chrono::nanoseconds took);
    std::vector<double> bounds; ///< seconds
    std::vector<std::uint64_t> counts;
    std::uint64_t count = 0;
    double sum = 0;
  };

  struct pool_numbers {
    std::uint64_t size = 0, ready = 0, hits = 0, misses = 0;
  };

  /// Everything that is shown; copied whole for a scrape.
  struct numbers {
    std::map<std::string, sandbox_numbers> sandboxes;
    double cpus = 0, cpus_reserved = 0;
    double memory = 0, memory_reserved = 0; ///< bytes
    double disk = 0, disk_reserved = 0;     ///< bytes
    std::uint64_t orphans = 0;
    std::uint64_t gateway_connections = 0;
    std::optional<bool> store_up;
    std::map<std::string, std::uint64_t, std::less<>>
        gateway_requests; ///< by status
    std::map<std::string, std::uint64_t, std::less<>> messages, errors,
        refused;                               ///< by verb, code, reason
    std::map<std::string, pool_numbers> pools; ///< by template
    histogram create, exec;
    numbers();
  };

private:
  template <class Change>
  void change(const std::string& id, Change what);

  const std::string node_, version_, runtime_;
  mutable std::mutex mutex_;
  numbers now_;
};

} // namespace caged
