#pragma once

#include <memory>

#include "actors/agent_port.hpp"

namespace caged {

/// agent_port on Boost.Asio: one I/O thread (epoll) for all agents, one read
/// buffer that they share, so that an idle connection costs a few hundred
/// bytes. How a socket is found and checked: agent_socket.hpp.
///
/// Reading from an agent stops while 64 of its messages or 4 MiB are under way
/// (handed out and not yet consumed()); a refused line counts as one message.
/// A channel that is dropped closes its connection. Channels may outlive the
/// port: they are closed by its end, without a call of their handlers. Destroy
/// the port on another thread than its own.
std::unique_ptr<agent_port> make_asio_agent_port();

} // namespace caged
