#pragma once

#include <cstdint>
#include <utility>

namespace caged::cli {

/// Raw mode of the terminal on stdin, from construction to destruction. Also
/// undone when the process exits or crashes; only SIGKILL leaves it raw.
class raw_terminal {
public:
  raw_terminal();
  ~raw_terminal();
  raw_terminal(const raw_terminal&) = delete;
  raw_terminal& operator=(const raw_terminal&) = delete;
};

/// Rows and columns of the terminal on stdin; 24 and 80 when it has none.
std::pair<std::uint16_t, std::uint16_t> terminal_size();

} // namespace caged::cli
