#include "mcp/glob.hpp"

#include <algorithm>

#include "mcp/glob_set.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr auto npos = std::string_view::npos;

/// Where the component that begins at `at` ends, brackets and escapes left
/// whole.
std::size_t segment_end(std::string_view text, std::size_t at, bool bytes) {
  while (at < text.size() && text[at] != '/') {
    if (text[at] == '\\') {
      at += 2;
      continue;
    }
    if (text[at] == '[') {
      auto negated = false;
      std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
      const auto end = read_glob_set(text, at, bytes, negated, ranges);
      if (end.why != nullptr)
        return text.size();
      at = end.next;
      continue;
    }
    ++at;
  }
  return std::min(at, text.size());
}

tl::unexpected<failure> wrong_at(std::string_view pattern, std::size_t at,
                                 const std::string& why, std::string hint) {
  return fail(ec::bad_request,
              "glob " + quoted(pattern) + " is wrong at byte "
                  + std::to_string(at + 1) + ": " + why,
              std::move(hint));
}

/// Finds every mistake with its place in what the caller wrote.
result<void> check(std::string_view pattern) {
  std::vector<std::size_t> open;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    switch (pattern[at]) {
    case '\0':
      return wrong_at(pattern, at, "a NUL", "no name has one: leave it out");
    case '\\':
      if (++at >= pattern.size())
        return wrong_at(pattern, at - 1, "nothing follows the \\",
                        "write \\\\ for the character itself");
      if (pattern[at] == '/')
        return wrong_at(pattern, at - 1, "a / cannot be part of a name",
                        "leave the \\ out");
      break;
    case '[': {
      auto negated = false;
      std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
      const auto end = read_glob_set(pattern, at, false, negated, ranges);
      if (end.why != nullptr)
        return wrong_at(pattern, end.where, end.why,
                        "write \\[ for the character itself");
      at = end.next - 1;
      break;
    }
    case '{':
      open.push_back(at);
      break;
    case '}':
      if (open.empty())
        return wrong_at(pattern, at, "} has no opening {",
                        "write \\} for the character itself");
      open.pop_back();
      break;
    default:
      break;
    }
  }
  if (!open.empty())
    return wrong_at(pattern, open.back(), "{ has no closing }",
                    "write \\{ for the character itself");
  return {};
}

/// Behind the escape or the bracket at `at`; at + 1 for other characters. The
/// pattern was checked.
std::size_t skip_one(std::string_view text, std::size_t at) {
  if (text[at] == '\\')
    return at + 2;
  if (text[at] == '[') {
    auto negated = false;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
    const auto end = read_glob_set(text, at, false, negated, ranges);
    if (end.why == nullptr)
      return end.next;
  }
  return at + 1;
}

/// Replaces the first braces by each of their parts until none are left:
/// breadth first, so that the number of patterns is known before they are
/// made longer. False: too many.
bool expand(std::string_view pattern, std::vector<std::string>& done) {
  std::vector<std::string> todo{std::string{pattern}};
  std::size_t bytes = 0;
  while (!todo.empty()) {
    const auto text = std::move(todo.back());
    todo.pop_back();
    std::size_t at = 0;
    while (at < text.size() && text[at] != '{')
      at = skip_one(text, at);
    if (at >= text.size()) {
      bytes += text.size();
      done.push_back(text);
      if (done.size() > glob::max_alternatives || bytes > glob::max_expanded)
        return false;
      continue;
    }
    const auto open = at;
    std::vector<std::string> parts;
    auto part = ++at;
    for (auto depth = 1; depth > 0; at = skip_one(text, at)) {
      if (text[at] == '{')
        ++depth;
      else if (text[at] == '}')
        --depth;
      if (depth == 0 || (depth == 1 && text[at] == ',')) {
        parts.push_back(text.substr(part, at - part));
        part = at + 1;
      }
    }
    // `at` is behind the closing brace now. Last first: a stack.
    if (todo.size() + parts.size() > glob::max_alternatives)
      return false;
    for (auto each = parts.rbegin(); each != parts.rend(); ++each)
      todo.push_back(text.substr(0, open) + *each + text.substr(at));
  }
  return true;
}

/// "./a//b/./c" as "a/b/c"; components are kept whole. ".." is refused.
result<std::string> tidy(std::string_view whole, std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = segment_end(text, at, false);
    const auto part = text.substr(at, end - at);
    if (part == "..")
      return fail(ec::bad_request,
                  "glob " + quoted(whole) + " holds a component \"..\"",
                  "give the folder to search as path");
    if (!part.empty() && part != ".") {
      if (!out.empty())
        out += '/';
      out += part;
    }
    at = end + 1;
  }
  return out;
}

} // namespace

