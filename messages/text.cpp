#include "messages/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <numeric>

#include <sys/random.h>

namespace caged {

namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 64 marks what is no base64 character.
constexpr auto reverse_alphabet = [] {
  std::array<std::uint8_t, 256> table{};
  table.fill(64);
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    table[static_cast<std::uint8_t>(alphabet[i])] =
        static_cast<std::uint8_t>(i);
  return table;
}();

/// Controls, C1, line separators and what turns the writing direction round
/// (Unicode TR36): a terminal or a log reader must not obey them.
bool is_harmful(std::uint32_t point) {
  return point < 0x20 || (point >= 0x7F && point <= 0x9F) || point == 0x2028
         || point == 0x2029 || (point >= 0x202A && point <= 0x202E)
         || (point >= 0x2066 && point <= 0x2069);
}

void fill_random(void* bytes, std::size_t size) {
  auto* at = static_cast<char*>(bytes);
  while (size > 0) {
    // Up to 256 bytes are never interrupted once the pool is up: random(7).
    auto got = ::getrandom(at, size, 0);
    if (got > 0) {
      at += got;
      size -= static_cast<std::size_t>(got);
    }
  }
}

std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      auto above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1,
                         diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

} // namespace

std::size_t utf8_sequence(std::string_view text, std::size_t at,
                          std::uint32_t& point) noexcept {
  auto byte = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<std::uint8_t>(text[at + i]) : 0U;
  };
  auto tail = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  unsigned first = byte(0);
  if (first < 0x80) {
    point = first;
    return 1;
  }
  if (first >= 0xC2 && first <= 0xDF && tail(1)) {
    point = (first & 0x1FU) << 6 | (byte(1) & 0x3FU);
    return 2;
  }
  if (first >= 0xE0 && first <= 0xEF && tail(1) && tail(2)) {
    point = (first & 0x0FU) << 12 | (byte(1) & 0x3FU) << 6 | (byte(2) & 0x3FU);
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return point >= 0x800 && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4 && tail(1) && tail(2) && tail(3)) {
    point = (first & 0x07U) << 18 | (byte(1) & 0x3FU) << 12
            | (byte(2) & 0x3FU) << 6 | (byte(3) & 0x3FU);
    return point >= 0x10000 && point <= 0x10FFFF ? 4 : 0;
  }
  return 0;
}

std::string escape_text(std::string_view text, std::size_t max) {
  constexpr std::string_view dots = "...";
  std::string out;
  out.reserve(std::min(text.size() + 8, max));
  std::size_t room = max > dots.size() ? max - dots.size() : 0;
  std::size_t cut_at = 0; // where the result still leaves room for the dots
  for (std::size_t i = 0; i < text.size();) {
    std::uint32_t point = 0;
    auto length = utf8_sequence(text, i, point);
    if (length > 0 && !is_harmful(point)) {
      out.append(text, i, length);
    } else {
      length = length == 0 ? 1 : length;
      for (std::size_t k = 0; k < length; ++k) {
        char hex[5];
        std::snprintf(
            hex, sizeof hex, "\\x%02X",
            static_cast<unsigned>(static_cast<std::uint8_t>(text[i + k])));
        out += hex;
      }
    }
    i += length;
    if (out.size() <= room)
      cut_at = out.size();
    if (out.size() > max) {
      out.resize(cut_at);
      out += dots.substr(0, max - cut_at);
      return out;
    }
  }
  return out;
}

result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  auto refuse = [&] {
    return fail(ec::bad_request,
                quoted(text)
                    + " is no duration; write a whole number and ms, s, m or h,"
                      " for example 5s, 500ms or 1m");
  };
  std::size_t digits = 0;
  std::int64_t value = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    if (digits == 12) // far over what anybody means, far below overflow
      return refuse();
    value = value * 10 + (text[digits++] - '0');
  }
  if (digits == 0)
    return refuse();
  auto unit = text.substr(digits);
  std::int64_t factor = 0;
  if (unit == "ms")
    factor = 1;
  else if (unit == "s")
    factor = 1000;
  else if (unit == "m")
    factor = 60 * 1000;
  else if (unit == "h")
    factor = 60 * 60 * 1000;
  else if (!unit.empty() || value != 0)
    return refuse();
  return std::chrono::milliseconds{value * factor};
}

std::string format_duration(std::chrono::milliseconds value) {
  auto ms = value.count();
  if (ms == 0)
    return "0s";
  if (ms % 3600000 == 0)
    return std::to_string(ms / 3600000) + "h";
  if (ms % 60000 == 0)
    return std::to_string(ms / 60000) + "m";
  if (ms % 1000 == 0)
    return std::to_string(ms / 1000) + "s";
  return std::to_string(ms) + "ms";
}

std::string base64_encode(std::string_view bytes) {
  std::string out;
  base64_append(out, bytes);
  return out;
}

