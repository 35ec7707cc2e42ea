#pragma once

#include <string>
#include <vector>

namespace caged::cli {

/// The candidate that needs the fewest letters changed, added or left out
/// (Levenshtein); the first of several. `candidates` is not empty.
std::string nearest(const std::string& word,
                    const std::vector<std::string>& candidates);

} // namespace caged::cli
