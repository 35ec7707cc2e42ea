#include "nodes/gateway/connection.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <utility>

#include <boost/asio/buffers_iterator.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <nlohmann/json.hpp>

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"
#include "nodes/gateway/signal.hpp"

namespace caged::gateway_parts {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
namespace rules = gateway_rules;
using boost::system::error_code;
using tcp_socket = net::ip::tcp::socket;
using tls_socket = net::ssl::stream<tcp_socket>;

constexpr std::uint32_t head_most = 16U << 10U;
/// One JSON-RPC message; the MCP server takes no longer one.
constexpr std::uint64_t body_most = 24U << 20U;
/// Bytes that a client may send ahead of what is done with them.
constexpr std::size_t ahead_most = 64U << 10U;
constexpr std::size_t piece = 16U << 10U;
constexpr std::chrono::seconds head_time{5}, idle_time{60}, body_time{60},
    dial_time{40}, sandbox_time{90}, stall_time{30};
constexpr std::string_view first_modern = "2026-07-28";

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

/// The client is gone or was sent away: its coroutine ends.
struct hang_up {};

rules::head head_of(const http::request_header<>& from) {
  rules::head out;
  out.method = view(from.method_string());
  out.target = view(from.target());
  const auto once = [&](http::field name, std::string_view& to) {
    const auto found = from.equal_range(name);
    if (found.first == found.second)
      return false;
    to = view(found.first->value());
    out.repeated = out.repeated || std::next(found.first) != found.second;
    return true;
  };
  out.has_host = once(http::field::host, out.host);
  out.has_origin = once(http::field::origin, out.origin);
  once(http::field::authorization, out.authorization);
  return out;
}

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

bool is_upgrade(const http::request_header<>& from) {
  return beast::websocket::is_upgrade(http::request<http::empty_body>{from});
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

/// One client: requests one after the other, each passed on to the MCP server
/// that its token opens; after an upgrade, bytes both ways.
template <class Stream>
class client final : public connection,
                     public std::enable_shared_from_this<client<Stream>> {
public:
  client(shared& with, Stream stream, bool crowded)
      : with_{with},
        stream_{std::move(stream)},
        crowded_{crowded},
        changed_{with.io},
        room_{with.io} {}

  void start() {
    auto self = this->shared_from_this();
    net::co_spawn(
        with_.io, [self] { return self->run(); }, net::detached);
  }

  void kill() override {
    if (std::exchange(killed_, true))
      return;
    error_code ignored;
    stream_.lowest_layer().close(ignored);
    changed_.notify();
    room_.notify();
  }

  const std::string& token() const override { return token_.id; }

  void tick(steady::time_point now) override {
    if ((deadline_ && now >= *deadline_)
        || (writing_since_ && now - *writing_since_ >= stall_time))
      kill();
  }

private:
  using request_parser = http::request_parser<http::buffer_body>;
  using response_parser = http::response_parser<http::buffer_body>;

  net::awaitable<void> run() {
    try {
      if constexpr (std::is_same_v<Stream, tls_socket>) {
        deadline_ = steady::now() + head_time;
        co_await stream_.async_handshake(net::ssl::stream_base::server,
                                         net::use_awaitable);
      }
      auto self = this->shared_from_this();
      net::co_spawn(
          with_.io, [self] { return self->read(); }, net::detached);
      while (co_await serve()) {
      }
      co_await say_goodbye();
    } catch (const hang_up&) {
    } catch (const std::exception&) {
      // Of the sockets: whatever it was, this client is done with.
    }
    if (up_)
      up_->close();
    kill();
    with_.remove(this);
  }

  /// Reads all the time, as far ahead as there is room, so that an end is
  /// noticed whatever we do.
  net::awaitable<void> read() {
    try {
      std::array<char, piece> some{};
      for (;;) {
        while (in_.size() >= ahead_most && !killed_)
          co_await room_.wait();
        const auto size = co_await stream_.async_read_some(net::buffer(some),
                                                           net::use_awaitable);
        in_.append(some.data(), size);
        pump();
        changed_.notify();
      }
    } catch (const std::exception&) {
      left_ = true;
    }
    changed_.notify();
  }

  void taken(std::size_t bytes) {
    in_.erase(0, bytes);
    room_.notify();
  }

  /// In a tunnel: what the client sends goes on as far as there is room.
  void pump() {
    if (!tunnel_ || !up_)
      return;
    const auto before = in_.size();
    up_->write(in_);
    if (in_.size() != before)
      room_.notify();
  }

  /// Until something is so.
  template <class What>
  net::awaitable<void> until(What what) {
    while (!what()) {
      if (killed_ || left_)
        throw hang_up{};
      co_await changed_.wait();
    }
  }

  net::awaitable<void> send(std::string_view bytes) {
    if (killed_)
      throw hang_up{};
    writing_since_ = steady::now();
    co_await net::async_write(stream_, net::buffer(bytes), net::use_awaitable);
    writing_since_.reset();
  }

  /// So that nothing unread resets the connection before the client has our
  /// last words.
  net::awaitable<void> say_goodbye() {
    deadline_ = steady::now() + std::chrono::seconds{1};
    if constexpr (std::is_same_v<Stream, tls_socket>) {
      error_code ignored;
      co_await stream_.async_shutdown(
          net::redirect_error(net::use_awaitable, ignored));
    }
    error_code ignored;
    stream_.lowest_layer().shutdown(tcp_socket::shutdown_send, ignored);
    for (;;) {
      taken(in_.size());
      co_await until([&] { return !in_.empty(); });
    }
  }

  // Requests.

  /// False: the connection ends.
  net::awaitable<bool> serve() {
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
    const auto head = head_of(request);
    keep_ = request.keep_alive();
    http_1_0_ = request.version() < 11;
    cors_.clear();
    if (head.has_origin && rules::origin_allowed(with_.policy, head.origin))
      cors_ = head.origin;
    const bool admitted = co_await admit(request, head);
    if (!admitted) {
      // What is left of the request is not read as the next one.
      keep_ = keep_ && parser.is_done();
      co_return co_await refuse();
    }
    if (head.method == "OPTIONS")
      co_return co_await preflight(parser.is_done());
    const auto upgrade = is_upgrade(request.base());
    deadline_ = steady::now() + body_time;
    co_await pass_head(request, upgrade);
    co_await pass_body(parser);
    deadline_.reset();
    co_return co_await pass_response(upgrade);
  }

  /// Who may, and on to which server; up_ is open afterwards. False: refusal_.
  net::awaitable<bool> admit(const http::request_header<>& request,
                             const rules::head& head) {
    if (!may(head))
      co_return false;
    if (head.method == "OPTIONS")
      co_return true;
    deadline_ = steady::now() + sandbox_time;
    api::mcp_target target;
    target.key = token_.id;
    target.read_only = token_.scope == api::token_scope::read;
    wanted_ = token_.sandbox;
    own_sandbox_ = !token_.template_name.empty();
    if (own_sandbox_) {
      const bool found = co_await sandbox_of_session(request, target);
      if (!found)
        co_return false;
    }
    const std::string key = wanted_ + ' ' + target.key;
    if (up_ && up_key_ == key && up_->open() && !up_->ended()
        && up_->in.empty())
      co_return true;
    deadline_ = steady::now() + dial_time;
    dial(key, target);
    co_await until([&] { return up_->open() || up_->ended(); });
    if (up_->error()) {
      refuse_for(up_->error()->why);
      co_return false;
    }
    co_return true;
  }

  bool may(const rules::head& head) {
    auto bad = rules::check(with_.policy, head);
    if (!bad && crowded_)
      bad = rules::refusal{503, "there are as many connections as there may "
                                "be: close one or try again later"};
    const auto place = rules::parse_target(head.target);
    // The preflight of a browser cannot carry a token (Fetch, "CORS
    // protocol").
    if (!bad && head.method == "OPTIONS" && place)
      return true;
    std::optional<api::token_info> token;
    if (!bad) {
      token = with_.tokens->find(rules::bearer_of(head.authorization),
                                 wall_clock_ms());
      if (!token)
        bad = rules::refusal{401, "a token that is valid is required: send "
                                  "Authorization: Bearer with what caged "
                                  "token create printed"};
      else if (!place)
        bad = rules::refusal{404, "there is nothing at this path: it is "
                                  "/v1/sandboxes/ID/mcp or /v1/mcp"};
      else
        bad = rules::check_token(*token, *place);
    }
    if (bad) {
      refusal_ = std::move(*bad);
      return false;
    }
    token_ = std::move(*token);
    query_ = place->query;
    return true;
  }

  void dial(const std::string& key, const api::mcp_target& target) {
    if (up_)
      up_->close();
    up_ = make_upstream();
    up_key_ = key;
    sandbox_ = wanted_;
    api::dial what;
    what.sandbox = wanted_;
    what.resume = true;
    what.mcp = target;
    // The token is the permission: its owner may have lost sight of it.
    up_->ask(std::move(what), token_.owner, /*admin*/ true);
  }

  std::shared_ptr<upstream> make_upstream() {
    return std::make_shared<upstream>(with_.node,
                                      [weak = this->weak_from_this()] {
                                        if (const auto self = weak.lock()) {
                                          self->pump();
                                          self->changed_.notify();
                                        }
                                      });
  }

  void refuse_for(const failure& why) {
    refusal_.status = rules::status_of(why.code);
    refusal_.text =
        why.hint.empty() ? why.message : why.message + " (" + why.hint + ")";
  }

  // A sandbox of the session's own.

  /// What comes is in answered_.
  net::awaitable<void> ask(api::request_body& body) {
    const auto question = make_upstream();
    question->ask(std::move(body), token_.owner, /*admin*/ false);
    co_await until([&] { return question->ended(); });
    if (question->error())
      answered_ = tl::unexpected<failure>(question->error()->why);
    else
      answered_ = *question->answer();
  }

  const sandbox_info* found() const {
    const auto* got =
        answered_ ? std::get_if<api::get_reply>(&*answered_) : nullptr;
    const auto* made =
        answered_ ? std::get_if<api::up_reply>(&*answered_) : nullptr;
    return got ? &got->sandbox : made ? &made->sandbox : nullptr;
  }

  bool no_session() {
    refusal_ = {404, "there is no such session, or it ended"};
    return false;
  }

  /// Its id is in wanted_. False: refusal_ says why.
  net::awaitable<bool> sandbox_of_session(const http::request_header<>& request,
                                          api::mcp_target& target) {
    const std::string session{view(request["Mcp-Session-Id"])};
    const auto upgrade = is_upgrade(request);
    if (!session.empty() && !upgrade) {
      const auto parts = rules::split_session(session);
      target.one_session = true;
      if (!parts)
        co_return no_session();
      wanted_ = parts->first;
      co_return co_await known_sandbox();
    }
    // Who sends its revision with each request has no session: its sandbox
    // belongs to the token.
    std::string name = "mcp-" + token_.id.substr(token_.id.find('-') + 1);
    target.one_session =
        upgrade || view(request["MCP-Protocol-Version"]) < first_modern;
    if (target.one_session) {
      constexpr std::size_t enough = 16;
      const auto chosen = rules::parameter(query_, "session");
      name +=
          '-'
          + (chosen.empty() ? random_name(enough)
                            : with_.tokens->digest(chosen).substr(0, enough));
    }
    if (!upgrade && view(request.method_string()) != "POST") {
      refusal_ = {400, "the Mcp-Session-Id header is missing"};
      co_return false;
    }
    api::request_body look = api::get{name};
    co_await ask(look);
    if (!answered_ && answered_.error().code == ec::not_found) {
      api::up wanted;
      wanted.spec.name = name;
      wanted.spec.template_name = token_.template_name;
      wanted.spec.labels[mcp_server::session_label] = token_.id;
      api::request_body make = std::move(wanted);
      co_await ask(make);
      if (!answered_ && answered_.error().code == ec::conflict) {
        look = api::get{name}; // another connection was faster
        co_await ask(look);
      }
    }
    if (!answered_) {
      refuse_for(answered_.error());
      co_return false;
    }
    if (!is_ours(found())) {
      refusal_ = {409, "sandbox " + name + " is in the way: destroy it"};
      co_return false;
    }
    wanted_ = found()->id;
    co_return true;
  }

  /// Whether this token made it.
  bool is_ours(const sandbox_info* one) const {
    if (!one)
      return false;
    const auto at = one->spec.labels.find(mcp_server::session_label);
    return at != one->spec.labels.end() && at->second == token_.id;
  }

  /// One that an earlier request made: it must be this token's.
  net::awaitable<bool> known_sandbox() {
    if (up_ && sandbox_ == wanted_ && !up_->ended())
      co_return true;
    api::request_body look = api::get{wanted_};
    co_await ask(look);
    if (is_ours(found()))
      co_return true;
    co_return no_session();
  }

  // To the server.

  net::awaitable<void> pass_head(const http::request_header<>& from,
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
  net::awaitable<void> pass_up(std::string& bytes) {
    for (;;) {
      up_->write(bytes);
      if (bytes.empty() || up_->ended())
        co_return;
      co_await until([&, left = up_->credit_left()] {
        return up_->ended() || up_->credit_left() != left;
      });
    }
  }

  net::awaitable<void> pass_body(request_parser& parser) {
    std::array<char, piece> some{};
    while (!parser.is_done()) {
      auto& body = parser.get().body();
      body.data = some.data();
      body.size = some.size();
      body.more = true;
      error_code why;
      const auto used = parser.put(net::buffer(in_), why);
      taken(used);
      if (why && why != http::error::need_more
          && why != http::error::need_buffer)
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
  net::awaitable<bool> response_head(response_parser& parser) {
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

  void from_up(std::size_t bytes) {
    up_->in.erase(0, bytes);
    up_->consumed(bytes);
  }

  net::awaitable<bool> pass_response(bool upgrade) {
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

  net::awaitable<void> pass_content(response_parser& parser, bool chunked) {
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
      if (why && why != http::error::need_more
          && why != http::error::need_buffer)
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
  net::awaitable<void> tunnel() {
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

  template <class Response>
  void allow_origin(Response& out) {
    if (cors_.empty())
      return;
    out.set(http::field::access_control_allow_origin, cors_);
    out.set(http::field::access_control_expose_headers,
            "Mcp-Session-Id, MCP-Protocol-Version");
    out.set(http::field::vary, "Origin");
  }

  /// Into refusal_.
  void misread(error_code why) {
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

  net::awaitable<bool> refuse() {
    const auto& why = refusal_;
    with_.metrics->gateway_request(why.status);
    constexpr int invalid_request = -32600; // JSON-RPC 2.0, 5.1
    const auto body =
        nlohmann::json{{"jsonrpc", "2.0"},
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

  net::awaitable<bool> preflight(bool complete) {
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

  shared& with_;
  Stream stream_;
  const bool crowded_;
  signal changed_, room_;
  bool killed_ = false, left_ = false, tunnel_ = false;
  std::string in_; ///< from the client, not yet used
  std::optional<steady::time_point> deadline_, writing_since_;
  unsigned served_ = 0;

  // The request.
  bool keep_ = false, http_1_0_ = false, chunked_up_ = false;
  bool own_sandbox_ = false; ///< it came to /v1/mcp
  std::string cors_;         ///< its Origin, when it is allowed
  std::string query_;
  api::token_info token_;
  rules::refusal refusal_;

  std::shared_ptr<upstream> up_;
  std::string up_key_, sandbox_; ///< where up_ goes
  std::string wanted_;           ///< sandbox of this request
  result<api::reply_body> answered_;
};

template <class Stream>
void launch(shared& with, Stream stream, bool crowded) {
  auto one = std::make_shared<client<Stream>>(with, std::move(stream), crowded);
  with.connections.emplace(one.get(), one);
  with.metrics->gateway_connections(with.connections.size());
  one->start();
}

} // namespace

void start_connection(shared& with, net::ip::tcp::socket socket,
                      net::ssl::context* tls, bool crowded) {
  if (tls != nullptr)
    launch(with, tls_socket{std::move(socket), *tls}, crowded);
  else
    launch(with, std::move(socket), crowded);
}

} // namespace caged::gateway_parts
