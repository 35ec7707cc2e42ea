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

/// What stands behind `server`. After the start its counters change, and what
/// it is asked for the first time.
struct server::impl {
  impl(server_config c, std::optional<workspace> folder);
  /// To be called once, before sessions are made.
  void fill(contents what);

  server_config config;
  std::optional<workspace> where;
  contents what;
  std::vector<std::string> left_out; ///< tools that a read-only server lacks
  /// What a revision is told of us, made when the first client asks: a session
  /// needs one of five. Any thread.
  struct shown {
    std::once_flag made;
    /// Members of a result, one text for each page.
    std::vector<std::string> tools, prompts;
  };
  const shown& for_revision(revision r);
  json capabilities(revision r) const;
  std::array<shown, 5> by_revision;
  /// Bytes of arguments of the calls that wait or run, all sessions.
  std::atomic<std::size_t> argument_bytes = 0;
  workers pool; ///< last: its threads end before the rest goes
};

/// Bytes of arguments that all calls together may hold; further calls are
/// refused. One message of the largest size always has room.
constexpr std::size_t argument_bytes_most = 24U << 20U;

} // namespace caged::mcp
