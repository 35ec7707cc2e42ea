#include "mcp/content_search.hpp"

#include <algorithm>
#include <cstring>

#include <re2/re2.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr auto npos = std::string_view::npos;

/// Steps that one uninterrupted look may take in the worst case, some 50 ms
/// (RE2's NFA takes a few nanoseconds for each).
constexpr std::size_t max_steps = 16U << 20U;
constexpr std::size_t least_window = 4096;

/// Where in the caller's text the mistake is, from what RE2 says of it.
std::size_t position(std::string_view text, const re2::RE2& regex) {
  if (regex.error_code() == re2::RE2::ErrorMissingParen) {
    // The argument is the whole text: find the bracket that stays open.
    std::vector<std::size_t> open;
    for (std::size_t at = 0, in_set = 0; at < text.size(); ++at) {
      const auto c = text[at];
      if (c == '\\')
        ++at;
      else if (in_set > 0)
        in_set = c == ']' ? 0 : 1;
      else if (c == '[')
        in_set = 1;
      else if (c == '(')
        open.push_back(at);
      else if (c == ')') {
        if (open.empty())
          return at;
        open.pop_back();
      }
    }
    return open.empty() ? 0 : open.back();
  }
  const auto at = text.find(regex.error_arg());
  return at == npos ? 0 : at;
}

/// "\r\n" becomes "\n": `$` then matches where a reader sees the end.
void drop_carriage_returns(std::string& text) {
  if (text.find("\r\n") == std::string::npos)
    return;
  std::size_t to = 0;
  for (std::size_t from = 0; from < text.size(); ++from)
    if (text[from] != '\r' || from + 1 == text.size() || text[from + 1] != '\n')
      text[to++] = text[from];
  text.resize(to);
}

