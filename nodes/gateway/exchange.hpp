#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>

#include "nodes/gateway/connection.hpp"
#include "nodes/gateway/signal.hpp"

namespace caged::gateway_parts {

namespace beast = boost::beast;
namespace http = beast::http;
namespace rules = gateway_rules;
using boost::system::error_code;

inline std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}
bool is_upgrade(const http::request_header<>& from);

/// The client is gone or was sent away: its coroutine ends.
struct hang_up {};

/// What one client asks, whatever it comes over: requests one after the other,
/// each let in or refused (exchange_admit.cpp) and passed on to the MCP server
/// that its token opens, with the answer on its way back (exchange.cpp). After
/// an upgrade bytes go both ways. I/O thread alone.
class exchange : public connection,
                 public std::enable_shared_from_this<exchange> {
public:
  exchange(shared& with, bool crowded)
      : with_{with}, crowded_{crowded}, changed_{with.io}, room_{with.io} {}

  const std::string& token() const override { return token_.id; }

protected:
  using request_parser = http::request_parser<http::buffer_body>;
  using response_parser = http::response_parser<http::buffer_body>;
  using seconds = std::chrono::seconds;

  /// Bytes that a client may send ahead of what is done with them.
  static constexpr std::size_t ahead_most = 64U << 10U;
  static constexpr std::size_t piece = 16U << 10U;
  static constexpr seconds head_time{5}, stall_time{30};

  /// Everything to the client. Throws hang_up, or what the socket says.
  virtual net::awaitable<void> send(std::string_view bytes) = 0;

  /// One request and its answer. False: the connection ends.
  net::awaitable<bool> serve();
  void taken(std::size_t bytes);
  /// In a tunnel: what the client sends goes on as far as there is room.
  void pump();

  /// Until something is so.
  template <class What>
  net::awaitable<void> until(What what) {
    while (!what()) {
      if (killed_ || left_)
        throw hang_up{};
      co_await changed_.wait();
    }
  }

  shared& with_;
  const bool crowded_;
  signal changed_, room_;
  bool killed_ = false, left_ = false, tunnel_ = false;
  std::string in_; ///< from the client, not yet used
  std::optional<steady::time_point> deadline_;
  std::shared_ptr<upstream> up_;

private:
  // exchange_admit.cpp
  net::awaitable<bool> admit(const http::request_header<>& request);
  bool may(const rules::head& head);
  void dial(const std::string& key, const api::mcp_target& target);
  std::shared_ptr<upstream> make_upstream();
  void refuse_for(const failure& why);
  net::awaitable<void> ask(api::request_body& body);
  const sandbox_info* found() const;
  bool no_session();
  net::awaitable<bool> sandbox_of_session(const http::request_header<>& request,
                                          api::mcp_target& target);
  bool is_ours(const sandbox_info* one) const;
  net::awaitable<bool> known_sandbox();

  // exchange.cpp
  net::awaitable<void> pass_head(const http::request_header<>& from,
                                 bool upgrade);
  net::awaitable<void> pass_up(std::string& bytes);
  net::awaitable<void> pass_body(request_parser& parser);
  net::awaitable<bool> response_head(response_parser& parser);
  void from_up(std::size_t bytes);
  net::awaitable<bool> pass_response(bool upgrade);
  net::awaitable<void> pass_content(response_parser& parser, bool chunked);
  net::awaitable<void> tunnel();
  void allow_origin(http::response_header<>& out);
  void misread(error_code why);
  net::awaitable<bool> refuse();
  net::awaitable<bool> preflight(bool complete);
  net::awaitable<bool> send_targets(bool complete, bool head);

  unsigned served_ = 0;

  // The request.
  bool keep_ = false, http_1_0_ = false, chunked_up_ = false;
  bool own_sandbox_ = false; ///< it came to /v1/mcp
  bool targets_ = false;     ///< it came to /v1/sd/prometheus
  std::string cors_;         ///< its Origin, when it is allowed
  std::string query_;
  api::token_info token_;
  rules::refusal refusal_;

  std::string up_key_, sandbox_; ///< where up_ goes
  std::string wanted_;           ///< sandbox of this request
  result<api::reply_body> answered_;
};

} // namespace caged::gateway_parts