void base64_append(std::string& out, std::string_view bytes) {
  auto before = out.size();
  out.resize(before + (bytes.size() + 2) / 3 * 4, '=');
  auto* to = out.data() + before;
  auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i]));
  };
  std::size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    auto group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    *to++ = alphabet[group >> 18];
    *to++ = alphabet[group >> 12 & 63U];
    *to++ = alphabet[group >> 6 & 63U];
    *to++ = alphabet[group & 63U];
  }
  if (auto rest = bytes.size() - i; rest > 0) {
    auto group = byte(i) << 16 | (rest == 2 ? byte(i + 1) << 8 : 0U);
    *to++ = alphabet[group >> 18];
    *to++ = alphabet[group >> 12 & 63U];
    if (rest == 2)
      *to++ = alphabet[group >> 6 & 63U];
  }
}

result<std::string> base64_decode(std::string_view text) {
  auto refuse = [](const char* why) {
    return fail(ec::bad_request, std::string{"invalid base64: "} + why);
  };
  if (text.size() % 4 != 0)
    return refuse("its length is no multiple of 4");
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size()
         && text[text.size() - 1 - padding] == '=')
    ++padding;
  std::string out;
  out.resize(text.size() / 4 * 3);
  auto* to = out.data();
  auto value = [&](std::size_t i) {
    return static_cast<std::uint32_t>(
        reverse_alphabet[static_cast<std::uint8_t>(text[i])]);
  };
  auto whole = padding == 0 ? text.size() : text.size() - 4;
  std::uint32_t seen = 0; // bit 6 is set once a foreign character came
  for (std::size_t i = 0; i < whole; i += 4) {
    auto a = value(i), b = value(i + 1), c = value(i + 2), d = value(i + 3);
    seen |= a | b | c | d;
    auto group = a << 18 | b << 12 | c << 6 | d;
    *to++ = static_cast<char>(group >> 16);
    *to++ = static_cast<char>(group >> 8);
    *to++ = static_cast<char>(group);
  }
  if (padding > 0) {
    auto a = value(whole), b = value(whole + 1);
    auto c = padding == 1 ? value(whole + 2) : 0U;
    seen |= a | b | c;
    auto group = a << 18 | b << 12 | c << 6;
    if ((group & (padding == 1 ? 0xFFU : 0xFFFFU)) != 0)
      return refuse("bits behind its end");
    *to++ = static_cast<char>(group >> 16);
    if (padding == 1)
      *to++ = static_cast<char>(group >> 8);
    out.resize(out.size() - padding);
  }
  if ((seen & 64U) != 0)
    return refuse("a character outside the alphabet");
  return out;
}

std::string make_uuid() {
  std::array<std::uint8_t, 16> bytes;
  fill_random(bytes.data(), bytes.size());
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0FU) | 0x40U);
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3FU) | 0x80U);
  constexpr std::string_view hex = "0123456789abcdef";
  std::string out;
  out.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      out += '-';
    out += hex[bytes[i] >> 4];
    out += hex[bytes[i] & 15U];
  }
  return out;
}

std::string random_name(std::size_t n) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  // 252 = 7 * 36: what lies above would make some letters likelier.
  constexpr unsigned fair = 252;
  std::string out;
  while (out.size() < n) {
    std::array<std::uint8_t, 32> bytes;
    fill_random(bytes.data(), bytes.size());
    for (std::size_t i = 0; i < bytes.size() && out.size() < n; ++i)
      if (bytes[i] < fair)
        out += letters[bytes[i] % letters.size()];
  }
  return out;
}

bool is_uuid(std::string_view text) noexcept {
  if (text.size() != 36)
    return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    bool hex = (text[i] >= '0' && text[i] <= '9')
               || (text[i] >= 'a' && text[i] <= 'f');
    if (dash ? text[i] != '-' : !hex)
      return false;
  }
  return true;
}

std::string quoted(std::string_view text) {
  return "\"" + escape_text(text, 128) + "\"";
}

std::string format_bytes(double bytes) {
  constexpr std::array<const char*, 5> units = {"B", "KB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  char out[48];
  // One decimal unless it would be a zero: "512 MB", "1.5 GB".
  auto tenths = std::lround(bytes * 10);
  if (tenths % 10 == 0 || unit == 0)
    std::snprintf(out, sizeof out, "%.0f %s", bytes, units[unit]);
  else
    std::snprintf(out, sizeof out, "%.1f %s", bytes, units[unit]);
  return out;
}

std::int64_t wall_clock_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

std::string nearest(const std::string& word,
                    const std::vector<std::string>& candidates) {
  return *std::min_element(candidates.begin(), candidates.end(),
                           [&](const auto& a, const auto& b) {
                             return distance(word, a) < distance(word, b);
                           });
}

result<int> parse_signal(const std::string& text) {
  auto name = text.rfind("SIG", 0) == 0 ? text.substr(3) : text;
  constexpr int last = 64; // SIGRTMAX, which glibc asks the kernel for
  for (int number = 1; number <= last; ++number) {
    const char* abbreviation = ::sigabbrev_np(number);
    if (std::to_string(number) == text
        || (abbreviation && name == abbreviation))
      return number;
  }
  return fail(
      ec::bad_request,
      "there is no signal " + quoted(text)
          + "; it must be a number from 1 to 64 or a name such as TERM");
}

} // namespace caged
