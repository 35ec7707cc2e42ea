#pragma once

#include <string>
#include <vector>

#include "cli/node_address.hpp"

namespace caged::cli {

/// The addresses of "tcp://HOST:PORT" as ZeroMQ takes them, each with a number
/// for its host. Errors: bad_request (no such form, no such host), each with a
/// remedy.
result<std::vector<std::string>> addresses_of(const std::string& endpoint);

/// Why nobody answers at one of these: asks the kernel, which names it.
std::string why_not(const std::string& address);

} // namespace caged::cli
