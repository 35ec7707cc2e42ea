#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "actors/directory.hpp"
#include "actors/join_table.hpp"
#include "actors/key_table.hpp"
#include "messages/curve_key.hpp"
#include "nodes/client_port.hpp"

namespace caged {

struct tcp_port_options {
  std::string endpoint; ///< "tcp://10.0.0.1:7400"; port 0: any free one
  key_pair node;        ///< its own keys
  /// Where the other nodes' keys are known from; may be empty: there are none.
  std::shared_ptr<const directory> fleet = {};
  /// Keys of join tokens; may be empty: there are none.
  std::shared_ptr<const join_table> joins = {};
};

/// The socket of clients elsewhere, always with CURVE: who asks is the key that
/// ZeroMQ has checked, "key:alice", and what it may is looked up for every
/// message. A revoked key is cut off with its open connections. Another node's
/// key may say for whom it asks, and who that is is looked up, too.
class tcp_port : public client_port {
public:
  /// Every route of its begins with this.
  static constexpr std::string_view route_prefix = "tcp/";

  /// Binds; nobody is answered before start(). Errors: bad_request (the
  /// endpoint), io (it cannot be bound), each naming the flag.
  static result<std::unique_ptr<tcp_port>>
  open(const tcp_port_options& options, std::shared_ptr<const key_table> keys,
       std::shared_ptr<metrics_sink> metrics);

  /// Starts the thread, on which the handlers are called; they must not block.
  virtual void start(on_request request, on_gone gone) = 0;
  /// As bound: "tcp://10.0.0.1:7400".
  virtual const std::string& address() const = 0;
  /// Looks again at who is still let in. Any thread.
  virtual void keys_changed() = 0;
};

/// Whether text is "tcp://ADDRESS:PORT" with a number of IPv4, one of IPv6 in
/// brackets, or * for every address.
bool is_listen_endpoint(const std::string& text);

} // namespace caged
