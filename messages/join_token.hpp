#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "messages/curve_key.hpp"
#include "messages/error.hpp"

namespace caged {

/// What a host needs to ask a node once whether it may join. As text it is one
/// line, "caged-join-1." and base64url: whoever has it may become a node, so it
/// belongs in no argument of a program and in no log.
struct join_token {
  std::string cluster;         ///< id of the cluster, a UUID
  std::string server_key;      ///< of the node that made it, Z85
  key_pair key;                ///< used once
  std::int64_t expires_ms = 0; ///< wall clock
};

inline constexpr std::string_view join_token_prefix = "caged-join-";

std::string encode(const join_token& from);

/// Blanks around the text are no part of it. Errors, none of which repeats any
/// of the text: malformed (no token, cut, changed), unsupported (of a later
/// version). Whether it has expired is not looked at.
result<join_token> decode_join_token(std::string_view text);

inline constexpr std::chrono::milliseconds join_ttl_min =
                                               std::chrono::seconds(1),
                                           join_ttl_max =
                                               std::chrono::hours(24 * 7);

/// Error: bad_request, with the limits.
result<void> check_join_ttl(std::chrono::milliseconds ttl);

/// "2026-01-31 12:00:00 UTC": when a token was used, or expires.
std::string utc_text(std::int64_t wall_clock_ms);

} // namespace caged
