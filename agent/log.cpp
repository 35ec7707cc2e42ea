#include "agent/log.hpp"

#include <cstdio>
#include <ctime>

#include <limits.h>
#include <poll.h>
#include <unistd.h>

namespace caged::agent::log {

namespace {

level lowest_level = level::info;
std::uint64_t dropped = 0;

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

void set_level(level lowest) noexcept {
  lowest_level = lowest;
}

void write(level how, std::string_view message,
           std::initializer_list<field> fields) {
  if (how < lowest_level)
    return;
  static constexpr const char* names[] = {"debug", "info", "warn", "error"};
  nlohmann::json line = {{"time", time_text()},
                         {"level", names[static_cast<int>(how)]},
                         {"message", message}};
  for (const auto& [key, value] : fields)
    line[key] = value;
  if (dropped > 0)
    line["dropped"] = dropped;
  auto text =
      line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text += '\n';
  // poll(2) reports a pipe writable when PIPE_BUF bytes fit: such a write never
  // blocks. So the descriptor's flags, which others may share, stay alone.
  pollfd out{STDERR_FILENO, POLLOUT, 0};
  if (text.size() > PIPE_BUF || ::poll(&out, 1, 0) != 1
      || (out.revents & POLLOUT) == 0
      || ::write(STDERR_FILENO, text.data(), text.size()) < 0)
    ++dropped;
  else
    dropped = 0;
}

} // namespace caged::agent::log
