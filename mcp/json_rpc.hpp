#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "messages/error.hpp"

namespace caged::mcp {

using json = nlohmann::json;

/// JSON-RPC 2.0's codes (section 5.1) and those of MCP 2026-07-28.
namespace rpc_code {
constexpr int parse_error = -32700;
constexpr int invalid_request = -32600;
constexpr int method_not_found = -32601;
constexpr int invalid_params = -32602;
constexpr int internal_error = -32603;
constexpr int resource_not_found = -32002;
constexpr int header_mismatch = -32020;
constexpr int missing_capability = -32021;
constexpr int unsupported_version = -32022;
} // namespace rpc_code

/// One message of a client, well-formed by JSON-RPC 2.0.
struct incoming {
  enum class sort { request, notification, response } kind = sort::request;
  json id; ///< Text or integer; null for a notification.
  std::string method;
  json params; ///< An object; an empty one when absent. Of a response:
               ///< {"result": ...} or {"error": ...}.
};

/// What one text held: one message, or a batch of them (2025-03-26 alone knows
/// batches; the session refuses them elsewhere). Members of a batch that are
/// not well-formed stand in `refusals` as complete error responses.
struct incoming_text {
  bool batch = false;
  std::vector<incoming> messages;
  std::vector<std::string> refusals;
};

/// Bounds of what is parsed at all.
struct parse_bounds {
  std::size_t depth = 64;
  std::size_t values = 100'000;
  std::size_t batch = 64;
};

/// Reads one text. The error is a complete JSON-RPC error response, to be sent
/// as it is: parse_error or invalid_request, id null where none was legible.
/// Any thread.
tl::expected<incoming_text, std::string>
parse_text(std::string_view text, const parse_bounds& bounds = {});

/// A complete error response. `data` null: none.
std::string error_response(const json& id, int code, std::string_view message,
                           const json& data = nullptr);

} // namespace caged::mcp
