#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace caged::mcp {

/// Output of a command within a bound: the first half of the bound from the
/// beginning, the rest from the end. Two streams share it: when there is too
/// much, the longer end gives way, so that a flood on one does not drop a few
/// lines of the other. Memory: the bound and a piece. One thread at a time.
class kept_output {
public:
  explicit kept_output(std::size_t bound)
      : head_room_{bound / 2}, tail_room_{bound - bound / 2} {}

  void out(std::string_view bytes) { add(out_, bytes); }
  void err(std::string_view bytes) { add(err_, bytes); }
  /// The last line so far that is not blank, of either; at most 200 bytes.
  std::string last_line() const;

  /// One stream as text: where something is missing there is a line that says
  /// how much. Invalid UTF-8 is replaced by U+FFFD.
  struct text {
    std::string bytes;
    std::uint64_t total = 0;    ///< Written.
    std::uint64_t left_out = 0; ///< Not in `bytes`.
  };
  text take_out() { return take(out_, "stdout"); }
  text take_err() { return take(err_, "stderr"); }

private:
  struct stream {
    std::string head;
    std::deque<std::string> tail;
    std::size_t tail_bytes = 0;
    std::size_t skip = 0; ///< Bytes of tail.front() that are dropped.
    std::uint64_t total = 0;
  };
  void add(stream& to, std::string_view bytes);
  static void drop(stream& from, std::size_t bytes);
  static text take(stream& from, const char* name);

  std::size_t head_room_, tail_room_;
  stream out_, err_;
  const stream* last_ = nullptr;
};

/// The last bytes of a stream, by absolute offset. Memory: the bound, as far as
/// it is used.
class ring_output {
public:
  /// `bound` is not 0.
  explicit ring_output(std::size_t bound) : bound_{bound} {}
  void add(std::string_view bytes);
  /// Of the oldest byte that is kept.
  std::uint64_t first() const { return total_ - kept_.size(); }
  std::uint64_t total() const { return total_; }
  /// Bytes in [from, to), which must be kept.
  std::string slice(std::uint64_t from, std::uint64_t to) const;

private:
  std::size_t bound_;
  std::string kept_;
  std::size_t at_ = 0; ///< Of the oldest byte in kept_.
  std::uint64_t total_ = 0;
};

/// Bytes as UTF-8: what is not is U+FFFD, one for each byte.
std::string valid_utf8(std::string bytes);
/// Length of `bytes` without a UTF-8 sequence that has only begun at its end.
std::size_t whole_utf8(std::string_view bytes) noexcept;
/// How many bytes at the beginning belong to a sequence that began before.
std::size_t utf8_tail(std::string_view bytes) noexcept;

} // namespace caged::mcp
