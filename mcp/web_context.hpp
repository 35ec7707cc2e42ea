#pragma once

#include <memory>
#include <unordered_map>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>

#include "mcp/http_sessions.hpp"
#include "mcp/web_budget.hpp"
#include "mcp/web_rules.hpp"
#include "mcp/web_server.hpp"
#include "mcp/ws_sessions.hpp"

/// Between web_server.cpp and the two kinds of connections; all of it belongs
/// to the I/O thread.
namespace caged::mcp {

namespace net = boost::asio;
/// Of TCP or a Unix socket. The executor is named, so that no operation goes
/// through a type-erased one.
using stream_socket = net::basic_stream_socket<net::generic::stream_protocol,
                                               net::io_context::executor_type>;

class web_connection {
public:
  using clock = std::chrono::steady_clock;
  virtual ~web_connection() = default;
  /// Every now and then: closes itself when a deadline has passed.
  virtual void tick(clock::time_point now) = 0;
  /// The server stops: closes itself once its calls are answered.
  virtual void wind_down() = 0;
  /// At once.
  virtual void kill() = 0;
  /// What a server that stops waits for: calls and answers that are not yet
  /// written.
  virtual std::size_t busy() const = 0;
};

/// A request's head as Beast has it, which is not to be included here.
struct web_request_head;

struct web_context {
  web_context(const server_config& c, web_policy p, session_factory f,
              const web_times& t)
      : config{c},
        policy{std::move(p)},
        factory{std::move(f)},
        times{t},
        budget{c.max_message_bytes},
        sessions{budget, c.max_connections},
        resumable{budget, c.max_connections} {}

  const server_config& config;
  const web_policy policy;
  const session_factory factory;
  const web_times times;
  net::io_context io{1};
  web_budget budget;
  http_sessions sessions;
  ws_sessions resumable;
  std::size_t bound_sessions = 0; ///< Of WebSockets, ending with them.
  bool had_session = false;       ///< Of any kind, ever.
  std::unordered_map<web_connection*, std::shared_ptr<web_connection>>
      connections;
  bool stopping = false;

  void add(std::shared_ptr<web_connection> one) {
    auto* key = one.get();
    connections.emplace(key, std::move(one));
    budget.connections(connections.size());
  }
  /// Handlers of the connection may still hold it for a while.
  void remove(web_connection* one) {
    connections.erase(one);
    budget.connections(connections.size());
  }
};

/// Serve one connection, which adds itself to the context. `crowded`: there are
/// as many as there may be, it is told so (503).
void start_web_socket(web_context& context, stream_socket socket, bool crowded);
/// The same for a connection of HTTP whose request, which passed check_head,
/// asks for WebSocket. `read_ahead`: bytes followed it.
void upgrade_to_web_socket(web_context& context, stream_socket socket,
                           web_request_head&& request, bool read_ahead);
void start_http(web_context& context, stream_socket socket, bool crowded);

} // namespace caged::mcp
