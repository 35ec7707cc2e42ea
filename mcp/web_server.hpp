#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "mcp/config.hpp"
#include "mcp/session.hpp"

namespace caged::mcp {

/// How sessions are made: session::make, or what a test puts there. `one_shot`
/// makes the session of a single request (2026-07-28, which has no sessions of
/// its own); it is closed when the response is complete or its client gone.
struct session_factory {
  std::function<std::shared_ptr<session>(std::shared_ptr<outlet> events)> make;
  std::function<std::shared_ptr<session>()> one_shot;
};

/// How long anything may take. Tests shorten what they wait for.
struct web_times {
  std::chrono::milliseconds head{5'000};  ///< Handshake, or a request's head.
  std::chrono::milliseconds body{60'000}; ///< A request's body or a message.
  std::chrono::milliseconds idle{60'000}; ///< Between requests of HTTP.
  /// WebSocket: silence until the connection is closed; a ping at half of it.
  std::chrono::milliseconds silence{60'000};
  /// A peer that does not read; fewer when memory is short.
  std::chrono::milliseconds stall{30'000}, short_stall{2'000};
  std::chrono::milliseconds session_idle{30 * 60'000}; ///< HTTP sessions.
  /// Resumable sessions of WebSocket without a connection.
  std::chrono::milliseconds resume_grace{60'000};
  std::chrono::milliseconds keep_alive{15'000}; ///< Comments on SSE streams.
  /// How long an answer may take to come alone as JSON, before a stream starts.
  std::chrono::milliseconds quick{10};
  std::chrono::milliseconds last_calls{1'000}; ///< After stop().
  /// run() returns when there was no connection and no session for so long; 0:
  /// never.
  std::chrono::milliseconds idle_exit{0};
};

/// WebSocket or Streamable HTTP for one configuration, on one thread.
class web_server {
public:
  /// Binds and listens. Errors: as make_policy; conflict (the port is in use,
  /// the path of the socket is another's), denied, io. `config` must outlive
  /// it.
  static result<std::unique_ptr<web_server>>
  listen(const server_config& config, session_factory factory,
         const web_times& times = {});
  ~web_server();
  web_server(const web_server&) = delete;
  web_server& operator=(const web_server&) = delete;

  /// Empty and 0 on a Unix socket.
  const std::string& host() const;
  std::uint16_t port() const;
  /// SIGTERM and SIGINT of this process stop it. Before run().
  void stop_on_signals();
  /// Serves until stop(), or until the server is idle or its only session over
  /// (server_config::one_session); then every connection and session is closed.
  void run();
  /// No new connections; running calls get a second. Any thread.
  void stop();

private:
  struct impl;
  explicit web_server(std::unique_ptr<impl> i);
  std::unique_ptr<impl> impl_;
};

} // namespace caged::mcp
