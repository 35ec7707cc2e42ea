#include "mcp/log.hpp"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>

#include <limits.h>
#include <poll.h>
#include <unistd.h>

namespace caged::mcp::log {

namespace {

std::atomic<level> lowest_level = level::info;
std::atomic<std::uint64_t> dropped = 0;

std::string time_text() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ",
                parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                parts.tm_hour, parts.tm_min, parts.tm_sec,
                now.tv_nsec / 1000000);
  return text;
}

} // namespace

level level_from(std::string_view name) noexcept {
  return name == "debug"   ? level::debug
         : name == "warn"  ? level::warn
         : name == "error" ? level::error
                           : level::info;
}

void set_level(level lowest) noexcept {
  lowest_level = lowest;
}

bool wants(level how) noexcept {
  return how >= lowest_level.load(std::memory_order_relaxed);
}

void write(level how, std::string_view message,
           std::initializer_list<field> fields) {
  if (!wants(how))
    return;
  static constexpr const char* names[] = {"debug", "info", "warn", "error"};
  nlohmann::json line = {{"time", time_text()},
                         {"level", names[static_cast<int>(how)]},
                         {"message", message}};
  for (const auto& [key, value] : fields)
    line[key] = value;
  const auto lost = dropped.exchange(0);
  if (lost > 0)
    line["dropped"] = lost;
  auto text =
      line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text += '\n';
  // poll(2) reports a pipe writable when PIPE_BUF bytes fit: such a write is
  // whole (pipe(7)) and does not block, but for two threads at the same moment.
  pollfd out{STDERR_FILENO, POLLOUT, 0};
  if (text.size() > PIPE_BUF || ::poll(&out, 1, 0) != 1
      || (out.revents & POLLOUT) == 0
      || ::write(STDERR_FILENO, text.data(), text.size()) < 0)
    dropped += lost + 1;
}

} // namespace caged::mcp::log
