#pragma once

#include <cstdint>
#include <string>

#include "mcp/call.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// Removes the folder `name` of the folder `parent` with all that is in it, by
/// descriptors: links are removed, never followed, also when one takes a
/// folder's place meanwhile. Any depth, with at most 32 descriptors: what lies
/// deeper is moved up first. `shown` is for messages. Returns how many entries
/// were removed. Stops between two entries with ec::unavailable when the call
/// is cancelled.
result<std::uint64_t> remove_tree(int parent, const std::string& name,
                                  const std::string& shown, call& in);

} // namespace caged::mcp
