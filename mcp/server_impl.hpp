#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mcp/contents.hpp"
#include "mcp/revision.hpp"
#include "mcp/session.hpp"
#include "mcp/workers.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

/// What stands behind `server`. Only its counters change after the start.
struct server::impl {
  impl(server_config c, std::optional<workspace> folder);
  /// To be called once, before sessions are made.
  void fill(contents what);

  server_config config;
  std::optional<workspace> where;
  contents what;
  std::vector<std::string> left_out; ///< tools that a read-only server lacks
  /// tools/list by revision: members of a result, one text for each page.
  std::array<std::vector<std::string>, 5> tool_pages;
  std::array<std::vector<std::string>, 5> prompt_pages;
  std::array<json, 5> capabilities;
  /// Bytes of arguments of the calls that wait or run, all sessions.
  std::atomic<std::size_t> argument_bytes = 0;
  workers pool; ///< last: its threads end before the rest goes
};

/// Bytes of arguments that all calls together may hold; further calls are
/// refused. One message of the largest size always has room.
constexpr std::size_t argument_bytes_most = 24U << 20U;

} // namespace caged::mcp
