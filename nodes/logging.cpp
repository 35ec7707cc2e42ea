#include "nodes/logging.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/config.hpp"

namespace caged {

namespace {

bool as_json = true;

} // namespace

void set_up_logging(const node_config& config) {
  as_json = config.log_format == "json"
            || (config.log_format == "auto" && ::isatty(STDERR_FILENO) == 0);
  auto logger = std::make_shared<spdlog::logger>(
      "caged-node", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::from_str(config.log_level));
  logger->flush_on(spdlog::level::info);
  // The message is a JSON object without its braces' first member.
  logger->set_pattern(
      as_json ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%e%z\",\"level\":\"%l\",%v}"
              : "%H:%M:%S.%e %l %v");
  spdlog::set_default_logger(logger);
}

void log_event(std::string_view event,
               const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string text;
  if (as_json) {
    auto line = nlohmann::ordered_json{{"event", event}};
    for (const auto& [key, value] : fields)
      line[key] = value;
    text = line.dump(-1, ' ', false,
                     nlohmann::ordered_json::error_handler_t::replace);
    text = text.substr(1, text.size() - 2);
  } else {
    text = std::string{event};
    for (const auto& [key, value] : fields)
      text += " " + key + "=" + escape_text(value);
  }
  spdlog::info("{}", text);
}

} // namespace caged
