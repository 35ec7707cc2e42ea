#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace caged::mcp {

/// [at, at + removed) of a text becomes `added` bytes.
struct replacement {
  std::size_t at, removed, added;
};

/// Where a text differs from what it was, kept while it is edited step by step:
/// so a diff needs no search for what is equal.
class change_map {
public:
  /// One step: ascending, disjoint, in bytes of the text before the step.
  void apply(const std::vector<replacement>& step);

  /// Bytes of the text at the beginning and of the one now.
  struct region {
    std::size_t old_begin, old_end, new_begin, new_end;
  };
  /// Ascending, not touching each other.
  const std::vector<region>& regions() const { return regions_; }

private:
  std::vector<region> regions_;
};

/// Unified diff with three lines of context (as diff -u, without the two lines
/// that name files), at most `most` bytes: what is over is counted in a last
/// line. Carriage returns are shown as they are.
std::string unified_diff(std::string_view before, std::string_view after,
                         const change_map& changes, std::size_t most);

} // namespace caged::mcp