std::uint64_t count_lines(std::string_view text) {
  return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace

line_regex::line_regex(line_regex&&) noexcept = default;
line_regex& line_regex::operator=(line_regex&&) noexcept = default;
line_regex::~line_regex() = default;

result<line_regex> line_regex::parse(std::string_view text,
                                     bool case_insensitive) {
  if (text.size() > max_bytes)
    return fail(ec::too_large,
                "the regular expression has " + std::to_string(text.size())
                    + " bytes, the limit is " + std::to_string(max_bytes),
                "search for a shorter part");
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_case_sensitive(!case_insensitive);
  options.set_never_nl(true); // A match stays within its line.
  std::string whole = "(?m)";
  whole += text;
  line_regex out;
  out.regex_ = std::make_unique<re2::RE2>(whole, options);
  if (!out.regex_->ok()) {
    if (out.regex_->error_code() == re2::RE2::ErrorPatternTooLarge)
      return fail(ec::too_large,
                  "the regular expression is too large once compiled",
                  "use smaller counts in {..}");
    return fail(ec::bad_request,
                "the regular expression " + caged::quoted(text)
                    + " is wrong at byte "
                    + std::to_string(position(text, *out.regex_) + 1) + ": "
                    + escape_text(out.regex_->error()),
                "RE2 syntax: no look-around, no back references; a backslash "
                "before . * + ? ( ) [ ] { } | ^ $ means the character itself");
  }
  const auto program = out.regex_->ProgramSize();
  if (program > max_program)
    return fail(ec::too_large,
                "the regular expression compiles to " + std::to_string(program)
                    + " steps, the limit is " + std::to_string(max_program),
                "use smaller counts in {..}");
  out.window_ =
      std::max(least_window,
               max_steps / static_cast<std::size_t>(std::max(program, 16)));
  return out;
}

bool line_regex::find(std::string_view text, std::size_t& at,
                      std::size_t& length) const {
  re2::StringPiece match;
  const re2::StringPiece whole{text.data(), text.size()};
  if (!regex_->Match(whole, 0, whole.size(), re2::RE2::UNANCHORED, &match, 1))
    return false;
  at = static_cast<std::size_t>(match.data() - whole.data());
  length = match.size();
  return true;
}

bool is_binary(std::string_view text) {
  text = text.substr(0, 8192);
  return std::memchr(text.data(), 0, text.size()) != nullptr;
}

std::string cut_line(std::string_view line, std::size_t at, std::size_t most) {
  if (line.size() <= most)
    return std::string{line};
  // A quarter of the room in front of the match.
  auto begin = at > most / 4 ? at - most / 4 : 0;
  begin = std::min(begin, line.size() - most);
  auto end = begin + most;
  const auto inner = [&](std::size_t i) {
    return i < line.size() && (static_cast<unsigned char>(line[i]) >> 6U) == 2;
  };
  for (auto n = 0; n < 3 && begin > 0 && inner(begin); ++n)
    ++begin;
  for (auto n = 0; n < 3 && inner(end); ++n)
    --end;
  std::string out;
  if (begin > 0)
    out += "...";
  out += line.substr(begin, end - begin);
  if (end < line.size())
    out += "...";
  return out;
}

content_result search_content(std::string& text, const line_regex& regex,
                              const content_options& options,
                              const cancellation& cancel) {
  content_result out;
  out.binary = is_binary(text);
  if (out.binary)
    return out;
  drop_carriage_returns(text);
  const std::string_view all{text};
  std::uint64_t number = 1; // of the line that begins at `counted`
  std::size_t counted = 0;
  const auto line_end = [&](std::size_t from) {
    return std::min(all.find('\n', from), all.size());
  };
  const auto take = [&](std::size_t begin, std::uint64_t n, std::size_t at,
                        bool is_match) {
    auto line = all.substr(begin, line_end(begin) - begin);
    out.lines.push_back({n, cut_line(line, at, options.line_bytes), is_match});
    out.bytes += out.lines.back().text.size() + 16;
  };
  std::size_t after = 0; // lines of context that the last match still wants
  std::size_t shown = 0; // where what is not in `lines` yet begins
  // Context behind a match, up to the next one.
  const auto trail = [&](std::size_t until) {
    for (; after > 0 && shown < until; --after) {
      number += count_lines(all.substr(counted, shown - counted));
      counted = shown;
      take(shown, number, 0, false);
      shown = line_end(shown) + 1;
    }
  };
  std::size_t at = 0;
  for (std::uint64_t skip = options.after_line; skip > 0 && at < all.size();
       --skip) {
    at = line_end(at) + 1;
    ++number;
  }
  at = std::min(at, all.size());
  counted = shown = at;
  while (at < all.size()) {
    if (cancel.cancelled())
      return out;
    const auto late = std::chrono::steady_clock::now() > options.deadline;
    // Whole lines as far as the window goes, or the beginning of one.
    auto end = all.size();
    auto next = all.size();
    if (all.size() - at > regex.window()) {
      const auto last = all.rfind('\n', at + regex.window() - 1);
      if (last != npos && last >= at) {
        end = last;
        next = last + 1;
      } else {
        end = at + regex.window();
        next = std::min(line_end(at) + 1, all.size());
        out.cut_lines = out.cut_lines || line_end(at) > end;
      }
    } else if (all.back() == '\n') {
      --end; // What is behind the last newline is no line.
    }
    std::size_t found = 0, length = 0;
    if (!regex.find(all.substr(at, end - at), found, length)) {
      trail(next);
      at = next;
      if (late && at < all.size()) {
        number += count_lines(all.substr(counted, at - counted));
        counted = at;
        out.stopped_at = number - 1;
        return out;
      }
      continue;
    }
    found += at;
    const auto newline = found == 0 ? npos : all.rfind('\n', found - 1);
    const auto begin = newline == npos ? 0 : newline + 1;
    trail(begin);
    number += count_lines(all.substr(counted, begin - counted));
    counted = begin;
    if (out.matches == options.max_matches || out.bytes >= options.max_bytes
        || (late && out.matches > 0)) {
      out.stopped_at = number - 1;
      return out;
    }
    // Context in front, what is not shown yet.
    auto from = begin;
    std::uint64_t back = 0;
    for (; back < options.context && from > shown; ++back) {
      const auto before = from < 2 ? npos : all.rfind('\n', from - 2);
      from = before == npos ? 0 : before + 1;
    }
    for (; back > 0; --back) {
      take(from, number - back, 0, false);
      from = line_end(from) + 1;
    }
    take(begin, number, found - begin, true);
    ++out.matches;
    after = options.context;
    at = shown = std::min(line_end(begin) + 1, all.size());
  }
  trail(all.size());
  return out;
}

} // namespace caged::mcp
