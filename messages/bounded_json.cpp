#include "messages/bounded_json.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

#include "messages/limits.hpp"
#include "messages/text.hpp"

namespace caged {

using nlohmann::json;

namespace {

/// Bytes that stand for themselves inside a string: printable ASCII without
/// the quote and the backslash.
constexpr auto plain = [] {
  std::array<bool, 256> table{};
  for (std::size_t c = 0x20; c < 0x80; ++c)
    table[c] = c != '"' && c != '\\';
  return table;
}();

class reader {
public:
  explicit reader(std::string_view text) : rest_{text} {}

  bool read();
  json root;
  std::optional<std::uint64_t> id;
  const char* over = nullptr; ///< the limit that stopped it

private:
  // -- the text --------------------------------------------------------------
  char peek() const { return rest_.empty() ? '\0' : rest_.front(); }
  void skip_blanks() {
    while (!rest_.empty()
           && (rest_.front() == ' ' || rest_.front() == '\t'
               || rest_.front() == '\n' || rest_.front() == '\r'))
      rest_.remove_prefix(1);
  }
  bool take(char c) {
    if (peek() != c || rest_.empty())
      return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take_word(std::string_view word) {
    if (rest_.substr(0, word.size()) != word)
      return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool read_key();
  bool read_scalar();
  bool read_string(std::string& into);
  bool read_escape(std::string& into);
  bool read_hex(std::uint32_t& unit);
  bool read_number();
  std::size_t digits(std::size_t from) const;

  // -- the value -------------------------------------------------------------
  bool count() {
    if (++values_ <= limits::agent_values_max + 1) // the object itself is free
      return true;
    static_assert(limits::agent_values_max == 2048);
    over = "it has more than 2048 values";
    return false;
  }
  template <class T>
  bool put(T&& value) {
    if (!count())
      return false;
    add(std::forward<T>(value));
    return true;
  }
  template <class T>
  json* add(T&& value);
  bool open(json value);
  bool in_object() const { return stack_[depth_ - 1]->is_object(); }

  std::string_view rest_;
  /// Growing an array moves its elements, but never while one of them is open,
  /// so these addresses stay true.
  json* stack_[limits::agent_depth_max] = {};
  std::size_t depth_ = 0;
  std::size_t values_ = 0;
  std::string key_;
};

template <class T>
json* reader::add(T&& value) {
  if (depth_ == 0) {
    root = std::forward<T>(value);
    return &root;
  }
  auto& top = *stack_[depth_ - 1];
  if (top.is_array()) {
    top.push_back(std::forward<T>(value));
    return &top.back();
  }
  auto& slot = top[std::move(key_)]; // of two equal keys the last one counts
  slot = std::forward<T>(value);
  return &slot;
}

bool reader::open(json value) {
  if (!count())
    return false;
  if (depth_ == limits::agent_depth_max) {
    static_assert(limits::agent_depth_max == 16);
    over = "it is deeper than 16 levels";
    return false;
  }
  auto* added = add(std::move(value));
  stack_[depth_++] = added;
  return true;
}

bool reader::read() {
  skip_blanks();
  for (;;) {
    // A value begins here.
    if (take('{')) {
      if (!open(json::object()))
        return false;
      skip_blanks();
      if (peek() != '}') {
        if (!read_key())
          return false;
        continue;
      }
    } else if (take('[')) {
      if (!open(json::array()))
        return false;
      skip_blanks();
      if (peek() != ']')
        continue;
    } else if (!read_scalar()) {
      return false;
    }
    // And has ended here: so may what it stands in.
    for (;;) {
      skip_blanks();
      if (depth_ == 0)
        return rest_.empty();
      if (take(',')) {
        skip_blanks();
        if (in_object() && !read_key())
          return false;
        break;
      }
      if (!take(in_object() ? '}' : ']'))
        return false;
      --depth_;
    }
  }
}

bool reader::read_key() {
  key_.clear();
  if (!read_string(key_))
    return false;
  skip_blanks();
  if (!take(':'))
    return false;
  skip_blanks();
  return true;
}

bool reader::read_scalar() {
  switch (peek()) {
  case '"': {
    std::string value;
    return read_string(value) && put(std::move(value));
  }
  case 't':
    return take_word("true") && put(true);
  case 'f':
    return take_word("false") && put(false);
  case 'n':
    return take_word("null") && put(nullptr);
  default:
    return read_number();
  }
}

bool reader::read_string(std::string& into) {
  if (!take('"'))
    return false;
  bool sized = false;
  for (;;) {
    std::size_t run = 0;
    while (run < rest_.size() && plain[static_cast<std::uint8_t>(rest_[run])])
      ++run;
    if (run == rest_.size())
      return false;
    char end = rest_[run];
    if (!sized && end != '"') {
      // What follows is at most the rest of the text: room for it once, not
      // by doubling.
      auto close = run;
      while (close < rest_.size() && rest_[close] != '"')
        close += rest_[close] == '\\' ? 2 : 1;
      into.reserve(std::min(close, rest_.size()));
      sized = true;
    }
    into.append(rest_.substr(0, run));
    rest_.remove_prefix(run);
    if (end == '"') {
      rest_.remove_prefix(1);
      return true;
    }
    if (end == '\\') {
      rest_.remove_prefix(1);
      if (!read_escape(into))
        return false;
      continue;
    }
    std::uint32_t point = 0;
    auto length = utf8_sequence(rest_, 0, point);
    if (length < 2)
      return false; // a control character, or no UTF-8
    into.append(rest_.substr(0, length));
    rest_.remove_prefix(length);
  }
}

bool reader::read_hex(std::uint32_t& unit) {
  if (rest_.size() < 4)
    return false;
  auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, unit, 16);
  if (error != std::errc{} || end != rest_.data() + 4)
    return false;
  rest_.remove_prefix(4);
  return true;
}

bool reader::read_escape(std::string& into) {
  if (rest_.empty())
    return false;
  constexpr std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
  auto c = rest_.front();
  rest_.remove_prefix(1);
  if (auto at = from.find(c); at != std::string_view::npos) {
    into += to[at];
    return true;
  }
  std::uint32_t point = 0;
  if (c != 'u' || !read_hex(point))
    return false;
  if (point >= 0xDC00 && point <= 0xDFFF)
    return false; // the second half of a pair without its first
  if (point >= 0xD800 && point <= 0xDBFF) {
    std::uint32_t low = 0;
    if (!take_word("\\u") || !read_hex(low) || low < 0xDC00 || low > 0xDFFF)
      return false;
    point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
  }
  auto byte = [&](std::uint32_t value) { into += static_cast<char>(value); };
  if (point < 0x80) {
    byte(point);
  } else if (point < 0x800) {
    byte(0xC0 | point >> 6);
    byte(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    byte(0xE0 | point >> 12);
    byte(0x80 | (point >> 6 & 0x3F));
    byte(0x80 | (point & 0x3F));
  } else {
    byte(0xF0 | point >> 18);
    byte(0x80 | (point >> 12 & 0x3F));
    byte(0x80 | (point >> 6 & 0x3F));
    byte(0x80 | (point & 0x3F));
  }
  return true;
}

std::size_t reader::digits(std::size_t from) const {
  auto at = from;
  while (at < rest_.size() && rest_[at] >= '0' && rest_[at] <= '9')
    ++at;
  return at - from;
}

bool reader::read_number() {
  std::size_t at = peek() == '-' ? 1 : 0;
  bool negative = at == 1;
  auto whole = digits(at);
  if (whole == 0 || (whole > 1 && rest_[at] == '0'))
    return false;
  at += whole;
  bool integer = true;
  if (at < rest_.size() && rest_[at] == '.') {
    auto fraction = digits(at + 1);
    if (fraction == 0)
      return false;
    at += 1 + fraction;
    integer = false;
  }
  if (at < rest_.size() && (rest_[at] == 'e' || rest_[at] == 'E')) {
    auto sign =
        at + 1 < rest_.size() && (rest_[at + 1] == '+' || rest_[at + 1] == '-')
            ? 1U
            : 0U;
    auto exponent = digits(at + 1 + sign);
    if (exponent == 0)
      return false;
    at += 1 + sign + exponent;
    integer = false;
  }
  // A number needs no more; what follows thousands of digits is an attack.
  if (at > 64)
    return false;
  auto text = rest_.substr(0, at);
  rest_.remove_prefix(at);
  const auto* end = text.data() + text.size();
  if (integer && !negative) {
    std::uint64_t value = 0;
    if (std::from_chars(text.data(), end, value).ec == std::errc{}) {
      if (depth_ == 1 && in_object() && key_ == "id")
        id = value;
      return put(value);
    }
  } else if (integer) {
    std::int64_t value = 0;
    if (std::from_chars(text.data(), end, value).ec == std::errc{})
      return put(value);
  }
  // strtod wants a NUL; the locale is C in all our programs.
  auto value = std::strtod(std::string{text}.c_str(), nullptr);
  return std::isfinite(value) && put(value);
}

} // namespace

result<json> read_bounded_json(std::string_view text,
                               std::optional<std::uint64_t>& id) {
  reader reading{text};
  bool good = reading.read();
  id = reading.id;
  if (reading.over)
    return fail(ec::too_large,
                std::string{"the line is refused: "} + reading.over);
  if (!good)
    return fail(ec::malformed, "the line is no JSON");
  return std::move(reading.root);
}

} // namespace caged
