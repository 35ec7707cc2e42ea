#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

/// The agent's log: one JSON object a line on stderr. Never blocks: stderr may
/// be a FIFO whose reader, the node, is away. What does not fit is dropped and
/// counted in the next line that does.
namespace caged::agent::log {

enum class level { debug, info, warn, error };

void set_level(level lowest) noexcept;

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

} // namespace caged::agent::log
