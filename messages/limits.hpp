#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

/// Every limit that more than one component has to agree on. Figures are from
/// DESIGN.md sections 5 and 6 unless a source is given.
namespace caged::limits {

using namespace std::chrono_literals;

// -- sandboxes -------------------------------------------------------------
inline constexpr unsigned cpus_min = 1, cpus_max = 8, cpus_default = 2;
inline constexpr std::uint64_t memory_mb_min = 128, memory_mb_max = 8192,
                               memory_mb_default = 512;
inline constexpr std::uint64_t disk_gb_min = 1, disk_gb_max = 50,
                               disk_gb_default = 5;
/// Processes and threads of one sandbox, the agent included.
inline constexpr unsigned pids_default = 512;
inline constexpr std::size_t name_max = 63;
inline constexpr std::size_t labels_max = 32, label_key_max = 63,
                             label_value_max = 255;
inline constexpr std::size_t env_max = 256, env_bytes_max = 64 * 1024;
inline constexpr std::size_t init_script_max = 64 * 1024;
inline constexpr std::size_t argv_max = 1024, argv_bytes_max = 96 * 1024;
inline constexpr auto idle_timeout_default = 15min;
/// Idle timeouts and times to live: 0 (none) or from this to that.
inline constexpr std::chrono::milliseconds lifetime_min = 1s,
                                           lifetime_max = 24h * 365;

// -- client and peer protocol ----------------------------------------------
inline constexpr std::size_t frame_max = 64 * 1024; ///< stream bytes a message
inline constexpr std::size_t envelope_max = 256 * 1024;
inline constexpr std::uint64_t window_default = 256 * 1024; ///< credit, bytes
inline constexpr std::uint64_t window_max = 4 * 1024 * 1024;
inline constexpr auto request_deadline_default = 30s;
inline constexpr auto reattach_grace = 30s; ///< a vanished client's execs live
inline constexpr std::size_t client_outbox_max = 8 * 1024 * 1024; ///< bytes
inline constexpr std::size_t clients_max = 1024;
inline constexpr std::size_t keys_most = 10'000; ///< authorised ones
inline constexpr std::size_t execs_per_sandbox = 64;
/// Destroyed sandboxes that `list -a`, `why` and repeated requests know of.
inline constexpr std::size_t history_most = 2000;

// -- agent protocol --------------------------------------------------------
inline constexpr std::size_t agent_line_max = 128 * 1024;
inline constexpr std::size_t agent_depth_max = 16;
inline constexpr std::size_t agent_values_max = 2048;
inline constexpr std::size_t agent_connections_max = 32;
inline constexpr std::size_t agent_raw_max = 64 * 1024; ///< bytes after "len"
/// File bytes in one read or write: fits a line as base64.
inline constexpr std::size_t agent_file_chunk = 64 * 1024;
inline constexpr auto heartbeat_interval_default = 5s;
inline constexpr auto metrics_interval_default = 10s;
/// A heartbeat missing for this many intervals makes a sandbox unhealthy.
inline constexpr int heartbeats_missed = 3;

// -- MCP and its gateway -----------------------------------------------------
inline constexpr std::size_t tokens_most = 10'000; ///< of a node
inline constexpr std::chrono::milliseconds token_ttl_default = 1h,
                                           token_ttl_min = 1s,
                                           token_ttl_max = 24h * 365;
/// An MCP server in a sandbox that nobody uses ends.
inline constexpr auto mcp_idle_exit = 5min;

// -- logs ------------------------------------------------------------------
inline constexpr std::size_t exec_log_max = 8 * 1024 * 1024; ///< per exec
inline constexpr std::size_t agent_log_max = 1024 * 1024; ///< two generations

} // namespace caged::limits
