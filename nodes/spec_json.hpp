#pragma once

#include <string>
#include <string_view>

#include "messages/sandbox.hpp"

namespace caged {

/// A sandbox_spec as the journal keeps it: JSON, so that a person can read it
/// and newer members can be added. Unknown members are ignored, absent ones get
/// their default.
std::string spec_to_json(const sandbox_spec& spec);

/// Error: malformed.
result<sandbox_spec> spec_from_json(std::string_view text);

} // namespace caged
