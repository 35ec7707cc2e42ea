#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace caged::mcp {

/// Where a set ends, or what is wrong with it.
struct glob_set_end {
  std::size_t next = 0;      ///< Behind the "]".
  std::size_t where = 0;     ///< Of the mistake.
  const char* why = nullptr; ///< Null: none.
};

/// Reads the "[..]" of a glob that begins at `at`. `bytes`: as git's
/// wildmatch.c, where a range that goes backwards is empty.
glob_set_end
read_glob_set(std::string_view text, std::size_t at, bool bytes, bool& negated,
              std::vector<std::pair<std::uint32_t, std::uint32_t>>& ranges);

} // namespace caged::mcp
