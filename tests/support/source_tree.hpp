#pragma once

#include <string>

namespace caged::test {

/// A file of the source tree: $CAGED_SOURCE_DIR, else three folders above the
/// built programs (build/PRESET/bin). Throws std::runtime_error without one.
std::string source_file(const std::string& path);

} // namespace caged::test
