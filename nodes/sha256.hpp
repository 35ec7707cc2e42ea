#pragma once

#include <string>
#include <string_view>

#include "messages/error.hpp"

namespace caged {

/// SHA-256 (FIPS 180-4) in lower case hexadecimal, by OpenSSL. Any thread.
std::string sha256(std::string_view bytes);

/// The same of a whole file, which is read from its begin. Error: io.
result<std::string> sha256_of_file(int fd);

} // namespace caged
