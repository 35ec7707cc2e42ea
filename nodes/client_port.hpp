#pragma once

#include <functional>
#include <memory>
#include <string>

#include "actors/client_sink.hpp"
#include "actors/metrics_sink.hpp"
#include "messages/error.hpp"

namespace caged {

struct client_port_options {
  /// "ipc:///run/caged/node.sock". Who can open it is an admin: the directory
  /// is root's and the group's only (docs/security.md).
  std::string endpoint;
  /// Owns the socket when it exists on this host.
  std::string group = "caged";
  std::shared_ptr<metrics_sink> metrics = {}; ///< may be empty
};

/// A socket of clients. The one that open() makes is for this host: a Unix
/// socket whose callers are "uid:N", from the credentials the kernel keeps of
/// the peer (SO_PEERCRED, by way of ZeroMQ's Peer-Address). nodes/tcp_port.hpp
/// has the other one.
class client_port : public client_sink {
public:
  using on_request = std::function<void(api::request)>;
  using on_gone = std::function<void(std::string route)>;

  /// Binds and starts the thread, on which the handlers are called; they must
  /// not block. Errors: bad_request (an endpoint that is too long or not
  /// ipc://), io (cannot bind), each naming the endpoint.
  static result<std::unique_ptr<client_port>>
  open(const client_port_options& options, on_request request, on_gone gone);

  /// Sends what is queued, unbinds, joins. Idempotent.
  virtual void stop() = 0;
};

} // namespace caged
