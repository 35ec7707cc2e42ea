#pragma once

#include <functional>
#include <string>

#include <zmq.hpp>

namespace caged {

/// Answers what ZeroMQ asks once a connection: whether the bearer of a CURVE
/// key is let in (ZeroMQ RFC 27). Belongs to the thread of the socket it
/// guards. Who is let in bears its key, Z85, as User-Id of every message.
class zap_door {
public:
  /// later: nobody knows yet; the client sees us hang up, and may come again.
  enum class verdict { yes, no, later };
  /// `key`: Z85; `address`: of the peer, without its port.
  using decide = std::function<verdict(const std::string& key,
                                       const std::string& address)>;

  /// The domain of the socket that is guarded.
  static constexpr const char* domain = "caged";

  /// Before that socket is bound. Throws zmq::error_t.
  zap_door(zmq::context_t& context, decide lets_in);

  void* socket() { return socket_.handle(); }
  /// Everything that is asked now.
  void answer();

private:
  zmq::socket_t socket_;
  decide lets_in_;
};

} // namespace caged
