#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "messages/client_api.hpp"

/// What the gateway decides from a request's head alone. No sockets here.
namespace caged::gateway_rules {

/// The parts of a head that decide something. Absent: empty.
struct head {
  std::string_view method, target, host, origin, authorization;
  bool has_host = false, has_origin = false;
  /// A header that may be there once is repeated: the two ends of a chain of
  /// proxies would not agree on which one counts.
  bool repeated = false;
};

struct refusal {
  unsigned status = 400;
  std::string text; ///< one sentence and what to do
};

/// Where it listens and who may ask.
struct policy {
  std::string host; ///< numeric
  std::uint16_t port = 0;
  bool loopback = true;
  std::vector<std::string> origins; ///< beside those of loopback
};

/// "127.0.0.1:7480", "[::1]:0". Errors: bad_request (no numeric ADDRESS:PORT;
/// beyond loopback without TLS).
result<policy> make_policy(const std::string& address, bool tls,
                           std::vector<std::string> origins);

/// /v1/sandboxes/REF/mcp, or /v1/mcp (no sandbox), with the query behind it; or
/// /v1/sd/prometheus.
struct place {
  std::string sandbox;
  std::string query;    ///< with "?"; may be empty
  bool targets = false; ///< the last one
};
std::optional<place> parse_target(std::string_view target);

/// Host and Origin, before anything of the request is believed.
std::optional<refusal> check(const policy& by, const head& of);
bool origin_allowed(const policy& by, std::string_view origin);

/// The token of "Bearer TOKEN"; empty: none.
std::string_view bearer_of(std::string_view authorization);

/// Whether this token opens this place.
std::optional<refusal> check_token(const api::token_info& token,
                                   const place& at);

/// Who may read /v1/sd/prometheus, and how: on loopback everybody, as the
/// metrics themselves; elsewhere who has a token that may read. `token` is the
/// bearer's, where it is valid.
std::optional<refusal>
check_targets(const policy& by, std::string_view method,
              const std::optional<api::token_info>& token);

/// Session ids of /v1/mcp name the sandbox: "cage-abc12345.ID".
std::string join_session(const std::string& sandbox, std::string_view inner);
std::optional<std::pair<std::string, std::string>>
split_session(std::string_view id);

/// The value of one parameter of a query ("?a=1&b=2"); nothing is decoded.
std::string_view parameter(std::string_view query, std::string_view name);

/// Status for an error of the node.
unsigned status_of(ec code) noexcept;

} // namespace caged::gateway_rules
