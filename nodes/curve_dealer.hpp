#pragma once

#include <string>

#include <zmq.hpp>

#include "messages/curve_key.hpp"

namespace caged {

/// A ZeroMQ DEALER with CURVE to one node, as a node or a host to be has it,
/// and the news about its one connection. It never connects again by itself:
/// what is queued in it would arrive after its owner was told that it is gone.
/// For one thread.
class curve_dealer {
public:
  struct options {
    std::string endpoint;   ///< "tcp://10.0.0.1:7400"
    std::string server_key; ///< public, Z85
    int heartbeat_ms = 0, silence_ms = 0;
    std::int64_t frame_most = 0; ///< bytes
    std::string name;            ///< unique in the context
  };

  /// Begins to connect. Throws zmq::error_t: it cannot be dialled.
  curve_dealer(zmq::context_t& context, const options& to, const key_pair& own);
  ~curve_dealer();
  curve_dealer(const curve_dealer&) = delete;
  curve_dealer& operator=(const curve_dealer&) = delete;

  zmq::socket_t& socket() { return socket_; }
  void* news() { return news_.handle(); }
  /// All news that there are; before the next four are asked.
  void read_news();

  bool connected() const { return connected_; }
  bool ready() const { return ready_; }     ///< shaken hands, once
  bool refused() const { return refused_; } ///< our key
  bool lost() const { return lost_; }       ///< for good

private:
  zmq::socket_t socket_, news_;
  bool connected_ = false, ready_ = false, refused_ = false, lost_ = false;
};

} // namespace caged
