#pragma once

#include <cstdint>
#include <memory>

#include "tests/bench/mcp/pipe_client.hpp"

namespace caged::bench {

/// What many WebSocket clients of one server saw.
struct ws_figures {
  figures all;
  double connect_ms = 0; ///< all connected and initialized
};

/// `clients` connections to 127.0.0.1:`port`, each with one request in flight,
/// driven by one thread. Frames are RFC 6455's, written and read here as far
/// as a benchmark needs: masked with a key of zeros, no fragments. Throws
/// std::runtime_error as pipe_client does.
ws_figures ws_load(const server_process& of, std::uint16_t port,
                   std::size_t clients, const request& what,
                   const effort& much);

} // namespace caged::bench
