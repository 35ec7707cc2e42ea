#pragma once

#include <string>

#include "cli/verbs.hpp"

/// MCP for clients that start a program and speak over its stdin and stdout.
namespace caged::cli {

struct mcp_options {
  std::string sandbox; ///< empty: a new one, destroyed at the end
  std::string template_name = "minimal";
  std::string workspace; ///< inside; empty: the sandbox's working directory
  bool read_only = false;
};

/// Where every sandbox has the MCP server of its node.
inline constexpr const char* mcp_server_inside =
    "/usr/lib/caged/caged-mcp-server";

/// The command line of a session's server, inside.
std::vector<std::string> mcp_command(const mcp_options& what);

/// Runs an MCP server inside a sandbox and bridges our stdin and stdout to it,
/// over restarts of the daemon, until either ends. A paused sandbox is resumed.
/// Gives the server's exit code. Errors: up's and exec's; unsupported, when the
/// node has no MCP server beside its agent.
result<int> run_mcp(const common_options& with, mcp_options what);

struct mcp_config_options {
  std::string client; ///< claude or cursor
  mcp_options session;
};

/// What to put into that client's configuration, for this program at its real
/// path and this endpoint: JSON on stdout, where it goes on stderr.
result<int> run_mcp_config(const common_options& with,
                           const mcp_config_options& what);

} // namespace caged::cli
