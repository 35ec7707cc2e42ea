#pragma once

#include <string_view>

/// Names and addresses of this machine itself, as HTTP has them: what keeps a
/// web page from reaching a port that only listens for local programs.
namespace caged {

/// "127.3.4.5", "::1"; mapped addresses ("::ffff:127.0.0.1") count too.
bool is_loopback_address(std::string_view numeric);

/// A value of Host, or the same part of an Origin: "localhost:8080", "[::1]".
bool is_loopback_authority(std::string_view host_and_port);

/// "http://localhost:3000": an Origin of a page from this machine. "null" is
/// nobody.
bool is_loopback_origin(std::string_view origin);

} // namespace caged