result<path_pattern> path_pattern::parse(std::string_view text,
                                         const glob_options& options) {
  path_pattern out;
  out.options_ = options;
  for (std::size_t at = 0; at <= text.size();) {
    auto end = segment_end(text, at, options.git);
    auto part = text.substr(at, end - at);
    at = end + 1;
    // An escaped slash is one: it cannot be part of a name.
    std::size_t cut = 0;
    for (std::size_t i = 0; i < part.size(); ++i)
      if (part[i] == '\\' && i + 1 < part.size()) {
        if (part[i + 1] == '/') {
          auto segment =
              glob_segment::parse(part.substr(cut, i - cut), options);
          if (!segment)
            return tl::unexpected{segment.error()};
          out.segments_.push_back(std::move(*segment));
          cut = i + 2;
        }
        ++i;
      }
    auto segment = glob_segment::parse(part.substr(cut), options);
    if (!segment)
      return tl::unexpected{segment.error()};
    // Two in a row say no more than one, and cost time.
    if (segment->what() != glob_segment::kind::deep || out.segments_.empty()
        || out.segments_.back().what() != glob_segment::kind::deep)
      out.segments_.push_back(std::move(*segment));
  }
  return out;
}

// Only the last `**` is ever tried again, for the same reason as the last star
// within a component.
bool path_pattern::matches(std::string_view path) const {
  const auto count = segments_.size();
  std::size_t next = 0, at = 0, back = npos, back_at = 0;
  const auto part_at = [&](std::size_t from) {
    const auto end = path.find('/', from);
    return path.substr(from, end == npos ? npos : end - from);
  };
  // Behind the last component: path.size() + 1.
  const auto end = path.size() + 1;
  for (;;) {
    if (next < count && segments_[next].what() == glob_segment::kind::deep) {
      if (next + 1 == count) {
        if (at == end)
          return false; // "a/**" is not "a" itself.
        if (!options_.dots)
          for (auto from = at; from != end;) {
            const auto part = part_at(from);
            if (!segments_[next].matches(part))
              return false;
            from += part.size() + 1;
          }
        return true;
      }
      back = ++next;
      back_at = at;
      continue;
    }
    if (at != end && next < count) {
      const auto part = part_at(at);
      if (segments_[next].matches(part)) {
        at += part.size() + 1;
        ++next;
        continue;
      }
    }
    if (at == end && next == count)
      return true;
    if (back == npos || back_at == end || at == end)
      return false;
    const auto skipped = part_at(back_at);
    if (!segments_[back - 1].matches(skipped))
      return false;
    back_at += skipped.size() + 1;
    at = back_at;
    next = back;
  }
}

bool path_pattern::reaches(std::string_view folder) const {
  std::size_t at = 0;
  for (const auto& segment : segments_) {
    if (segment.what() == glob_segment::kind::deep)
      return true;
    if (at > folder.size())
      return true;
    const auto slash = std::min(folder.find('/', at), folder.size());
    if (!segment.matches(folder.substr(at, slash - at)))
      return false;
    at = slash + 1;
  }
  return false; // Beneath the folder is one more component than here.
}

result<glob> glob::parse(std::string_view pattern, glob_options options) {
  if (pattern.size() > max_bytes)
    return fail(ec::too_large,
                "the glob has " + std::to_string(pattern.size())
                    + " bytes, the limit is " + std::to_string(max_bytes),
                "search with a shorter one and look through its results");
  if (auto sound = check(pattern); !sound)
    return tl::unexpected{sound.error()};
  glob out;
  out.options_ = options;
  std::vector<std::string> texts;
  if (!expand(pattern, texts))
    return fail(ec::too_large,
                "the braces of glob " + quoted(pattern)
                    + " stand for more than " + std::to_string(max_alternatives)
                    + " patterns or " + std::to_string(max_expanded) + " bytes",
                "write fewer alternatives, or search several times");
  out.folders_only_ = true;
  for (const auto& text : texts) {
    const auto folder = !text.empty() && text.back() == '/';
    auto tidied = tidy(pattern, text);
    if (!tidied)
      return tl::unexpected{tidied.error()};
    if (tidied->empty())
      return fail(ec::bad_request, "glob " + quoted(pattern) + " names nothing",
                  "give a pattern as *.cpp or src/**/*.h; file_list lists a "
                  "folder");
    out.folders_only_ = out.folders_only_ && folder;
    auto parsed = path_pattern::parse(*tidied, options);
    if (!parsed)
      return tl::unexpected{parsed.error()};
    // Without a slash but one at the end: in every folder.
    const auto slashes = std::count(text.begin(), text.end(), '/');
    const auto anchored = text[0] == '/' || text.rfind("./", 0) == 0;
    const auto by_name = parsed->segments().size() == 1 && !anchored
                         && slashes == (folder ? 1 : 0);
    for (const auto& segment : parsed->segments())
      out.dotted_ = out.dotted_ || segment.dotted();
    out.alternatives_.push_back({by_name, std::move(*parsed)});
  }
  return out;
}

bool glob::matches(std::string_view path, std::size_t name_at) const {
  const auto name = path.substr(name_at);
  return std::any_of(
      alternatives_.begin(), alternatives_.end(), [&](const alternative& each) {
        if (!each.by_name)
          return each.pattern.matches(path);
        if (!each.pattern.segments()[0].matches(name))
          return false;
        // Hidden folders are left out by `**`, which stands before the name.
        return options_.dots || name_at == 0
               || (path[0] != '.'
                   && path.substr(0, name_at).find("/.") == npos);
      });
}

bool glob::reaches(std::string_view folder) const {
  return std::any_of(alternatives_.begin(), alternatives_.end(),
                     [&](const alternative& each) {
                       return each.by_name || each.pattern.reaches(folder);
                     });
}

} // namespace caged::mcp
