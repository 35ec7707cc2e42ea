#pragma once

#include <functional>
#include <map>
#include <string>

#include <zmq.hpp>

namespace caged {

/// Tells who came to a socket and never got through the handshake: strangers,
/// port scans, clients with the wrong key of the node, and those who only sit
/// there. ZeroMQ's news (zmq_socket_monitor(3)) name a descriptor when a
/// connection comes and goes, but not when its handshake ends; a few counts
/// tell the cases apart. Who fails for its own key is not told: that is
/// zap_door's. A client that was let in and has not said a word yet can hide
/// one stranger; ours speak at once. Belongs to the thread of the socket.
class handshake_watch {
public:
  using on_failed = std::function<void(const std::string& address)>;

  /// Throws zmq::error_t.
  handshake_watch(zmq::context_t& context, zmq::socket_t& of, on_failed failed);

  void* socket() { return news_.handle(); }
  /// All news that there are.
  void read();
  /// A message came over this descriptor (ZMQ_SRCFD).
  void spoke(int fd);

private:
  struct connection {
    std::string address;
    bool spoke = false;
  };
  void ended(int fd);

  zmq::socket_t news_;
  on_failed failed_;
  std::map<int, connection> open_;
  bool just_failed_ = false; ///< the next end is that of a failed handshake
  int refused_keys_ = 0;     ///< open connections whose key was refused
  int silent_ = 0;           ///< open, shaken hands, and not a word yet
};

} // namespace caged
