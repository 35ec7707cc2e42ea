#include "nodes/gateway/rules.hpp"

#include <algorithm>
#include <charconv>

#include <arpa/inet.h>
#include <strings.h>

#include "messages/loopback.hpp"
#include "messages/sandbox.hpp"
#include "messages/text.hpp"

namespace caged::gateway_rules {

namespace {

std::string shown(std::string_view text) {
  constexpr std::size_t most = 80;
  return caged::quoted(text.substr(0, most));
}

bool is_numeric(const std::string& host) {
  in_addr four{};
  in6_addr six{};
  return ::inet_pton(AF_INET, host.c_str(), &four) == 1
         || ::inet_pton(AF_INET6, host.c_str(), &six) == 1;
}

} // namespace

result<policy> make_policy(const std::string& address, bool tls,
                           std::vector<std::string> origins) {
  policy out;
  out.origins = std::move(origins);
  const auto colon = address.rfind(':');
  const auto port =
      colon == std::string::npos ? std::string{} : address.substr(colon + 1);
  out.host = address.substr(0, colon);
  if (out.host.size() > 1 && out.host.front() == '[' && out.host.back() == ']')
    out.host = out.host.substr(1, out.host.size() - 2);
  const auto* end = port.data() + port.size();
  const auto [at, error] = std::from_chars(port.data(), end, out.port);
  if (error != std::errc{} || at != end || !is_numeric(out.host))
    return fail(ec::bad_request,
                "the gateway address " + caged::quoted(address)
                    + " is not a numeric ADDRESS:PORT",
                "give --gateway-address 127.0.0.1:7480, or off");
  out.loopback = is_loopback_address(out.host);
  if (!out.loopback && !tls)
    return fail(ec::bad_request,
                "the gateway address " + address
                    + " can be reached from other hosts, which needs TLS",
                "give --gateway-cert and --gateway-key, or listen on "
                "127.0.0.1");
  return out;
}

std::optional<place> parse_target(std::string_view target) {
  constexpr std::string_view plain = "/v1/mcp";
  constexpr std::string_view discovery = "/v1/sd/prometheus";
  constexpr std::string_view before = "/v1/sandboxes/";
  constexpr std::string_view behind = "/mcp";
  const auto path = target.substr(0, target.find('?'));
  place out;
  out.query = target.substr(path.size());
  out.targets = path == discovery;
  if (path == plain || out.targets)
    return out;
  if (!path.starts_with(before) || !path.ends_with(behind)
      || path.size() <= before.size() + behind.size())
    return std::nullopt;
  out.sandbox =
      path.substr(before.size(), path.size() - before.size() - behind.size());
  if (!is_valid_name(out.sandbox)) // ids have that form, too
    return std::nullopt;
  return out;
}

bool origin_allowed(const policy& by, std::string_view origin) {
  return is_loopback_origin(origin)
         || std::any_of(by.origins.begin(), by.origins.end(),
                        [&](const std::string& each) {
                          return each.size() == origin.size()
                                 && ::strncasecmp(each.data(), origin.data(),
                                                  each.size())
                                        == 0;
                        });
}

std::optional<refusal> check(const policy& by, const head& of) {
  if (of.repeated)
    return refusal{400, "a header that may be there once is repeated"};
  if (!of.has_host)
    return refusal{400, "the Host header is missing"};
  // A page whose name was made to resolve to this machine sends its own name
  // (DNS rebinding).
  if (by.loopback && !is_loopback_authority(of.host))
    return refusal{403, "Host " + shown(of.host)
                            + " is not this machine: use localhost or "
                            + by.host};
  if (of.has_origin && !origin_allowed(by, of.origin))
    return refusal{403, "Origin " + shown(of.origin)
                            + " is not allowed: --gateway-origins adds it"};
  return std::nullopt;
}

std::string_view bearer_of(std::string_view authorization) {
  constexpr std::string_view scheme = "Bearer ";
  if (authorization.size() < scheme.size()
      || ::strncasecmp(authorization.data(), scheme.data(), scheme.size()) != 0)
    return {};
  auto token = authorization.substr(scheme.size());
  while (token.starts_with(' '))
    token.remove_prefix(1);
  while (token.ends_with(' '))
    token.remove_suffix(1);
  return token;
}

std::optional<refusal> check_token(const api::token_info& token,
                                   const place& at) {
  if (at.sandbox.empty() && token.template_name.empty())
    return refusal{403, "this token is for sandbox " + token.sandbox
                            + ": use /v1/sandboxes/" + token.sandbox + "/mcp"};
  if (!at.sandbox.empty() && !token.template_name.empty())
    return refusal{403, "this token is for sandboxes of its own of template "
                            + token.template_name + ": use /v1/mcp"};
  if (!at.sandbox.empty() && at.sandbox != token.sandbox)
    return refusal{403, "this token is not for sandbox " + shown(at.sandbox)
                            + " but for " + token.sandbox
                            + ": the path names its id"};
  return std::nullopt;
}

std::optional<refusal>
check_targets(const policy& by, std::string_view method,
              const std::optional<api::token_info>& token) {
  if (!by.loopback && !token)
    return refusal{401, "a token that is valid is required here: send "
                        "Authorization: Bearer with what caged token create "
                        "--scope read printed"};
  if (!by.loopback && token->scope != api::token_scope::read)
    return refusal{403, "this token is for MCP sessions that change things: "
                        "make one with caged token create --scope read"};
  if (method != "GET" && method != "HEAD")
    return refusal{405, "this is read with GET"};
  return std::nullopt;
}

std::string join_session(const std::string& sandbox, std::string_view inner) {
  return sandbox + "." + std::string{inner};
}

std::optional<std::pair<std::string, std::string>>
split_session(std::string_view id) {
  const auto dot = id.find('.');
  if (dot == std::string_view::npos || dot + 1 == id.size())
    return std::nullopt;
  std::string sandbox{id.substr(0, dot)};
  if (!is_valid_id(sandbox))
    return std::nullopt;
  return std::pair{std::move(sandbox), std::string{id.substr(dot + 1)}};
}

std::string_view parameter(std::string_view query, std::string_view name) {
  if (query.starts_with('?'))
    query.remove_prefix(1);
  while (!query.empty()) {
    const auto end = query.find('&');
    const auto part = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view{}
                                          : query.substr(end + 1);
    if (part.size() > name.size() && part.starts_with(name)
        && part[name.size()] == '=')
      return part.substr(name.size() + 1);
  }
  return {};
}

unsigned status_of(ec code) noexcept {
  switch (code) {
  case ec::not_found:
    return 404;
  case ec::denied:
    return 403;
  case ec::wrong_state:
  case ec::conflict:
    return 409;
  case ec::too_large:
  case ec::no_capacity:
  case ec::unavailable:
  case ec::shutting_down:
  case ec::agent_lost:
    return 503;
  case ec::timeout:
    return 504;
  case ec::unsupported:
    return 501;
  case ec::bad_request:
    return 400;
  default:
    return 502;
  }
}

} // namespace caged::gateway_rules
