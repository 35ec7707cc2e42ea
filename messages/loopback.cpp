#include "messages/loopback.hpp"

#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

namespace caged {

namespace {

bool all_digits(std::string_view text) {
  return !text.empty()
         && text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool starts_with_caseless(std::string_view text, std::string_view start) {
  return text.size() >= start.size()
         && ::strncasecmp(text.data(), start.data(), start.size()) == 0;
}

} // namespace

bool is_loopback_address(std::string_view numeric) {
  const std::string text{numeric};
  in_addr four{};
  if (::inet_pton(AF_INET, text.c_str(), &four) == 1)
    return (ntohl(four.s_addr) >> 24U) == 127;
  in6_addr six{};
  if (::inet_pton(AF_INET6, text.c_str(), &six) != 1)
    return false;
  if (IN6_IS_ADDR_V4MAPPED(&six))
    return six.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&six);
}

bool is_loopback_authority(std::string_view host_and_port) {
  auto name = host_and_port;
  if (name.starts_with('[')) {
    const auto end = name.find(']');
    if (end == std::string_view::npos)
      return false;
    const auto rest = name.substr(end + 1);
    if (!rest.empty() && !(rest[0] == ':' && all_digits(rest.substr(1))))
      return false;
    return is_loopback_address(name.substr(1, end - 1));
  }
  if (const auto colon = name.find(':'); colon != std::string_view::npos) {
    if (!all_digits(name.substr(colon + 1)))
      return false;
    name = name.substr(0, colon);
  }
  constexpr std::string_view local = "localhost";
  // inet_pton takes four decimal numbers alone: no "127.1", no "0x7f...".
  return (name.size() == local.size() && starts_with_caseless(name, local))
         || is_loopback_address(name);
}

bool is_loopback_origin(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"})
    if (starts_with_caseless(origin, scheme))
      return is_loopback_authority(origin.substr(scheme.size()));
  return false;
}

} // namespace caged
