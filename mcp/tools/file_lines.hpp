#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mcp/call.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// Lines of a file of any size in a buffer of 64 KiB. A line ends with its
/// "\n"; what follows the last one is a line too, unless empty. Stops with
/// ec::unavailable when the call is cancelled.
class line_reader {
public:
  /// `fd` is at its beginning and stays its owner's.
  explicit line_reader(int fd) : fd_{fd} {}
  /// Passes over `count` lines, or all there are: see skipped().
  result<void> skip(std::int64_t count, call& in);
  std::int64_t skipped() const { return skipped_; }
  /// Byte in the file where the next line begins.
  std::uint64_t position() const { return position_; }
  /// Appends up to `count` lines to `out`; gives up soon after `most` bytes.
  result<void> take(std::int64_t count, std::size_t most, std::string& out,
                    call& in);
  /// Whether the file has bytes behind what was taken.
  bool more();

private:
  /// False: the end, or errno in error_.
  bool fill();
  std::string_view rest() const {
    return std::string_view{buffer_}.substr(at_);
  }
  result<void> state(const call& in) const;
  void advance(std::size_t bytes) {
    at_ += bytes;
    position_ += bytes;
  }

  int fd_;
  int error_ = 0;
  std::string buffer_;
  std::size_t at_ = 0;
  std::uint64_t position_ = 0;
  std::int64_t skipped_ = 0;
};

/// Lines of a text, counted as line_reader does.
std::int64_t count_lines(std::string_view text) noexcept;

} // namespace caged::mcp
