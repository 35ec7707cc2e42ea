#pragma once

#include <memory>

#include "actors/peer_links.hpp"
#include "messages/curve_key.hpp"

namespace caged {

/// peer_links over ZeroMQ and CURVE: a DEALER for each node, all on one thread.
/// A link that was lost is replaced by the next request for its node, and not
/// mended: what is queued in it would arrive after the answer that it is gone.
class zmq_peer_links : public peer_links {
public:
  /// Starts the thread; `own` are this node's keys. Error: io.
  static result<std::unique_ptr<zmq_peer_links>>
  open(key_pair own, on_reply reply, on_lost lost);

  /// Ends the links and joins. Nobody is told. Idempotent.
  virtual void stop() = 0;
};

} // namespace caged
