#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "mcp/glob.hpp"
#include "mcp/glob_set.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::uint32_t no_character = 0x110000;

std::uint8_t byte_at(std::string_view text, std::size_t at) {
  return static_cast<std::uint8_t>(text[at]);
}

std::uint8_t lower(std::uint8_t byte) {
  return byte >= 'A' && byte <= 'Z' ? static_cast<std::uint8_t>(byte + 32)
                                    : byte;
}

/// One character and its length. A byte that is none of UTF-8 has a number
/// behind all characters, so that only `?` and negated sets take it.
std::uint32_t character(std::string_view text, std::size_t at, bool bytes,
                        std::size_t& length) {
  const auto first = byte_at(text, at);
  length = 1;
  if (first < 0x80 || bytes)
    return first;
  std::uint32_t point = 0;
  if (const auto n = utf8_sequence(text, at, point); n > 0) {
    length = n;
    return point;
  }
  return no_character + first;
}

struct named_class {
  std::string_view name;
  int (*holds)(int);
};
// POSIX classes (glob(7)), ASCII only, as wildmatch.c of git has them. The
// server never calls setlocale: these functions are those of "C".
constexpr std::array<named_class, 12> classes = {{{"alnum", std::isalnum},
                                                  {"alpha", std::isalpha},
                                                  {"blank", std::isblank},
                                                  {"cntrl", std::iscntrl},
                                                  {"digit", std::isdigit},
                                                  {"graph", std::isgraph},
                                                  {"lower", std::islower},
                                                  {"print", std::isprint},
                                                  {"punct", std::ispunct},
                                                  {"space", std::isspace},
                                                  {"upper", std::isupper},
                                                  {"xdigit", std::isxdigit}}};

const named_class* find_class(std::string_view name) {
  const auto* at =
      std::find_if(classes.begin(), classes.end(),
                   [&](const named_class& each) { return each.name == name; });
  return at == classes.end() ? nullptr : at;
}

} // namespace

glob_set_end
read_glob_set(std::string_view text, std::size_t at, bool bytes, bool& negated,
              std::vector<std::pair<std::uint32_t, std::uint32_t>>& ranges) {
  const auto wrong = [](std::size_t where, const char* why) {
    return glob_set_end{0, where, why};
  };
  const auto open = at++;
  constexpr auto unclosed = "[ has no closing ]";
  negated = at < text.size() && (text[at] == '!' || text[at] == '^');
  if (negated)
    ++at;
  // The start of a range: the character before, unless a range or class was.
  std::optional<std::uint32_t> before;
  for (auto first = true;; first = false) {
    if (at >= text.size())
      return wrong(open, unclosed);
    if (text[at] == ']' && !first)
      return {at + 1, 0, nullptr};
    std::size_t length = 1;
    if (text[at] == '[' && at + 1 < text.size() && text[at + 1] == ':') {
      const auto end = text.find(']', at + 2);
      if (end == std::string_view::npos)
        return wrong(open, unclosed);
      if (end > at + 2 && text[end - 1] == ':') {
        const auto* known = find_class(text.substr(at + 2, end - at - 3));
        if (known == nullptr)
          return wrong(at, "there is no such character class");
        for (auto c = 0; c < 128; ++c)
          if (known->holds(c) != 0)
            ranges.emplace_back(c, c);
        before.reset();
        at = end + 1;
        continue;
      }
    }
    if (text[at] == '-' && before && at + 1 < text.size()
        && text[at + 1] != ']') {
      const auto dash = at++;
      if (text[at] == '\\' && ++at >= text.size())
        return wrong(open, unclosed);
      const auto last = character(text, at, bytes, length);
      if (last < *before && !bytes)
        return wrong(dash, "the range goes backwards");
      if (last >= *before)
        ranges.emplace_back(*before, last);
      before.reset();
      at += length;
      continue;
    }
    if (text[at] == '\\' && ++at >= text.size())
      return wrong(open, unclosed);
    before = character(text, at, bytes, length);
    ranges.emplace_back(*before, *before);
    at += length;
  }
}

