#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "messages/error.hpp"
#include "nodes/config.hpp"

namespace caged {

/// A running node: every actor, thread and socket of caged-node, wired.
/// Starting takes over what an earlier daemon left; stopping leaves the
/// sandboxes running.
class node {
public:
  /// Errors: host_setup, io, conflict (another node on this data directory),
  /// each one sentence with a remedy; then nothing is left running.
  /// `request_stop` may be called from any thread when the daemon should end.
  static result<std::unique_ptr<node>>
  start(const node_config& config, std::function<void()> request_stop);

  virtual ~node() = default;

  virtual std::string metrics_address() const = 0;
  virtual const std::string& name() const = 0;
  /// Why it asked to be stopped, where that is for good: denied (it was removed
  /// from the fleet). Any thread.
  virtual std::optional<failure> over() const = 0;

  /// Stops accepting, then ends actors and threads. Idempotent.
  virtual void stop() = 0;
};

} // namespace caged
