#pragma once

#include "messages/client_api.hpp"

namespace caged {

/// Where actors put answers for clients; the client port implements it.
/// Thread-safe, never blocks. A client that is gone or that lets more than
/// limits::client_outbox_max pile up is cut off: the port then tells the
/// entrypoint client_gone with its route.
class client_sink {
public:
  virtual ~client_sink() = default;
  virtual void send(api::reply message) = 0;

  /// Has the port probe the route once a second, so that a client that dies
  /// silently is noticed; counted, one unwatch per watch.
  virtual void watch(const std::string& route) = 0;
  virtual void unwatch(const std::string& route) = 0;
};

} // namespace caged
