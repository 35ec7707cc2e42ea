#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include <sys/types.h>

namespace caged::mcp {

/// Cuts a stream into lines of a bounded length. One that is longer is skipped
/// to its end, and reported once. Its memory goes back after a long line.
class line_buffer {
public:
  explicit line_buffer(std::size_t line_most) : line_most_{line_most} {}
  ~line_buffer();
  line_buffer(const line_buffer&) = delete;
  line_buffer& operator=(const line_buffer&) = delete;

  /// read(2) once: 0 at the end, -1 when nothing came.
  ssize_t fill(int fd);
  /// The next complete line without its newline; valid until done() or fill().
  /// Ask until it gives nothing before the next fill().
  std::optional<std::string_view> next();
  /// What came after the last newline.
  std::string_view rest() const {
    return skipping_ ? std::string_view{}
                     : std::string_view{data_ + begin_, end_ - begin_};
  }
  /// Whether the line that next() gave was too long (then it is empty).
  bool too_long() const { return too_long_; }
  std::size_t line_most() const { return line_most_; }
  /// The line is not needed any more: a long one's memory goes back at once.
  void done();

private:
  bool reserve(std::size_t room);

  const std::size_t line_most_;
  char* data_ = nullptr;
  std::size_t size_ = 0;     // of data_
  std::size_t begin_ = 0;    // of the next line
  std::size_t searched_ = 0; // no newline between begin_ and here
  std::size_t end_ = 0;
  bool skipping_ = false; // inside a line that is too long
  bool too_long_ = false;
};

} // namespace caged::mcp
