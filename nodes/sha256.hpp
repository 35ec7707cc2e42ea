#pragma once

#include <string>
#include <string_view>

namespace caged {

/// SHA-256 (FIPS 180-4) in lower case hexadecimal, by OpenSSL. Any thread.
std::string sha256(std::string_view bytes);

} // namespace caged
