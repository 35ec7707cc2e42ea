#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

/// The server's log: one JSON object a line on stderr, as the agent's. Never
/// blocks: what does not fit, since nobody reads stderr, is dropped and counted
/// in the next line that does. Any thread.
namespace caged::mcp::log {

enum class level { debug, info, warn, error };

/// "debug", "info", "warn" or "error"; anything else is info.
level level_from(std::string_view name) noexcept;

/// Before threads are started.
void set_level(level lowest) noexcept;
/// Whether a line of this level is written: for fields that cost something.
bool wants(level how) noexcept;

using field = std::pair<const char*, nlohmann::json>;

void write(level how, std::string_view message,
           std::initializer_list<field> fields = {});

inline void debug(std::string_view message,
                  std::initializer_list<field> fields = {}) {
  write(level::debug, message, fields);
}
inline void info(std::string_view message,
                 std::initializer_list<field> fields = {}) {
  write(level::info, message, fields);
}
inline void warn(std::string_view message,
                 std::initializer_list<field> fields = {}) {
  write(level::warn, message, fields);
}
inline void error(std::string_view message,
                  std::initializer_list<field> fields = {}) {
  write(level::error, message, fields);
}

} // namespace caged::mcp::log
