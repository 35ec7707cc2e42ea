#include "mcp/web_rules.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

#include <arpa/inet.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

bool starts_with(std::string_view text, std::string_view with) {
  return text.size() >= with.size() && same(text.substr(0, with.size()), with);
}

std::string_view trim(std::string_view text) {
  const auto from = text.find_first_not_of(" \t");
  if (from == std::string_view::npos)
    return {};
  return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

/// Cuts the part before `at` off the front of `rest`.
std::string_view next(std::string_view& rest, char at) {
  const auto end = rest.find(at);
  const auto part = rest.substr(0, end);
  rest =
      end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
  return trim(part);
}

bool all_digits(std::string_view text) {
  return !text.empty()
         && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// What messages of clients are quoted with: short, without control characters.
std::string shown(std::string_view text) {
  return quoted(text.substr(0, 80));
}

} // namespace

result<web_policy> make_policy(const server_config& config) {
  web_policy out;
  out.token = config.token;
  out.origins = config.allowed_origins;
  if (!config.socket.empty()) {
    // Whoever may open the path is trusted; a proxy in front of it may not let
    // web pages of other names through.
    out.address = "localhost";
    out.loopback = true;
    return out;
  }
  out.address = config.host;
  if (same(out.address, "localhost"))
    out.address = "127.0.0.1";
  if (out.address.size() > 1 && out.address.front() == '['
      && out.address.back() == ']')
    out.address = out.address.substr(1, out.address.size() - 2);
  in6_addr any{};
  if (::inet_pton(AF_INET, out.address.c_str(), &any) != 1
      && ::inet_pton(AF_INET6, out.address.c_str(), &any) != 1)
    return fail(ec::bad_request,
                "host " + shown(config.host) + " is not a numeric address",
                "give an address of this machine, such as 127.0.0.1 or ::1");
  out.loopback = is_loopback_address(out.address);
  if (config.token && config.token->empty())
    return fail(ec::bad_request, "the token is empty",
                "put at least one character into the token file");
  if (!out.loopback && !config.token)
    return fail(ec::bad_request,
                "host " + out.address
                    + " is reachable from other machines and no token is set",
                "give --token-file, or listen on 127.0.0.1");
  return out;
}

bool origin_allowed(const web_policy& policy, std::string_view origin) {
  return is_loopback_origin(origin)
         || std::any_of(policy.origins.begin(), policy.origins.end(),
                        [&](const auto& each) { return same(each, origin); });
}

bool token_matches(std::string_view authorization, std::string_view token) {
  constexpr std::string_view scheme = "Bearer ";
  if (!starts_with(authorization, scheme) || token.empty())
    return false;
  const auto offered = trim(authorization.substr(scheme.size()));
  // Every offered byte is looked at, whatever the first difference.
  std::size_t difference = offered.size() ^ token.size();
  for (std::size_t i = 0; i < offered.size(); ++i)
    difference |= static_cast<unsigned char>(
        static_cast<unsigned char>(offered[i])
        ^ static_cast<unsigned char>(token[i % token.size()]));
  return difference == 0;
}

bool is_endpoint(std::string_view target) {
  const auto path = target.substr(0, target.find('?'));
  return path == "/" || path == "/mcp";
}

std::optional<web_refusal> check_head(const web_policy& policy,
                                      const web_head& head) {
  if (head.repeated)
    return web_refusal{400, "a header that may be there once is repeated"};
  if (!head.has_host && !head.http_1_0)
    return web_refusal{400, "the Host header is missing"};
  // A page whose name was made to resolve to this machine sends its own name:
  // DNS rebinding. HTTP/1.0 without Host is no browser.
  if (policy.loopback && head.has_host && !is_loopback_authority(head.host))
    return web_refusal{403, "Host " + shown(head.host)
                                + " is not this machine: use localhost or "
                                + policy.address};
  if (head.has_origin && !origin_allowed(policy, head.origin))
    return web_refusal{403, "Origin " + shown(head.origin)
                                + " is not allowed: --allowed-origins adds it"};
  // The preflight of a browser cannot carry a token (Fetch, "CORS protocol").
  if (policy.token && head.method != "OPTIONS"
      && !token_matches(head.authorization, *policy.token))
    return web_refusal{401, "a bearer token is required: send Authorization: "
                            "Bearer with the text of the token file"};
  if (!is_endpoint(head.target))
    return web_refusal{404, "there is nothing at this path: the endpoint is "
                            "/mcp"};
  return std::nullopt;
}

bool accepts(std::string_view accept, std::string_view type) {
  if (trim(accept).empty())
    return true;
  const auto family = type.substr(0, type.find('/') + 1);
  bool taken = false;
  while (!accept.empty()) {
    auto item = next(accept, ',');
    const auto range = next(item, ';');
    bool refused = false;
    while (!item.empty()) {
      const auto parameter = next(item, ';');
      if (starts_with(parameter, "q=")) {
        const auto q = parameter.substr(2);
        refused = q.find_first_not_of("0.") == std::string_view::npos;
      }
    }
    if (same(range, type)) {
      // The exact range is the most specific one: it decides.
      return !refused;
    }
    if (range == "*/*"
        || (range.size() == family.size() + 1 && range.back() == '*'
            && starts_with(range, family)))
      taken = taken || !refused;
  }
  return taken;
}

bool is_json(std::string_view content_type) {
  if (!same(next(content_type, ';'), "application/json"))
    return false;
  while (!content_type.empty()) {
    const auto parameter = next(content_type, ';');
    if (starts_with(parameter, "charset=")) {
      auto charset = parameter.substr(8);
      if (charset.size() > 1 && charset.front() == '"' && charset.back() == '"')
        charset = charset.substr(1, charset.size() - 2);
      if (!same(charset, "utf-8") && !same(charset, "utf8")
          && !same(charset, "us-ascii"))
        return false;
    }
  }
  return true;
}

bool lists(std::string_view list, std::string_view item) {
  while (!list.empty())
    if (same(next(list, ','), item))
      return true;
  return false;
}

std::optional<std::string> decode_header(std::string_view value) {
  for (const auto c : value)
    if (c != '\t' && (c < 0x20 || c > 0x7e))
      return std::nullopt;
  constexpr std::string_view open = "=?base64?";
  constexpr std::string_view shut = "?=";
  if (value.size() < open.size() + shut.size() || !value.starts_with(open)
      || !value.ends_with(shut))
    return std::string{value};
  value.remove_prefix(open.size());
  value.remove_suffix(shut.size());
  auto bytes = base64_decode(value);
  if (!bytes)
    return std::nullopt;
  return std::move(*bytes);
}

namespace {

const json* member(const json& object, const char* name) {
  if (!object.is_object())
    return nullptr;
  const auto at = object.find(name);
  return at == object.end() ? nullptr : &*at;
}

rpc_refusal mismatch(std::string text) {
  return {rpc_code::header_mismatch, "Header mismatch: " + std::move(text)};
}

} // namespace

std::optional<rpc_refusal> check_mirrored(const web_head& head,
                                          const incoming& request,
                                          std::string_view version) {
  if (head.protocol_version.empty())
    return mismatch("the MCP-Protocol-Version header is missing, the body says "
                    + shown(version));
  if (head.protocol_version != version)
    return mismatch("MCP-Protocol-Version says " + shown(head.protocol_version)
                    + ", the body says " + shown(version));
  if (head.method_name.empty())
    return mismatch("the Mcp-Method header is missing, the body says "
                    + shown(request.method));
  if (head.method_name != request.method)
    return mismatch("Mcp-Method says " + shown(head.method_name)
                    + ", the body says " + shown(request.method));
  const char* source = nullptr;
  if (request.method == "tools/call" || request.method == "prompts/get")
    source = "name";
  else if (request.method == "resources/read")
    source = "uri";
  if (source == nullptr)
    return std::nullopt;
  const auto* value = member(request.params, source);
  if (value == nullptr || !value->is_string()) {
    // The request is wrong in itself, which its answer says better.
    return std::nullopt;
  }
  if (!head.has_name)
    return mismatch("the Mcp-Name header is missing, params."
                    + std::string{source} + " says "
                    + shown(value->get_ref<const std::string&>()));
  const auto name = decode_header(head.name);
  if (!name)
    return mismatch("Mcp-Name is neither plain ASCII nor =?base64?...?=");
  if (*name != value->get_ref<const std::string&>())
    return mismatch("Mcp-Name says " + shown(*name) + ", params."
                    + std::string{source} + " says "
                    + shown(value->get_ref<const std::string&>()));
  return std::nullopt;
}

bool lacks_meta(const incoming& request) {
  const auto* meta = member(request.params, "_meta");
  if (meta == nullptr)
    return true;
  const auto* version =
      member(*meta, "io.modelcontextprotocol/protocolVersion");
  const auto* can = member(*meta, "io.modelcontextprotocol/clientCapabilities");
  return version == nullptr || !version->is_string() || can == nullptr
         || !can->is_object();
}

unsigned status_of(std::string_view answer, bool modern, bool meta_lacking) {
  // A result may be large and is never looked into: errors are short, and every
  // one has this member.
  constexpr std::size_t most_error = 16U << 10U;
  if (answer.size() > most_error
      || answer.find("\"error\"") == std::string_view::npos)
    return 200;
  const auto parsed = json::parse(answer, nullptr, false);
  const auto* error = member(parsed, "error");
  if (error == nullptr)
    return 200;
  const auto* id = member(parsed, "id");
  if (id == nullptr || id->is_null())
    return 400;
  if (!modern)
    return 200;
  const auto* code = member(*error, "code");
  if (code == nullptr || !code->is_number_integer())
    return 200;
  switch (code->get<int>()) {
  case rpc_code::method_not_found:
    return 404;
  case rpc_code::header_mismatch:
  case rpc_code::missing_capability:
  case rpc_code::unsupported_version:
    return 400;
  case rpc_code::invalid_params:
    return meta_lacking ? 400 : 200;
  default:
    return 200;
  }
}

std::optional<event_id> parse_event_id(std::string_view text) {
  event_id out;
  const auto dash = text.find('-');
  if (dash == std::string_view::npos)
    return std::nullopt;
  const auto read = [](std::string_view part, std::uint64_t& to) {
    const auto* end = part.data() + part.size();
    const auto done = std::from_chars(part.data(), end, to);
    return all_digits(part) && done.ec == std::errc{} && done.ptr == end;
  };
  if (!read(text.substr(0, dash), out.stream)
      || !read(text.substr(dash + 1), out.number))
    return std::nullopt;
  return out;
}

void append_event(std::string& out, const event_id* id, std::string_view data) {
  if (id != nullptr)
    out += "id: " + std::to_string(id->stream) + '-'
           + std::to_string(id->number) + '\n';
  out += "event: message\ndata: ";
  out += data;
  out += "\n\n";
}

void append_chunk(std::string& out, std::string_view bytes) {
  std::array<char, 20> size{};
  const auto end =
      std::to_chars(size.data(), size.data() + size.size(), bytes.size(), 16);
  out.append(size.data(), end.ptr);
  out += "\r\n";
  out += bytes;
  out += "\r\n";
}

namespace {

std::string_view reason(unsigned status) {
  switch (status) {
  case 200:
    return "OK";
  case 202:
    return "Accepted";
  case 204:
    return "No Content";
  case 400:
    return "Bad Request";
  case 401:
    return "Unauthorized";
  case 403:
    return "Forbidden";
  case 404:
    return "Not Found";
  case 405:
    return "Method Not Allowed";
  case 406:
    return "Not Acceptable";
  case 408:
    return "Request Timeout";
  case 413:
    return "Content Too Large";
  case 415:
    return "Unsupported Media Type";
  case 426:
    return "Upgrade Required";
  case 431:
    return "Request Header Fields Too Large";
  case 503:
    return "Service Unavailable";
  default:
    return "Error";
  }
}

/// RFC 9110, 5.6.7; made once a second.
std::string_view http_date() {
  thread_local std::time_t made = -1;
  thread_local std::array<char, 40> text{};
  thread_local std::size_t size = 0;
  const auto now = std::time(nullptr);
  if (now != made) {
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    // Names in English: the program never calls setlocale.
    size = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT",
                         &parts);
    made = now;
  }
  return {text.data(), size};
}

} // namespace

void append_field(std::string& head, std::string_view name,
                  std::string_view value) {
  head += name;
  head += ": ";
  head += value;
  head += "\r\n";
}

std::string response_head(const response_shape& shape) {
  std::string out;
  out.reserve(320);
  out += shape.http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ";
  out += std::to_string(shape.status);
  out += ' ';
  out += reason(shape.status);
  out += "\r\n";
  append_field(out, "Date", http_date());
  append_field(out, "Cache-Control",
               shape.type == "text/event-stream" ? "no-cache, no-transform"
                                                 : "no-store");
  append_field(out, "X-Content-Type-Options", "nosniff");
  if (!shape.type.empty())
    append_field(out, "Content-Type", shape.type);
  if (shape.length) {
    if (shape.status != 204)
      append_field(out, "Content-Length", std::to_string(*shape.length));
  } else {
    if (!shape.http_1_0)
      append_field(out, "Transfer-Encoding", "chunked");
    append_field(out, "X-Accel-Buffering", "no");
  }
  if (!shape.keep_alive)
    append_field(out, "Connection", "close");
  else if (shape.http_1_0)
    append_field(out, "Connection", "keep-alive");
  return out;
}

} // namespace caged::mcp
