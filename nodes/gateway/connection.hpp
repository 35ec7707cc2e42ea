#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include "actors/metrics_sink.hpp"
#include "actors/token_table.hpp"
#include "nodes/gateway/rules.hpp"
#include "nodes/gateway/upstream.hpp"

namespace caged::gateway_parts {

namespace net = boost::asio;

using steady = std::chrono::steady_clock;

/// One client. I/O thread alone.
class connection {
public:
  virtual ~connection() = default;
  /// At once; its coroutines end by themselves.
  virtual void kill() = 0;
  /// Of the token that let it in last; empty: none yet.
  virtual const std::string& token() const = 0;
  /// Closes itself when a deadline has passed.
  virtual void tick(steady::time_point now) = 0;
};

/// What all connections share. I/O thread alone.
struct shared {
  net::io_context& io;
  const gateway_rules::policy policy;
  std::shared_ptr<token_table> tokens;
  std::shared_ptr<metrics_sink> metrics;
  const std::function<std::string()> targets; ///< gateway_options
  node_link node;
  std::unordered_map<connection*, std::shared_ptr<connection>> connections;

  void remove(connection* one) {
    connections.erase(one);
    metrics->gateway_connections(connections.size());
  }
};

/// Serves one client; it stands in `with.connections` until it ends. `tls`
/// null: plain text. `crowded`: there are as many as there may be, it is told.
void start_connection(shared& with, net::ip::tcp::socket socket,
                      net::ssl::context* tls, bool crowded);

} // namespace caged::gateway_parts
