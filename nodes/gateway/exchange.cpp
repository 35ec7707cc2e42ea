#include "nodes/gateway/exchange.hpp"

#include <algorithm>
#include <array>
#include <sstream>
#include <utility>

#include <boost/asio/buffers_iterator.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <nlohmann/json.hpp>

#include "messages/text.hpp"

// Requests on their way to an MCP server, and what comes back.
namespace caged::gateway_parts {

namespace {

constexpr std::uint32_t head_most = 16U << 10U;
/// One JSON-RPC message; the MCP server takes no longer one.
constexpr std::uint64_t body_most = 24U << 20U;
constexpr std::chrono::seconds idle_time{60}, body_time{60};

/// What a proxy does not pass on (RFC 9110, 7.6.1), and what is not the
/// sandbox's business.
bool stays_here(const http::fields::value_type& field) {
  switch (field.name()) {
  case http::field::connection:
  case http::field::keep_alive:
  case http::field::proxy_authorization:
  case http::field::proxy_connection:
  case http::field::te:
  case http::field::trailer:
  case http::field::transfer_encoding:
  case http::field::upgrade:
  case http::field::expect:
  case http::field::host:
  case http::field::origin:
  case http::field::authorization:
  case http::field::cookie:
    return true;
  default:
    return view(field.name_string()).starts_with("X-Forwarded-");
  }
}

template <class Header>
std::string text_of(const Header& header) {
  std::ostringstream out;
  out << header;
  return std::move(out).str();
}

std::string chunk_of(std::string_view bytes) {
  const auto parts =
      http::make_chunk(net::const_buffer{bytes.data(), bytes.size()});
  return {net::buffers_begin(parts), net::buffers_end(parts)};
}

std::string last_chunk() {
  const auto parts = http::make_chunk_last();
  return {net::buffers_begin(parts), net::buffers_end(parts)};
}

} // namespace

bool is_upgrade(const http::request_header<>& from) {
  return beast::websocket::is_upgrade(http::request<http::empty_body>{from});
}

void exchange::taken(std::size_t bytes) {
  in_.erase(0, bytes);
  room_.notify();
}

void exchange::pump() {
  if (!tunnel_ || !up_)
    return;
  const auto before = in_.size();
  up_->write(in_);
  if (in_.size() != before)
    room_.notify();
}

/// False: the connection ends.
net::awaitable<bool> exchange::serve() {
  request_parser parser;
  parser.header_limit(head_most);
  parser.body_limit(body_most);
  deadline_ = steady::now() + (served_++ == 0 ? head_time : idle_time);
  co_await until([&] { return !in_.empty(); });
  deadline_ = steady::now() + head_time;
  for (std::size_t seen = 0; !parser.is_header_done();) {
    co_await until([&] { return in_.size() > seen; });
    error_code why;
    const auto used = parser.put(net::buffer(in_), why);
    taken(used);
    seen = in_.size();
    if (why && why != http::error::need_more) {
      misread(why);
      co_return co_await refuse();
    }
  }
  const auto& request = parser.get();
  keep_ = request.keep_alive();
  http_1_0_ = request.version() < 11;
  const bool admitted = co_await admit(request);
  if (!admitted) {
    // What is left of the request is not read as the next one.
    keep_ = keep_ && parser.is_done();
    co_return co_await refuse();
  }
  if (request.method() == http::verb::options)
    co_return co_await preflight(parser.is_done());
  if (targets_)
    co_return co_await send_targets(parser.is_done(),
                                    request.method() == http::verb::head);
  const auto upgrade = is_upgrade(request.base());
  deadline_ = steady::now() + body_time;
  co_await pass_head(request, upgrade);
  co_await pass_body(parser);
  deadline_.reset();
  co_return co_await pass_response(upgrade);
}

// To the server.

net::awaitable<void> exchange::pass_head(const http::request_header<>& from,
                                         bool upgrade) {
  http::request<http::empty_body> out;
  out.method_string(from.method_string());
  out.target("/mcp" + query_);
  out.version(11);
  for (const auto& field : from)
    if (!stays_here(field))
      out.insert(field.name(), field.name_string(), field.value());
  out.set(http::field::host, "localhost");
  if (own_sandbox_)
    if (const auto parts = rules::split_session(view(from["Mcp-Session-Id"])))
      out.set("Mcp-Session-Id", parts->second);
  chunked_up_ = from.find(http::field::transfer_encoding) != from.end();
  if (chunked_up_)
    out.set(http::field::transfer_encoding, "chunked");
  if (upgrade) {
    out.set(http::field::connection, "Upgrade");
    out.set(http::field::upgrade, "websocket");
  }
  if (beast::iequals(from[http::field::expect], "100-continue"))
    co_await send("HTTP/1.1 100 Continue\r\n\r\n");
  std::string text = text_of(out.base());
  co_await pass_up(text);
}

/// As much as it takes: a server that has answered and closed takes no more.
net::awaitable<void> exchange::pass_up(std::string& bytes) {
  for (;;) {
    up_->write(bytes);
    if (bytes.empty() || up_->ended())
      co_return;
    co_await until([&, left = up_->credit_left()] {
      return up_->ended() || up_->credit_left() != left;
    });
  }
}

net::awaitable<void> exchange::pass_body(request_parser& parser) {
  std::array<char, piece> some{};
  while (!parser.is_done()) {
    auto& body = parser.get().body();
    body.data = some.data();
    body.size = some.size();
    body.more = true;
    error_code why;
    const auto used = parser.put(net::buffer(in_), why);
    taken(used);
    if (why && why != http::error::need_more && why != http::error::need_buffer)
      throw hang_up{}; // no request any more: nothing can be said
    const auto size = some.size() - body.size;
    if (size > 0) {
      const std::string_view bytes{some.data(), size};
      std::string text = chunked_up_ ? chunk_of(bytes) : std::string{bytes};
      co_await pass_up(text);
    } else if (used == 0 && !parser.is_done()) {
      co_await until([&, had = in_.size()] { return in_.size() > had; });
    }
  }
  if (chunked_up_) {
    std::string text = last_chunk();
    co_await pass_up(text);
  }
}

// To the client.

/// Reads from the server until the head is there. False: it ended before.
net::awaitable<bool> exchange::response_head(response_parser& parser) {
  for (std::size_t seen = 0; !parser.is_header_done();) {
    co_await until([&] { return up_->in.size() > seen || up_->ended(); });
    if (up_->in.size() == seen)
      co_return false;
    error_code why;
    const auto used = parser.put(net::buffer(up_->in), why);
    from_up(used);
    seen = up_->in.size();
    if (why && why != http::error::need_more)
      co_return false;
  }
  co_return true;
}

void exchange::from_up(std::size_t bytes) {
  up_->in.erase(0, bytes);
  up_->consumed(bytes);
}

net::awaitable<bool> exchange::pass_response(bool upgrade) {
  response_parser parser;
  parser.header_limit(head_most);
  parser.body_limit(boost::none);
  const bool answered = co_await response_head(parser);
  if (!answered) {
    refusal_ = {502, "the MCP server ended before it answered: try again"};
    co_return co_await refuse();
  }
  const auto& from = parser.get();
  with_.metrics->gateway_request(from.result_int());
  http::response<http::empty_body> out;
  out.result(from.result_int());
  out.version(http_1_0_ ? 10 : 11);
  for (const auto& field : from)
    if (!stays_here(field))
      out.insert(field.name(), field.name_string(), field.value());
  if (own_sandbox_ && from.find("Mcp-Session-Id") != from.end()
      && from.result() != http::status::switching_protocols)
    out.set("Mcp-Session-Id",
            rules::join_session(sandbox_, view(from["Mcp-Session-Id"])));
  allow_origin(out);
  if (from.result() == http::status::switching_protocols && upgrade) {
    out.set(http::field::connection, "Upgrade");
    out.set(http::field::upgrade, "websocket");
    const std::string text = text_of(out.base());
    co_await send(text);
    co_await tunnel();
    co_return false;
  }
  const auto chunked = parser.chunked();
  if (chunked && !http_1_0_)
    out.set(http::field::transfer_encoding, "chunked");
  if (chunked && http_1_0_)
    keep_ = false;
  // It wants to close: then its answer may have no length but its end.
  const auto ends = !from.keep_alive();
  keep_ = keep_ && !ends;
  out.keep_alive(keep_);
  const std::string text = text_of(out.base());
  co_await send(text);
  co_await pass_content(parser, chunked && !http_1_0_);
  if (ends) {
    up_->close();
    up_.reset();
  }
  co_return keep_;
}

net::awaitable<void> exchange::pass_content(response_parser& parser,
                                            bool chunked) {
  std::array<char, piece> some{};
  while (!parser.is_done()) {
    auto& body = parser.get().body();
    body.data = some.data();
    body.size = some.size();
    body.more = true;
    error_code why;
    const auto used = parser.put(net::buffer(up_->in), why);
    const auto size = some.size() - body.size;
    if (size > 0) {
      const std::string_view bytes{some.data(), size};
      const std::string text = chunked ? chunk_of(bytes) : std::string{bytes};
      co_await send(text);
    }
    from_up(used);
    if (why && why != http::error::need_more && why != http::error::need_buffer)
      throw hang_up{};
    if (size > 0 || used > 0 || parser.is_done())
      continue;
    if (up_->ended())
      throw hang_up{}; // cut off: so is this response
    co_await until([&, had = up_->in.size()] {
      return up_->in.size() > had || up_->ended();
    });
  }
  if (chunked) {
    const std::string text = last_chunk();
    co_await send(text);
  }
}

/// After 101: bytes both ways until either side ends.
net::awaitable<void> exchange::tunnel() {
  tunnel_ = true;
  pump();
  for (;;) {
    co_await until([&] { return !up_->in.empty() || up_->ended(); });
    if (up_->in.empty())
      co_return;
    const auto bytes = std::exchange(up_->in, {});
    co_await send(bytes);
    up_->consumed(bytes.size());
  }
}

// What the gateway says itself.

void exchange::allow_origin(http::response_header<>& out) {
  if (cors_.empty())
    return;
  out.set(http::field::access_control_allow_origin, cors_);
  out.set(http::field::access_control_expose_headers,
          "Mcp-Session-Id, MCP-Protocol-Version");
  out.set(http::field::vary, "Origin");
}

/// Into refusal_.
void exchange::misread(error_code why) {
  keep_ = false;
  http_1_0_ = false;
  cors_.clear();
  if (why == http::error::header_limit)
    refusal_ = {431, "the header block is longer than "
                         + std::to_string(head_most) + " bytes"};
  else if (why == http::error::body_limit)
    refusal_ = {413, "the message is longer than " + std::to_string(body_most)
                         + " bytes"};
  else
    refusal_ = {400, "this is not a request of HTTP: " + why.message()};
}

net::awaitable<bool> exchange::refuse() {
  const auto& why = refusal_;
  with_.metrics->gateway_request(why.status);
  constexpr int invalid_request = -32600; // JSON-RPC 2.0, 5.1
  const auto body = nlohmann::json{{"jsonrpc", "2.0"},
                                   {"id", nullptr},
                                   {"error",
                                    {{"code", invalid_request},
                                     {"message", escape_text(why.text, 1024)}}}}
                        .dump();
  http::response<http::empty_body> out;
  out.result(why.status);
  out.version(http_1_0_ ? 10 : 11);
  out.set(http::field::content_type, "application/json");
  out.set(http::field::cache_control, "no-store");
  if (why.status == 405)
    out.set(http::field::allow, "GET, HEAD");
  if (why.status == 401)
    out.set(http::field::www_authenticate, "Bearer");
  if (why.status == 503)
    out.set(http::field::retry_after, "5");
  out.content_length(body.size());
  out.keep_alive(keep_);
  allow_origin(out);
  const std::string text = text_of(out.base()) + body;
  co_await send(text);
  co_return keep_;
}

/// "The SD endpoint must answer with an HTTP 200 response, with the HTTP Header
/// Content-Type: application/json" (Prometheus, Writing HTTP SD).
net::awaitable<bool> exchange::send_targets(bool complete, bool head) {
  with_.metrics->gateway_request(200);
  keep_ = keep_ && complete;
  const auto body = with_.targets();
  http::response<http::empty_body> out;
  out.result(http::status::ok);
  out.version(http_1_0_ ? 10 : 11);
  out.set(http::field::content_type, "application/json");
  out.set(http::field::cache_control, "no-store");
  out.content_length(body.size());
  out.keep_alive(keep_);
  allow_origin(out);
  const std::string text = text_of(out.base()) + (head ? std::string{} : body);
  co_await send(text);
  co_return keep_;
}

net::awaitable<bool> exchange::preflight(bool complete) {
  with_.metrics->gateway_request(204);
  keep_ = keep_ && complete;
  http::response<http::empty_body> out;
  out.result(http::status::no_content);
  out.version(http_1_0_ ? 10 : 11);
  out.set(http::field::access_control_allow_methods, "GET, POST, DELETE");
  out.set(http::field::access_control_allow_headers,
          "Accept, Authorization, Content-Type, Last-Event-ID, "
          "Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name");
  out.set(http::field::access_control_max_age, "600");
  out.keep_alive(keep_);
  allow_origin(out);
  const std::string text = text_of(out.base());
  co_await send(text);
  co_return keep_;
}

} // namespace caged::gateway_parts
