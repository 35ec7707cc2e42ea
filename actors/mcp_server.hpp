#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "messages/client_api.hpp"

/// The MCP servers inside a sandbox: one for each key (a token), a detached
/// exec of caged-mcp-server that listens on a Unix socket of its own. Plain
/// decisions; agent_link_mcp.cpp starts, dials and ends them.
namespace caged::mcp_server {

/// Where it listens, inside. Its folder belongs to the sandbox's root alone.
std::string socket_path(const std::string& key);

/// Its command line. It ends by itself when it was idle.
std::vector<std::string> command(const api::mcp_target& of);

/// "mcp:tok-abc12345": caller of its exec, by which it is found again, also by
/// a restarted daemon.
std::string caller_of(const std::string& key);
bool is_caller(std::string_view caller);

/// Label of a sandbox that a session has to itself; its value is the token's
/// id. The sandbox ends with its MCP server. Clients cannot set it.
inline constexpr const char* session_label = "caged.mcp-session";
bool belongs_to_session(const sandbox_spec& spec);

} // namespace caged::mcp_server
