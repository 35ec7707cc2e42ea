#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/client_sink.hpp"
#include "actors/metrics_sink.hpp"
#include "actors/token_table.hpp"
#include "messages/error.hpp"

namespace caged {

struct gateway_options {
  std::string address = "127.0.0.1:7480"; ///< port 0: any free one
  /// PEM, both or none: then it speaks TLS. The key is its owner's alone
  /// (0600).
  std::filesystem::path cert, key;
  std::vector<std::string> origins; ///< of web pages, beside loopback's
  std::size_t max_connections = 1024;
  /// The answer of /v1/sd/prometheus, JSON; called on the gateway's thread,
  /// must not block. Empty: there is no such place.
  std::function<std::string()> targets;
};

/// MCP for everybody: HTTP and WebSocket at /v1/sandboxes/ID/mcp and /v1/mcp,
/// with a bearer token (and the fleet's targets for Prometheus at
/// /v1/sd/prometheus, see gateway_rules::check_targets), on to the MCP server
/// in the sandbox. The gateway knows who may and where to; sessions, replay and
/// every message belong to that server (docs/adr/0008). One I/O thread,
/// whatever the number of connections. Actors know it as one more client port.
class gateway : public client_sink {
public:
  using on_request = std::function<void(api::request)>;
  using on_gone = std::function<void(std::string route)>;

  /// Every route of its begins with this.
  static constexpr std::string_view route_prefix = "gateway/";

  /// Binds. Errors: bad_request (the address, the origins; TLS is needed),
  /// denied (the key can be read by others), io (the address is in use; the
  /// files cannot be read), each naming the flag.
  static result<std::unique_ptr<gateway>>
  open(const gateway_options& options, std::shared_ptr<token_table> tokens,
       std::shared_ptr<metrics_sink> metrics);

  /// Serves from now on. The handlers are called on its thread and must not
  /// block.
  virtual void start(on_request request, on_gone gone) = 0;
  /// "127.0.0.1:7480" and "http://127.0.0.1:7480".
  virtual std::string listen_address() const = 0;
  virtual std::string url() const = 0;
  /// Ends what this token let in, a second from now: its MCP server says
  /// goodbye first. Any thread.
  virtual void token_revoked(const std::string& id) = 0;
  /// Closes every connection, joins. Idempotent.
  virtual void stop() = 0;
};

} // namespace caged
