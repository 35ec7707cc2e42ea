#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>

#include "mcp/web_context.hpp"

/// What both kinds of connections need of Beast. Each file that includes this
/// takes 40 s to compile: web_http.cpp and web_socket.cpp, nothing else.
namespace caged::mcp {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

inline std::string_view to_view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

struct web_request_head {
  http::request_header<> of;
};

/// The decisive headers; views into `from`.
inline web_head head_of(const http::request_header<>& from) {
  web_head out;
  out.method = to_view(from.method_string());
  out.target = to_view(from.target());
  out.http_1_0 = from.version() < 11;
  const auto once = [&](auto name, std::string_view& to) {
    const auto found = from.equal_range(name);
    if (found.first == found.second)
      return false;
    to = to_view(found.first->value());
    out.repeated = out.repeated || std::next(found.first) != found.second;
    return true;
  };
  out.has_host = once(http::field::host, out.host);
  out.has_origin = once(http::field::origin, out.origin);
  once(http::field::authorization, out.authorization);
  once(http::field::content_type, out.content_type);
  once(http::field::content_encoding, out.content_encoding);
  once("Mcp-Session-Id", out.session_id);
  once("MCP-Protocol-Version", out.protocol_version);
  once("Mcp-Method", out.method_name);
  out.has_name = once("Mcp-Name", out.name);
  out.has_last_event_id = once("Last-Event-ID", out.last_event_id);
  out.accept = to_view(from[http::field::accept]);
  return out;
}

/// What a request that was not understood is answered with.
inline web_refusal refusal_of(error_code why) {
  if (why == http::error::header_limit)
    return {431, "the header block is longer than "
                     + std::to_string(most_head_bytes) + " bytes"};
  if (why == http::error::body_limit)
    return {413, "the message is longer than the server takes"};
  return {400, "this is not a request of HTTP: " + why.message()};
}

} // namespace caged::mcp
