#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "messages/error.hpp"

namespace caged {

/// Reads one JSON text (RFC 8259) within the agent protocol's limits: stops
/// before it allocates for what goes over them, copies each string once.
///
/// Why not the library's own parser: for a long string it holds the token
/// twice and builds error messages out of copies of it, more than 1 MB for a
/// line of 128 KiB, which the agent (3 MB in all) cannot have. And its lexer
/// looks at base64 byte by byte; here a plain string is found by one scan.
///
/// Errors: malformed, too_large (depth, values). `id` receives the number
/// behind the outermost key "id" where it could be read, also on errors.
result<nlohmann::json> read_bounded_json(std::string_view text,
                                         std::optional<std::uint64_t>& id);

} // namespace caged
