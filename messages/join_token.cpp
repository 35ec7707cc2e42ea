#include "messages/join_token.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include <boost/crc.hpp>
#include <nlohmann/json.hpp>

#include "messages/text.hpp"

namespace caged {

using nlohmann::json;

namespace {

constexpr std::string_view version = "1.";
/// A token has some 360 characters.
constexpr std::size_t text_most = 2048;
constexpr std::size_t check_digits = 8;

const char* const remedy = "make another on a node of the fleet: caged node "
                           "token";

/// RFC 4648, section 5, without padding.
std::string to_url(std::string_view bytes) {
  auto out = base64_encode(bytes);
  out.resize(out.find_last_not_of('=') + 1);
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  return out;
}

std::optional<std::string> from_url(std::string text) {
  if (text.find_first_of("+/=") != std::string::npos)
    return std::nullopt;
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text.append((4 - text.size() % 4) % 4, '=');
  auto bytes = base64_decode(text);
  return bytes ? std::optional{std::move(*bytes)} : std::nullopt;
}

/// CRC-32, eight digits: a letter that was lost or changed on the way is told
/// from a token that is refused.
std::string check_of(std::string_view text) {
  boost::crc_32_type sum;
  sum.process_bytes(text.data(), text.size());
  std::array<char, check_digits + 1> out{};
  std::snprintf(out.data(), out.size(), "%08x",
                static_cast<unsigned>(sum.checksum()));
  return out.data();
}

tl::unexpected<failure> broken() {
  return fail(ec::malformed, "the join token is damaged or not whole", remedy);
}

bool is_key(const json& from, const char* name) {
  return from.contains(name) && from[name].is_string()
         && z85_decode(from[name].get<std::string>());
}

} // namespace

std::string encode(const join_token& from) {
  const auto body = to_url(json{
      {"cluster", from.cluster},
      {"server", from.server_key},
      {"public", from.key.public_key},
      {"secret", from.key.secret_key},
      {"expires_ms",
       from.expires_ms}}.dump());
  return std::string{join_token_prefix} + std::string{version} + body + "."
         + check_of(body);
}

result<join_token> decode_join_token(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const auto first = std::min(text.find_first_not_of(blank), text.size());
  text.remove_prefix(first);
  text = text.substr(0, text.find_last_not_of(blank) + 1);
  if (text.empty())
    return fail(ec::malformed, "the join token is empty", remedy);
  if (!text.starts_with(join_token_prefix))
    return fail(ec::malformed,
                "this is no join token: one begins with "
                    + std::string{join_token_prefix},
                remedy);
  text.remove_prefix(join_token_prefix.size());
  if (!text.starts_with(version)) {
    const auto digits = text.find_first_not_of("0123456789");
    if (digits == 0 || digits == text.npos || text[digits] != '.')
      return broken();
    return fail(ec::unsupported,
                "the join token is of a version that this caged-node does not "
                "know",
                "install the version that the fleet has");
  }
  text.remove_prefix(version.size());
  const auto dot = text.rfind('.');
  if (text.size() > text_most || dot == text.npos
      || check_of(text.substr(0, dot)) != text.substr(dot + 1))
    return broken();
  const auto body = from_url(std::string{text.substr(0, dot)});
  const auto all = json::parse(body.value_or(""), nullptr, false);
  if (!all.is_object() || !is_key(all, "server") || !is_key(all, "public")
      || !is_key(all, "secret") || !all.contains("cluster")
      || !all["cluster"].is_string() || !all.contains("expires_ms")
      || !all["expires_ms"].is_number_integer())
    return broken();
  join_token out;
  out.cluster = all["cluster"].get<std::string>();
  out.server_key = all["server"].get<std::string>();
  out.key.public_key = all["public"].get<std::string>();
  out.key.secret_key = all["secret"].get<std::string>();
  out.expires_ms = all["expires_ms"].get<std::int64_t>();
  if (!is_uuid(out.cluster))
    return broken();
  return out;
}

result<void> check_join_ttl(std::chrono::milliseconds ttl) {
  if (ttl >= join_ttl_min && ttl <= join_ttl_max)
    return {};
  return fail(ec::bad_request, "a join token lives from "
                                   + format_duration(join_ttl_min) + " to "
                                   + format_duration(join_ttl_max));
}

std::string utc_text(std::int64_t wall_clock_ms) {
  const auto seconds = static_cast<std::time_t>(wall_clock_ms / 1000);
  std::tm parts{};
  std::array<char, 32> out{};
  ::gmtime_r(&seconds, &parts);
  const auto size =
      std::strftime(out.data(), out.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return {out.data(), size};
}

} // namespace caged
