#include "nodes/curve_dealer.hpp"

#include <cstdint>
#include <cstring>

namespace caged {

curve_dealer::curve_dealer(zmq::context_t& context, const options& to,
                           const key_pair& own)
    : socket_{context, zmq::socket_type::dealer},
      news_{context, zmq::socket_type::pair} {
  const auto news = "inproc://news-" + to.name;
  zmq_socket_monitor(
      socket_.handle(), news.c_str(),
      ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED
          | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
          | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
          | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
  news_.connect(news);
  // Not -1: see cli/connection.cpp.
  constexpr int never_ms = 24 * 3600 * 1000;
  socket_.set(zmq::sockopt::reconnect_ivl, never_ms);
  socket_.set(zmq::sockopt::linger, 0);
  socket_.set(zmq::sockopt::maxmsgsize, to.frame_most);
  socket_.set(zmq::sockopt::heartbeat_ivl, to.heartbeat_ms);
  socket_.set(zmq::sockopt::heartbeat_timeout, to.silence_ms);
  socket_.set(zmq::sockopt::heartbeat_ttl, to.silence_ms);
  socket_.set(zmq::sockopt::ipv6, to.endpoint.find('[') != std::string::npos);
  socket_.set(zmq::sockopt::curve_serverkey, to.server_key);
  socket_.set(zmq::sockopt::curve_publickey, own.public_key);
  socket_.set(zmq::sockopt::curve_secretkey, own.secret_key);
  socket_.connect(to.endpoint);
}

curve_dealer::~curve_dealer() {
  zmq_socket_monitor(socket_.handle(), nullptr, 0);
}

/// zmq_socket_monitor(3): a frame of event and value, a frame of address.
void curve_dealer::read_news() {
  zmq::message_t event;
  while (news_.recv(event, zmq::recv_flags::dontwait)) {
    std::uint16_t what = 0;
    if (event.size() >= sizeof what)
      std::memcpy(&what, event.data(), sizeof what);
    zmq::message_t address;
    if (event.more())
      (void)news_.recv(address, zmq::recv_flags::dontwait);
    if (what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
      ready_ = true;
    else if (what == ZMQ_EVENT_CONNECTED)
      connected_ = true;
    else
      lost_ = true;
    refused_ = refused_ || what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
  }
}

} // namespace caged
