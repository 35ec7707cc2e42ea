#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/call.hpp"
#include "messages/error.hpp"

namespace re2 {
class RE2;
}

namespace caged::mcp {

/// A regular expression that is searched line by line. RE2: time linear in the
/// text, whatever the expression. Immutable, any thread.
class line_regex {
public:
  /// Instructions of the compiled expression. Times the bytes of a line, they
  /// bound what one look at it costs (see window()).
  static constexpr int max_program = 16'384;
  static constexpr std::size_t max_bytes = 4096;

  /// RE2's syntax; `^` and `$` are a line's ends. Error: bad_request with the
  /// position (bytes, from 1), too_large.
  static result<line_regex> parse(std::string_view text, bool case_insensitive);
  line_regex(line_regex&&) noexcept;
  line_regex& operator=(line_regex&&) noexcept;
  ~line_regex();

  /// The first match in `text`, which is whole lines: its offset, and its
  /// length. False: none.
  bool find(std::string_view text, std::size_t& at, std::size_t& length) const;
  /// Bytes that may be searched at once so that a cancelled search stops soon:
  /// RE2 cannot be interrupted, and where its automaton grows too large it
  /// takes a step per instruction and byte. Longer lines are searched up to
  /// here only.
  std::size_t window() const { return window_; }

private:
  line_regex() = default;
  std::unique_ptr<re2::RE2> regex_;
  std::size_t window_ = 0;
};

struct content_options {
  std::size_t context = 0;      ///< Lines before and after a match.
  std::size_t line_bytes = 400; ///< What is longer is cut around the match.
  std::size_t max_matches = 250;
  std::size_t max_bytes = 1U << 20U; ///< Of all lines, roughly.
  std::uint64_t after_line = 0;      ///< Only lines behind this one.
  std::chrono::steady_clock::time_point deadline =
      std::chrono::steady_clock::time_point::max();
};

struct content_line {
  std::uint64_t number; ///< From 1.
  std::string text;     ///< Without its end, cut.
  bool is_match;
};

struct content_result {
  std::vector<content_line> lines; ///< Matches and their context, in order.
  std::size_t matches = 0;
  std::size_t bytes = 0;  ///< Of `lines`.
  bool binary = false;    ///< A NUL in its first 8 KiB: not searched.
  bool cut_lines = false; ///< A line was longer than window().
  /// Stopped early (limits, deadline) behind this line; 0: searched to the end.
  std::uint64_t stopped_at = 0;
};

/// Searches one file's text, which it changes ("\r\n" becomes "\n"). Stops
/// within one window once cancelled.
content_result search_content(std::string& text, const line_regex& regex,
                              const content_options& options,
                              const cancellation& cancel);

/// At most `most` bytes of a line with `at` in sight, "..." where something was
/// left out; characters of UTF-8 stay whole.
std::string cut_line(std::string_view line, std::size_t at, std::size_t most);

/// Whether these are the first bytes of a binary file, as git and grep see it.
bool is_binary(std::string_view text);

} // namespace caged::mcp
