#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "messages/error.hpp"
#include "messages/limits.hpp"

namespace caged {

/// Where a sandbox is in its life, see DESIGN.md section 5. Values are stored
/// and sent: appended only.
enum class phase : std::uint8_t {
  pending = 1,   ///< being made
  running = 2,   ///< its agent answers
  unhealthy = 3, ///< its agent is silent for three heartbeats
  paused = 4,    ///< frozen
  stopping = 5,  ///< being freed
  destroyed = 6, ///< nothing of it is left; only its history
  failed = 7,    ///< its processes are gone, its disk layer is kept
  lost = 8,      ///< its node is silent
};

std::string_view to_string(phase value) noexcept;
std::optional<phase> phase_from_string(std::string_view name) noexcept;

enum class network_mode : std::uint8_t { none = 1, full = 2, allowlist = 3 };

std::string_view to_string(network_mode value) noexcept;
std::optional<network_mode>
network_mode_from_string(std::string_view name) noexcept;

/// What a user asked for. Immutable once the sandbox exists.
struct sandbox_spec {
  std::string name; ///< unique per owner; may be empty
  std::string template_name = "minimal";
  std::string runtime = "oci"; ///< driver: "oci" or "fake"
  unsigned cpus = limits::cpus_default;
  std::uint64_t memory_mb = limits::memory_mb_default;
  std::uint64_t disk_gb = limits::disk_gb_default;
  unsigned pids = limits::pids_default;
  network_mode network = network_mode::none;
  /// Environment of every exec of the sandbox. Never logged.
  std::map<std::string, std::string> env;
  std::map<std::string, std::string> labels;
  std::string workdir = "/workspace";
  std::string init_script; ///< run once by /bin/sh after the first hello
  /// Paused after so long without exec, terminal or forward; 0: never.
  std::chrono::milliseconds idle_timeout = limits::idle_timeout_default;
  /// Destroyed so long after it was asked for; 0: never.
  std::chrono::milliseconds ttl{0};

  friend bool operator==(const sandbox_spec&, const sandbox_spec&) = default;
};

/// Checks every field against limits.hpp. Error: bad_request, with a sentence
/// that names the field, the value and the limit.
result<void> validate(const sandbox_spec& spec);

/// Labels of a sandbox or a node against limits.hpp. Error: bad_request.
result<void> check_labels(const std::map<std::string, std::string>& labels);

/// `[a-z0-9][a-z0-9-]{0,62}`
bool is_valid_name(std::string_view name) noexcept;

/// `cage-` and 8 of `[a-z0-9]`
bool is_valid_id(std::string_view id) noexcept;

/// Resolves a reference as exact id, then exact name, then unique prefix of an
/// id or name. `known` holds (id, name) pairs of what the caller may see.
/// Errors: not_found, ambiguous (the message lists up to five candidates).
result<std::string> resolve_reference(
    std::string_view reference,
    const std::vector<std::pair<std::string, std::string>>& known);

/// One recorded transition: who, which limit, which fault.
struct cause {
  std::int64_t time_ms = 0; ///< wall clock, milliseconds since 1970
  phase from = phase::pending;
  phase to = phase::pending;
  std::string who;  ///< "uid:0", "agent", "kernel", "node", ...
  std::string text; ///< one sentence, control characters escaped
};

/// What list and get show.
struct sandbox_info {
  std::string id;
  std::string owner;
  std::string node;
  phase state = phase::pending;
  sandbox_spec spec; ///< env values and init_script are left out
  std::int64_t created_ms = 0;
  cause last_cause;
  std::string agent_version;          ///< empty before the first hello
  std::int64_t last_heartbeat_ms = 0; ///< 0 before the first one
  /// Init script: -1 none, 0 running, 1 ended well, 2 ended badly.
  int init_state = -1;
};

} // namespace caged
