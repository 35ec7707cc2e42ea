#include "mcp/log.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include <limits.h>
#include <poll.h>
#include <unistd.h>

namespace caged::mcp::log {

namespace {

std::atomic<level> lowest_level = level::info;
std::atomic<std::uint64_t> dropped = 0;

std::string time_text() {
  // Not gmtime_r(3), which reads /etc/localtime first.
  using namespace std::chrono;
  const auto now = floor<milliseconds>(system_clock::now());
  const auto day = floor<days>(now);
  const year_month_day date{day};
  const hh_mm_ss time{now - day};
  char text[64];
  std::snprintf(
      text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ",
      static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
      static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
      static_cast<int>(time.minutes().count()),
      static_cast<int>(time.seconds().count()),
      static_cast<int>(time.subseconds().count()));
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
