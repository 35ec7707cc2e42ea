#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "agent/log.hpp"
#include "messages/error.hpp"
#include "messages/limits.hpp"

namespace caged::agent {

/// What the agent was told at its start. The flags, variables and defaults are
/// the public ones; a flag goes before its variable.
struct config {
  std::string workspace = "/workspace"; ///< base of relative paths, no jail
  std::string socket = "/run/caged/agent.sock";
  std::chrono::milliseconds heartbeat_interval =
      limits::heartbeat_interval_default;
  std::chrono::milliseconds metrics_interval = limits::metrics_interval_default;
  log::level log_level = log::level::info;
  bool show_help = false;
  bool show_version = false;
};

/// Returns the value of a variable, nullptr when it is not set.
using environment = std::function<const char*(const char* name)>;

/// args: without the program's name. Error: bad_request, whose message names
/// the flag or variable and the accepted form.
result<config> parse_config(std::vector<std::string> args,
                            const environment& env);

/// What --help prints.
std::string help_text();

} // namespace caged::agent
