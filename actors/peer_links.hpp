#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "messages/client_api.hpp"

namespace caged {

/// Where another node is reached, as its record in the store says.
struct peer_address {
  std::string node;       ///< its id
  std::string endpoint;   ///< "tcp://10.0.0.1:7400"
  std::string public_key; ///< CURVE, Z85
};

/// The links to the other nodes: this one is their client. Thread-safe; nothing
/// blocks, and a node that is silent holds up nobody else's messages.
class peer_links {
public:
  /// An answer; its hop is the request's. On the links' thread.
  using on_reply = std::function<void(std::string node, api::reply what)>;
  /// The link is gone, and with it everything that was sent with a hop up to
  /// this one and has no answer. On the links' thread.
  using on_lost = std::function<void(std::string node, std::uint64_t up_to_hop,
                                     failure why)>;

  virtual ~peer_links() = default;

  /// Passes on a request with a hop; each is greater than those before. Makes
  /// the link when there is none.
  virtual void send(const peer_address& to, api::request what) = 0;
};

} // namespace caged
