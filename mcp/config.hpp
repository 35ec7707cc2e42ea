#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "messages/error.hpp"

namespace caged::mcp {

enum class transport { stdio, ws, http };

/// What one call may cost. Flags and CAGED_MCP_* variables set them.
struct tool_limits {
  /// Text that a tool returns, bytes; what is longer keeps head and tail (exec)
  /// or is paged (files, search). Also the size of a background command's
  /// kept output.
  std::size_t output_bytes = 1U << 20U;
  /// Files that are read or written in one call, bytes.
  std::uint64_t file_bytes = 16U << 20U;
  /// The longest timeout that a command may ask for.
  std::chrono::seconds exec_most{600};
  /// Calls that run at the same time in the whole server; more wait in order,
  /// up to `waiting_calls` of a session, then they are refused.
  unsigned concurrent_calls = 16;
  unsigned waiting_calls = 256;
};

/// What the program was asked for, checked. Made by read_config, not changed
/// afterwards; read by every thread.
struct server_config {
  transport mode = transport::stdio;
  bool read_only = false;
  bool allow_hooks = false; ///< git_commit runs the repository's hooks.
  bool one_session = false; ///< It ends with its last session.
  std::uint16_t port = 9090;
  unsigned max_connections = 1024; ///< Of network transports.
  std::string host = "127.0.0.1";
  /// A Unix socket instead of host and port; empty: none.
  std::string socket;
  std::string workspace = "."; ///< As given; see mcp/workspace.hpp.
  /// Programs that terminal_exec may run; nothing: all, through a shell.
  std::optional<std::vector<std::string>> allowed_commands;
  std::string log_level = "info"; ///< debug, info, warn, error
  /// Bearer token of network transports, from --token-file; nothing: none.
  std::optional<std::string> token;
  /// Values of Origin that are accepted beside those of loopback.
  std::vector<std::string> allowed_origins;
  std::string git_author; ///< "Name <mail>"; empty: the repository's.
  tool_limits limits;
  // Network transports.
  /// Sessions of HTTP that nobody uses end after so long.
  std::chrono::seconds session_idle{30 * 60};
  /// The server ends when there was no connection and no session for so long;
  /// 0: never.
  std::chrono::seconds idle_exit{0};
  std::size_t max_message_bytes = 24U << 20U; ///< One JSON-RPC message.
};

/// What the command line asked for: to serve, or to print something and end.
struct invocation {
  std::optional<server_config> serve;
  std::string print; ///< --help, --version
};

/// args: without the program's name. A flag goes before its variable
/// (CAGED_MCP_*), which is read from the environment. Reads --token-file.
/// Error: bad_request; one sentence that names the flag and the accepted form.
result<invocation> read_config(std::vector<std::string> args);

} // namespace caged::mcp
