#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "messages/error.hpp"

/// What people type behind flags.
namespace caged::cli {

/// "512", "512m", "512MB" or "1g" in MB. Error: bad_request, whose message
/// says the accepted form.
result<std::uint64_t> parse_memory_mb(std::string_view text);

/// "5", "5g" or "5GB" in GB. Error: bad_request.
result<std::uint64_t> parse_disk_gb(std::string_view text);

/// Adds "KEY=VALUE", or "KEY" with the value of our own environment; nothing
/// is added for a KEY that is not set there (as docker does). Error:
/// bad_request.
result<void> add_env(std::map<std::string, std::string>& to,
                     const std::string& text);

/// Adds each "KEY=VALUE" line of a file; empty lines and lines that start with
/// # are left out. Error: bad_request, with file and line number.
result<void> add_env_file(std::map<std::string, std::string>& to,
                          const std::string& path);

/// Files first, then single values, so that the latter win.
result<std::map<std::string, std::string>>
collect_env(const std::vector<std::string>& files,
            const std::vector<std::string>& values);

/// "KEY=VALUE" of every element. Error: bad_request.
result<std::map<std::string, std::string>>
parse_labels(const std::vector<std::string>& values);

/// The whole file, which may have at most `max` bytes. Errors: bad_request,
/// too_large.
result<std::string> read_text_file(const std::string& path, std::size_t max);

} // namespace caged::cli
