#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "mcp/encode.hpp"
#include "messages/text.hpp"

// A tool's text is most of what we write. nlohmann's dump looks at every byte
// by itself: 20 ms for 1 MiB of source text (measured here), and Boost.JSON's
// serialize takes as long. Here runs without an escape are found by eight bytes
// and copied; the escapes themselves are those that nlohmann's dump gives.

namespace caged::mcp {

namespace {

constexpr std::uint64_t ones = 0x0101010101010101U;
constexpr std::uint64_t highs = 0x8080808080808080U;

/// The high bit of each byte that is zero, and perhaps of bytes above it.
constexpr std::uint64_t zeros(std::uint64_t eight) {
  return (eight - ones) & ~eight & highs;
}

/// Bytes at the front that stand for themselves: ASCII but control characters,
/// quote and backslash.
std::size_t plain_run(const char* at, const char* end) {
  static_assert(std::endian::native == std::endian::little);
  const auto* from = at;
  for (; end - at >= 8; at += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, at, sizeof eight);
    const auto special = ((eight - ones * 0x20) & ~eight & highs)
                         | zeros(eight ^ ones * '"')
                         | zeros(eight ^ ones * '\\') | (eight & highs);
    if (special != 0)
      return static_cast<std::size_t>(at - from)
             + static_cast<std::size_t>(std::countr_zero(special)) / 8;
  }
  // As signed, what is no ASCII is less than ' '.
  while (at < end && static_cast<signed char>(*at) >= ' ' && *at != '"'
         && *at != '\\')
    ++at;
  return static_cast<std::size_t>(at - from);
}

using escape_table = std::array<std::string, 128>;

const escape_table& escapes() {
  static const auto all = [] {
    escape_table out;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const auto text = json(std::string(1, static_cast<char>(i))).dump();
      out[i] = text.substr(1, text.size() - 2);
    }
    return out;
  }();
  return all;
}

} // namespace

void append_text_string(std::string& out, std::string_view text) {
  const auto& table = escapes();
  const auto before = out.size();
  out += '"';
  std::uint32_t point = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto n = plain_run(text.data() + i, text.data() + text.size());
    out.append(text, i, n);
    i += n;
    if (i >= text.size())
      break;
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      out += table[byte];
      ++i;
    } else if (const auto size = utf8_sequence(text, i, point); size > 0) {
      out.append(text, i, size);
      i += size;
    } else {
      // Which replaces what is no UTF-8.
      out.resize(before);
      out += to_text(json(text));
      return;
    }
  }
  out += '"';
}

std::string to_text_string(const std::string& text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8 + 16);
  append_text_string(out, text);
  return out;
}

} // namespace caged::mcp
