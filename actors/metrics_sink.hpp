#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "messages/samples.hpp"
#include "messages/sandbox.hpp"

namespace caged {

/// Where actors put numbers for Prometheus; nodes/ implements it on
/// prometheus-cpp. Thread-safe, never blocks for long. Names and units of the
/// series: docs/metrics.md.
class metrics_sink {
public:
  virtual ~metrics_sink() = default;

  /// Series of one sandbox: made by the first call, removed by remove().
  virtual void info(const std::string& id, const sandbox_spec& spec) = 0;
  virtual void state(const std::string& id, phase now) = 0; ///< up, state
  virtual void agent(const std::string& id, const agent_metrics& sample) = 0;
  /// Monotonic time of the last heartbeat; the age is computed at scrape.
  virtual void heartbeat(const std::string& id) = 0;
  virtual void host(const std::string& id, const host_stats& stats) = 0;
  virtual void remove(const std::string& id) = 0;

  /// Of the node.
  virtual void capacity(unsigned cpus_total, unsigned cpus_reserved,
                        std::uint64_t memory_mb_total,
                        std::uint64_t memory_mb_reserved,
                        std::uint64_t disk_gb_total,
                        std::uint64_t disk_gb_reserved) = 0;
  virtual void pool(const std::string& template_name, std::size_t size,
                    std::size_t ready) = 0;
  /// A sandbox was asked for of a template that has a pool: it came from there,
  /// or it did not.
  virtual void pool_asked(const std::string& template_name, bool hit) = 0;
  virtual void created(std::chrono::nanoseconds took) = 0; ///< up -> running
  virtual void exec_answered(std::chrono::nanoseconds took) = 0; ///< started
  virtual void message(std::string_view verb) = 0; ///< one request came
  virtual void error(ec code) = 0;                 ///< one error was sent
  /// Claims of an agent that were refused as implausible.
  virtual void refused_sample(const std::string& id) = 0;
  virtual void orphans(std::size_t count) = 0;
  /// Somebody was not let in, or one of their messages was not: "unknown_key",
  /// "revoked_key", "handshake", "malformed", "too_large", "role", "owner" (it
  /// is another's), "join_token", "caller" (it says for whom it asks and may
  /// not).
  virtual void client_refused(std::string_view reason) = 0;
  /// Of the MCP gateway: connections now, and one answer's status.
  virtual void gateway_connections(std::size_t count) = 0;
  virtual void gateway_request(unsigned status) = 0;
};

} // namespace caged
