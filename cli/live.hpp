#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/verbs.hpp"

/// Verbs on what runs: execs that go on alone, pause, events, forwards.
namespace caged::cli {

result<int> run_pause(const common_options& with,
                      const std::vector<std::string>& sandboxes, bool freeze);

result<int> run_ps(const common_options& with, const std::string& sandbox);

/// `exec` is an id or a unique prefix; empty: the only one there is.
result<int> run_attach(const common_options& with, const std::string& sandbox,
                       const std::string& exec, bool no_stdin);

/// `signal` is a name with or without SIG, or a number.
result<int> run_kill(const common_options& with, const std::string& sandbox,
                     const std::string& exec, const std::string& signal);

struct events_options {
  std::string sandbox; ///< empty: all
  std::string since;   ///< "10m" ago; empty: everything that is kept
  bool follow = false;
};
result<int> run_events(const common_options& with, const events_options& what);

/// "8080" or "LOCAL:PORT"; local 0 is any free port.
struct forward_ports {
  std::uint16_t local = 0, remote = 0;
};
result<forward_ports> parse_ports(const std::string& text);

struct forward_options {
  std::string sandbox, ports;
  std::string address = "127.0.0.1";
  bool resume = false;
};
/// Until a signal ends it.
result<int> run_forward(const common_options& with,
                        const forward_options& what);

struct top_options {
  std::string sort = "cpu"; ///< cpu, memory, pids, name or age
  std::string interval = "2s";
  bool once = false;
};
result<int> run_top(const common_options& with, const top_options& what);

} // namespace caged::cli
