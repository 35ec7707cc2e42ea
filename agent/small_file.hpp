#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace caged::agent {

/// The first `max` bytes of a file; empty when it cannot be read. Never
/// blocks on a FIFO that somebody has put there.
std::string read_small(const std::string& path, std::size_t max = 16 * 1024);

/// The whole number at the beginning of text, behind blanks.
std::optional<std::uint64_t> leading_number(std::string_view text);

/// The number behind `key` at the beginning of a line ("usage_usec 12").
std::optional<std::uint64_t> keyed_number(std::string_view text,
                                          std::string_view key);

} // namespace caged::agent
