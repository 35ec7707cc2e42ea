#include "cli/table.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>

#include <unistd.h>

#include "messages/text.hpp"

namespace caged::cli {

namespace {

constexpr const char* bold = "\x1b[1m";
constexpr const char* plain = "\x1b[0m";

/// Characters of UTF-8 that escape_text let through.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      }));
}

} // namespace

table::table(std::vector<std::string> header) {
  rows_.push_back(std::move(header));
}

void table::add(std::vector<std::string> cells) {
  for (auto& cell : cells)
    cell = cell.empty() ? "-" : escape_text(cell);
  cells.resize(rows_.front().size());
  rows_.push_back(std::move(cells));
}

std::string table::str(bool colour) const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], width(row[i]));
  std::string out;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      line += rows_[r][i];
      if (i + 1 < widths.size())
        line.append(widths[i] - width(rows_[r][i]) + 2, ' ');
    }
    out += r == 0 && colour ? bold + line + plain : line;
    out += '\n';
  }
  return out;
}

bool stdout_has_colour() {
  const char* refused = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (!refused || !*refused);
}

std::string age(std::int64_t since_ms, std::int64_t now_ms) {
  auto seconds = std::max<std::int64_t>((now_ms - since_ms) / 1000, 0);
  if (seconds < 60)
    return std::to_string(seconds) + "s";
  if (seconds < 3600)
    return std::to_string(seconds / 60) + "m";
  if (seconds < 48 * 3600)
    return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86400) + "d";
}

std::string date_time(std::int64_t wall_ms) {
  auto seconds = static_cast<std::time_t>(wall_ms / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  auto n = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return {text.data(), n};
}

} // namespace caged::cli
