#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "messages/error.hpp"
#include "messages/limits.hpp"

namespace CLI {
class App;
} // namespace CLI

namespace caged {

/// Everything caged-node can be told: file < CAGED_NODE_* < flags. Names in the
/// file are those of the flags.
struct node_config {
  std::filesystem::path data_dir = "/var/lib/caged";
  std::filesystem::path run_dir = "/run/caged";
  std::string client_endpoint; ///< empty: ipc://RUN_DIR/node.sock
  std::string listen;          ///< "tcp://10.0.0.1:7400"; empty: ipc:// alone
  std::string metrics_address = "127.0.0.1:9464";
  std::string gateway_address = "127.0.0.1:7480";  ///< "off": none
  std::filesystem::path gateway_cert, gateway_key; ///< both or none
  std::string gateway_origins;                     ///< with commas between them
  std::string store = "sqlite";                    ///< or the URL of an etcd
  std::filesystem::path store_ca, store_cert, store_key;
  std::string store_user;
  std::filesystem::path store_password_file;
  std::string runtime = "oci";
  std::string crun = "crun";
  std::filesystem::path agent_dir; ///< empty: found beside the program
  std::string node_name;           ///< empty: the node's id
  std::map<std::string, std::string> labels;
  /// What may be promised to sandboxes; 0: found out from the machine.
  unsigned cpus = 0;
  std::uint64_t memory_mb = 0;
  std::uint64_t disk_gb = 0;
  unsigned max_starts = 4;              ///< the others wait in line
  std::map<std::string, unsigned> pool; ///< template -> sandboxes made ahead
  unsigned pool_load = 80;              ///< percent of the host's cpu time
  std::chrono::milliseconds heartbeat_interval =
      limits::heartbeat_interval_default;
  std::chrono::milliseconds metrics_interval = limits::metrics_interval_default;
  std::chrono::milliseconds failed_retention = std::chrono::hours(24);
  std::string log_level = "info";
  std::string log_format = "auto";
};

struct parsed_config {
  node_config config;
  /// Set when the process should end now: --help, --version and
  /// --check-config (0), a bad flag, variable or file (2). What there is to say
  /// has been printed.
  std::optional<int> exit_code;
};

/// Reads flags, environment and file.
parsed_config parse_node_config(int argc, const char* const* argv);

/// Settings and their values, in the order of the help.
using given_settings = std::vector<std::pair<std::string, std::string>>;

struct parsed_setup {
  node_config config;
  given_settings given; ///< by flag or variable
  /// As parsed_config's.
  std::optional<int> exit_code;
};

/// For programs that write a configuration file, and read none: flags and
/// environment, beside what `app` has of its own. `store`: with those about the
/// store.
parsed_setup parse_setup(CLI::App& app, int argc, const char* const* argv,
                         bool store);

/// A file that parse_node_config reads, with a comment above it.
std::string config_text(const std::string& comment,
                        const given_settings& settings);

/// Where caged-node's configuration is by convention.
inline constexpr const char* default_config_file = "/etc/caged/node.yaml";

} // namespace caged
