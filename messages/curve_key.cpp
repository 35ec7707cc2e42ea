#include "messages/curve_key.hpp"

#include <algorithm>
#include <cstdint>

#include "messages/text.hpp"

namespace caged {

namespace {

/// ZeroMQ RFC 32, section "Formal Specification".
constexpr std::string_view letters =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ".-:+=^!/*?&<>()[]{}@%$#";
constexpr std::size_t group_bytes = 4, group_letters = 5;
constexpr std::size_t z85_size = curve_key_bytes / group_bytes * group_letters;
constexpr std::size_t url_size = 43;

std::optional<std::string> from_url_form(std::string_view text) {
  if (text.size() != url_size)
    return std::nullopt;
  std::string plain{text};
  if (plain.find_first_of("+/=") != std::string::npos)
    return std::nullopt;
  std::replace(plain.begin(), plain.end(), '-', '+');
  std::replace(plain.begin(), plain.end(), '_', '/');
  auto bytes = base64_decode(plain + "=");
  if (!bytes || bytes->size() != curve_key_bytes)
    return std::nullopt;
  auto key = z85_encode(*bytes);
  // Two texts of one key would be two records of the store.
  return url_form(key) == text ? std::optional{key} : std::nullopt;
}

} // namespace

std::string z85_encode(std::string_view bytes) {
  std::string out;
  for (std::size_t at = 0; at + group_bytes <= bytes.size();
       at += group_bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < group_bytes; ++i)
      value = value << 8U | static_cast<unsigned char>(bytes[at + i]);
    std::string group(group_letters, '0');
    for (std::size_t i = group_letters; i-- > 0; value /= letters.size())
      group[i] = letters[value % letters.size()];
    out += group;
  }
  return out;
}

std::optional<std::string> z85_decode(std::string_view text) {
  if (text.size() != z85_size)
    return std::nullopt;
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += group_letters) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < group_letters; ++i) {
      const auto digit = letters.find(text[at + i]);
      if (digit == std::string_view::npos)
        return std::nullopt;
      value = value * letters.size() + digit;
    }
    if (value > UINT32_MAX)
      return std::nullopt;
    for (std::size_t i = group_bytes; i-- > 0;)
      out.push_back(static_cast<char>(value >> 8U * i & 0xffU));
  }
  return out;
}

std::string url_form(std::string_view key) {
  auto out = base64_encode(z85_decode(key).value_or(std::string{}));
  while (!out.empty() && out.back() == '=')
    out.pop_back();
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  return out;
}

result<std::string> parse_public_key(std::string_view text) {
  if (z85_decode(text))
    return std::string{text};
  if (auto key = from_url_form(text))
    return std::move(*key);
  constexpr std::size_t shown = 80;
  return fail(ec::bad_request,
              "'" + escape_text(text, shown) + "' is no public key",
              "a public key has 40 characters of Z85, as caged key create "
              "and caged node status print it");
}

} // namespace caged
