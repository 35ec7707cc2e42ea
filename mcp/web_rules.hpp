#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/config.hpp"
#include "mcp/json_rpc.hpp"
#include "messages/loopback.hpp"

/// What the network transports decide from text alone: who may connect, what a
/// request's head must say, how a response's head looks. No sockets here; any
/// thread.
namespace caged::mcp {

/// A header block of HTTP: 431 beyond.
constexpr std::size_t most_head_bytes = 16U << 10U;

/// The parts of a request's head that decide something. Absent: empty, which no
/// header of these means anything with. Views into the parsed request.
struct web_head {
  std::string_view method, target;
  bool http_1_0 = false;
  /// One of the headers below stood there twice: the two ends of a proxy chain
  /// would not agree on which one counts.
  bool repeated = false;
  bool has_host = false, has_origin = false;
  std::string_view host, origin, authorization;
  std::string_view accept, content_type, content_encoding;
  std::string_view session_id, protocol_version, method_name, name,
      last_event_id;
  bool has_name = false, has_last_event_id = false;
};

/// Why a request is not served.
struct web_refusal {
  unsigned status = 400;
  std::string text; ///< One sentence and what to do.
};

/// Who may connect, worked out once from the configuration.
struct web_policy {
  std::string address;   ///< Numeric, as bound.
  bool loopback = false; ///< Then Host must name this machine.
  std::optional<std::string> token;
  std::vector<std::string> origins; ///< Beside those of loopback.
};

/// Error: bad_request, when the host is no numeric address (names are not
/// resolved: the program is static) or beyond loopback without a token.
result<web_policy> make_policy(const server_config& config);

/// Origin is absent from programs; browsers always send it. "null" is nobody.
bool origin_allowed(const web_policy& policy, std::string_view origin);
/// Constant in the token's bytes: takes as long for any value of one length.
bool token_matches(std::string_view authorization, std::string_view token);

/// "/" and "/mcp", with or without a query; nothing is decoded or normalised.
bool is_endpoint(std::string_view target);
/// Host, Origin, token and path, in this order: a web page learns nothing.
std::optional<web_refusal> check_head(const web_policy& policy,
                                      const web_head& head);

/// Whether an Accept header takes this type (RFC 9110, 12.5.1); no header takes
/// everything.
bool accepts(std::string_view accept, std::string_view type);
/// "application/json", in UTF-8 where it says.
bool is_json(std::string_view content_type);
/// Whether a comma separated list has this item, letter case aside.
bool lists(std::string_view list, std::string_view item);

/// A value of Mcp-Name: "=?base64?...?=" is decoded (2026-07-28,
/// streamable-http, "Value Encoding"). Nothing: not well-formed.
std::optional<std::string> decode_header(std::string_view value);

struct rpc_refusal {
  int code = rpc_code::header_mismatch;
  std::string text;
};
/// 2026-07-28, streamable-http, "Server Validation": the headers of a request
/// against its body, whose version key says `version`.
std::optional<rpc_refusal> check_mirrored(const web_head& head,
                                          const incoming& request,
                                          std::string_view version);
/// Whether params._meta lacks what 2026-07-28 requires (basic/index, "_meta"):
/// such a request is answered with status 400.
bool lacks_meta(const incoming& request);

/// Status of a response that holds this answer alone. Errors without an id were
/// no message at all: 400. 2026-07-28 gives its own errors a status of their
/// own: `modern`.
unsigned status_of(std::string_view answer, bool modern, bool meta_lacking);

/// Reads an event id "STREAM-NUMBER".
struct event_id {
  std::uint64_t stream = 0, number = 0;
  bool operator==(const event_id&) const = default;
};
std::optional<event_id> parse_event_id(std::string_view text);

/// One event of a stream. `id` null: without.
void append_event(std::string& out, const event_id* id, std::string_view data);
/// The same as one chunk (RFC 9112, 7.1).
void append_chunk(std::string& out, std::string_view bytes);

/// Status line and the headers of every response; end it with append_field and
/// an empty line. `length` nothing: chunked, or until the end of the connection
/// (HTTP/1.0).
struct response_shape {
  unsigned status = 200;
  std::string_view type; ///< Content-Type; empty: no body
  std::optional<std::size_t> length;
  bool keep_alive = true;
  bool http_1_0 = false;
};
std::string response_head(const response_shape& shape);
void append_field(std::string& head, std::string_view name,
                  std::string_view value);

} // namespace caged::mcp
