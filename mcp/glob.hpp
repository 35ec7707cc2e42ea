#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "messages/error.hpp"

namespace caged::mcp {

struct glob_options {
  bool case_insensitive = false; ///< ASCII letters only.
  /// Whether `*`, `?`, `[..]` and `**` match a name that begins with a dot, as
  /// git has it; otherwise only a dot in the pattern does, as in a shell.
  bool dots = true;
  /// As wildmatch.c of git: `?` and `[..]` take one byte, `{` is a character,
  /// a pattern that makes no sense matches nothing. Otherwise they take one
  /// character of UTF-8 (or one byte that is none).
  bool git = false;
};

/// One component of a pattern. Matching takes time proportional to name times
/// pattern at most and allocates nothing.
class glob_segment {
public:
  enum class kind : std::uint8_t {
    deep,     ///< `**`
    any,      ///< `*`
    literal,  ///< No wildcard.
    suffix,   ///< `*` and a literal.
    prefix,   ///< A literal and `*`.
    wildcard, ///< All else.
    never,    ///< Matches nothing (git only).
  };

  /// `text` has no slash outside of brackets. Error: bad_request without a
  /// position: glob::parse has checked the whole before. With options.git none.
  static result<glob_segment> parse(std::string_view text,
                                    const glob_options& options);
  bool matches(std::string_view name) const;
  kind what() const { return kind_; }
  /// The literal of kinds literal, suffix and prefix, unescaped.
  const std::string& text() const { return text_; }
  /// Begins with a dot that is written out.
  bool dotted() const { return dotted_; }

private:
  struct token {
    enum class kind : std::uint8_t { byte, one, star, set } what;
    std::uint8_t byte = 0;
    std::uint32_t set = 0; ///< Index into sets_.
  };
  struct char_set {
    bool negated = false;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
  };
  bool in_set(const char_set& set, std::uint32_t point) const;
  std::size_t take(const token& t, std::string_view name, std::size_t at) const;
  bool matches_tokens(std::string_view name) const;

  kind kind_ = kind::never;
  glob_options options_;
  bool dotted_ = false;
  std::string text_;
  std::vector<token> tokens_;
  std::vector<char_set> sets_;
};

/// A pattern of components without braces: what one line of .gitignore, or one
/// alternative of a glob, comes to. `**` stands for any number of folders; at
/// the end for everything beneath.
class path_pattern {
public:
  /// Error: bad_request. With options.git there is none.
  static result<path_pattern> parse(std::string_view text,
                                    const glob_options& options);
  /// `path` has no slash at either end.
  bool matches(std::string_view path) const;
  /// Whether anything beneath this folder can match. No false negatives.
  bool reaches(std::string_view folder) const;
  const std::vector<glob_segment>& segments() const { return segments_; }

private:
  glob_options options_;
  std::vector<glob_segment> segments_;
};

/// A glob of the tool file_search:
///
///   *      any characters of one name    **     any number of folders
///   ?      one character                 [a-z]  one of them; [!a-z] none of
///   {a,b}  either, may be nested         \      the next character itself
///
/// [[:alpha:]] and its like are known. A pattern without a slash matches names
/// in every folder ("*.go"); one with a slash matches the whole path from the
/// folder that is searched ("src/*.go", "**/test/*.go"), where a leading "/" or
/// "./" changes nothing else ("/*.go": that folder only). A slash at the end
/// matches folders only. An immutable value, any thread.
class glob {
public:
  /// Bytes of a pattern; alternatives and bytes that its braces expand to.
  static constexpr std::size_t max_bytes = 1024, max_alternatives = 256,
                               max_expanded = 64U << 10U;

  /// Error: bad_request, which names the position (bytes, from 1) and remedy.
  /// options.git must be false.
  static result<glob> parse(std::string_view pattern, glob_options options);

  /// `path` is relative to the folder that is searched; its last component
  /// begins at `name_at`.
  bool matches(std::string_view path, std::size_t name_at) const;
  /// Whether anything beneath this folder can match. No false negatives.
  bool reaches(std::string_view folder) const;
  /// Ended with a slash: only folders are meant.
  bool folders_only() const { return folders_only_; }
  /// Some component begins with a dot: hidden names are meant.
  bool dotted() const { return dotted_; }

private:
  struct alternative {
    bool by_name = false; ///< One component, in every folder.
    path_pattern pattern;
  };
  std::vector<alternative> alternatives_;
  glob_options options_;
  bool folders_only_ = false;
  bool dotted_ = false;
};

} // namespace caged::mcp
