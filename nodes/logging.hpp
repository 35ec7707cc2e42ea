#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace caged {

struct node_config;

/// spdlog to stderr: JSON lines, or plain text on a terminal, by
/// config.log_format. Call once, before any thread.
void set_up_logging(const node_config& config);

/// One event with its fields. Thread-safe. Nothing secret belongs here.
void log_event(std::string_view event,
               const std::vector<std::pair<std::string, std::string>>& fields);

} // namespace caged
