#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace caged::cli {

/// Columns of equal width, two spaces apart. Cells are escaped: no control
/// character of a sandbox or node reaches the terminal.
class table {
public:
  explicit table(std::vector<std::string> header);
  /// As many cells as the header has.
  void add(std::vector<std::string> cells);
  /// `colour` prints the header bold.
  std::string str(bool colour = false) const;

private:
  std::vector<std::vector<std::string>> rows_;
};

/// Whether stdout wants colours: a terminal, and no NO_COLOR (no-color.org).
bool stdout_has_colour();

/// "12s", "5m", "3h", "2d" between two wall clocks in milliseconds.
std::string age(std::int64_t since_ms, std::int64_t now_ms);

/// UTC, "2026-01-31 12:00:00".
std::string date_time(std::int64_t wall_ms);

} // namespace caged::cli
