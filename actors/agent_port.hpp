#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "actors/runtime.hpp"
#include "messages/agent_protocol.hpp"

namespace caged {

/// One connection to an agent, as an actor sees it. Thread-safe.
class agent_channel {
public:
  virtual ~agent_channel() = default;

  /// Queues bytes (whole lines, as agent_protocol::encode_line makes them).
  /// Never blocks; a connection that does not drain 8 MiB is closed.
  virtual void send(std::string bytes) = 0;

  /// The owner has worked off n messages: reading goes on when fewer than 64
  /// are under way, so that a flooding agent fills its own socket, not us.
  virtual void consumed(std::size_t n) = 0;

  /// No handler is called after it has returned... except one that already
  /// runs. Idempotent.
  virtual void close() = 0;
};

/// What a connection tells its owner, on the I/O thread: must not block.
struct agent_handlers {
  /// A checked line. Count consumed() for each.
  std::function<void(agent_protocol::line)> on_line;
  /// A refusal of what the agent sent (malformed, too_large), or the end:
  /// then `closed` is true and nothing follows. Reasons: agent_lost,
  /// denied (the socket is not the agent's own; the text says why).
  std::function<void(failure why, bool closed)> on_error;
  std::function<void()> on_open;
};

/// Dials agents: one I/O thread for all of them.
class agent_port {
public:
  virtual ~agent_port() = default;

  /// Starts a connection; never blocks. Tries once: on_open or on_error
  /// (closed) follows. The channel may be used at once.
  virtual std::shared_ptr<agent_channel> dial(const agent_address& where,
                                              agent_handlers handlers) = 0;
};

} // namespace caged
