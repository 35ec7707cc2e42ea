#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mcp/file_search.hpp"
#include "mcp/path_page.hpp"

namespace caged::mcp {

/// The matches of one page as they go out, and what was left out.
struct match_page {
  std::string text;
  json items = json::array();
  std::size_t matches = 0, files = 0, searched = 0, bytes = 0;
  std::uint64_t binary = 0, gone = 0, cut = 0;
  std::vector<std::string> too_large;
  std::string cursor; ///< Empty: this is all.

  /// Takes a file's lines over. Nothing when all was taken; else the number of
  /// the line behind which something is left, 0 when there was room for none.
  std::optional<std::uint64_t> add(const std::string& path,
                                   const content_result& found,
                                   const search_query& query,
                                   std::size_t max_bytes);
};

/// The answers for model and program.
tool_result name_result(const search_query& query, path_page& page,
                        const walk_stats& stats, std::size_t max_bytes);
tool_result content_result_of(const search_query& query, match_page& page,
                              const walk_stats& stats);

} // namespace caged::mcp