result<glob_segment> glob_segment::parse(std::string_view text,
                                         const glob_options& options) {
  glob_segment out;
  out.options_ = options;
  const auto refuse = [&](const char* why) -> result<glob_segment> {
    if (!options.git)
      return fail(ec::bad_request, "glob " + quoted(text) + ": " + why,
                  "write [[] for a bracket and \\\\ for a backslash that is "
                  "meant itself");
    glob_segment never;
    return never;
  };
  if (text.size() >= 2
      && text.find_first_not_of('*') == std::string_view::npos) {
    out.kind_ = kind::deep;
    return out;
  }
  std::size_t stars = 0, others = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto c = text[at];
    if (c == '*') {
      if (out.tokens_.empty() || out.tokens_.back().what != token::kind::star) {
        out.tokens_.push_back({token::kind::star});
        ++stars;
      }
      ++at;
    } else if (c == '?') {
      out.tokens_.push_back({token::kind::one});
      ++others;
      ++at;
    } else if (c == '[') {
      char_set set;
      const auto end =
          read_glob_set(text, at, options.git, set.negated, set.ranges);
      if (end.why != nullptr)
        return refuse(end.why);
      out.tokens_.push_back(
          {token::kind::set, 0, static_cast<std::uint32_t>(out.sets_.size())});
      out.sets_.push_back(std::move(set));
      ++others;
      at = end.next;
    } else {
      if (c == '\\' && ++at >= text.size())
        return refuse("\\ at its end");
      auto byte = byte_at(text, at++);
      if (options.case_insensitive)
        byte = lower(byte);
      out.tokens_.push_back({token::kind::byte, byte});
      out.text_ += static_cast<char>(byte);
    }
  }
  const auto& tokens = out.tokens_;
  using token_kind = token::kind;
  out.dotted_ = !tokens.empty() && tokens[0].what == token_kind::byte
                && tokens[0].byte == '.';
  if (stars == 0 && others == 0)
    out.kind_ = kind::literal;
  else if (stars == 1 && others == 0 && tokens.size() == 1)
    out.kind_ = kind::any;
  else if (stars == 1 && others == 0 && tokens[0].what == token_kind::star)
    out.kind_ = kind::suffix;
  else if (stars == 1 && others == 0 && tokens.back().what == token_kind::star)
    out.kind_ = kind::prefix;
  else
    out.kind_ = kind::wildcard;
  return out;
}

bool glob_segment::matches(std::string_view name) const {
  if (!options_.dots && !name.empty() && name[0] == '.' && !dotted_)
    return false;
  const auto equal = [&](std::string_view part) {
    if (!options_.case_insensitive)
      return part == text_;
    return std::equal(part.begin(), part.end(), text_.begin(), text_.end(),
                      [](char a, char b) {
                        return lower(static_cast<std::uint8_t>(a))
                               == static_cast<std::uint8_t>(b);
                      });
  };
  switch (kind_) {
  case kind::deep:
  case kind::any:
    return true;
  case kind::never:
    return false;
  case kind::literal:
    return name.size() == text_.size() && equal(name);
  case kind::suffix:
    return name.size() >= text_.size()
           && equal(name.substr(name.size() - text_.size()));
  case kind::prefix:
    return name.size() >= text_.size() && equal(name.substr(0, text_.size()));
  case kind::wildcard:
    break;
  }
  return matches_tokens(name);
}

bool glob_segment::in_set(const char_set& set, std::uint32_t point) const {
  const auto holds = [&](std::uint32_t p) {
    return std::any_of(set.ranges.begin(), set.ranges.end(), [p](auto& each) {
      return p >= each.first && p <= each.second;
    });
  };
  auto found = holds(point);
  if (!found && options_.case_insensitive) {
    if (point >= 'A' && point <= 'Z')
      found = holds(point + 32);
    else if (point >= 'a' && point <= 'z')
      found = holds(point - 32);
  }
  return found != set.negated;
}

/// How many bytes the token takes at `at`, 0 when it does not fit.
std::size_t glob_segment::take(const token& t, std::string_view name,
                               std::size_t at) const {
  std::size_t length = 1;
  switch (t.what) {
  case token::kind::byte: {
    const auto byte = byte_at(name, at);
    return (options_.case_insensitive ? lower(byte) : byte) == t.byte ? 1 : 0;
  }
  case token::kind::one:
    character(name, at, options_.git, length);
    return length;
  case token::kind::set: {
    const auto point = character(name, at, options_.git, length);
    return in_set(sets_[t.set], point) ? length : 0;
  }
  case token::kind::star:
    break;
  }
  return 0;
}

// Only the last star is ever tried again: what stands before it has matched at
// the earliest place, which leaves the most to the rest.
bool glob_segment::matches_tokens(std::string_view name) const {
  constexpr auto none = static_cast<std::size_t>(-1);
  std::size_t next = 0, at = 0, star = none, star_at = 0;
  for (;;) {
    if (next < tokens_.size() && tokens_[next].what == token::kind::star) {
      star = ++next;
      star_at = at;
      if (star == tokens_.size())
        return true;
      continue;
    }
    if (at == name.size()) {
      // A longer star leaves even less to the tokens that are left.
      return next == tokens_.size();
    }
    if (next < tokens_.size())
      if (const auto n = take(tokens_[next], name, at); n > 0) {
        at += n;
        ++next;
        continue;
      }
    if (star == none)
      return false;
    std::size_t length = 1;
    character(name, star_at, options_.git, length);
    star_at += length;
    at = star_at;
    next = star;
  }
}

} // namespace caged::mcp
