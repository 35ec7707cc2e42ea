#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "mcp/config.hpp"
#include "mcp/content_search.hpp"
#include "mcp/glob.hpp"
#include "mcp/walk.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

/// What file_search was asked for, read and compiled.
struct search_query {
  std::string path; ///< As given.
  std::optional<std::string> pattern;
  std::optional<glob> names;
  std::optional<line_regex> content;
  std::size_t context = 0;
  bool respect_ignore = true;
  bool include_hidden = false;
  std::size_t max_results = 1000;
  std::string after;            ///< From the cursor: the last path seen.
  std::uint64_t after_line = 0; ///< And how far it was searched; 0: to its end.
  std::uint64_t key = 0;        ///< Same question, same key.
  /// A page of matches ends early then, with a cursor: clients give up on a
  /// call after a minute (the SDK's default), which would lose what was found.
  std::chrono::milliseconds patience{20'000};
};

/// Where the next page begins, opaque to clients. Error: bad_request (damaged,
/// or of another question).
std::string write_cursor(std::uint64_t key, std::string_view path,
                         std::uint64_t line);
result<void> read_cursor(std::string_view cursor, search_query& to);

/// The key of a call: of all arguments but cursor and max_results.
std::uint64_t search_key(const json& arguments);

/// Runs it. Errors: as workspace::open_at; bad_request for a path of the wrong
/// kind.
result<tool_result> search_files(const workspace& where,
                                 const tool_limits& limits,
                                 const search_query& query, call& of);

} // namespace caged::mcp
