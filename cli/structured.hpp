#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/views.hpp"

namespace caged::cli {

/// JSON or, for the same value, YAML 1.2: the same keys in the same order. Both
/// end with a newline; `as` is not table. Text that is no UTF-8 gets U+FFFD.
std::string dump(const nlohmann::json& value, format as);

} // namespace caged::cli
