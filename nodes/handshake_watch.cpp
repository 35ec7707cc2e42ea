#include "nodes/handshake_watch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "nodes/accept_guard.hpp"

namespace caged {

namespace {

constexpr const char* news_at = "inproc://handshakes";

} // namespace

handshake_watch::handshake_watch(zmq::context_t& context, zmq::socket_t& of,
                                 on_failed failed)
    : news_{context, zmq::socket_type::pair}, failed_{std::move(failed)} {
  news_.set(zmq::sockopt::linger, 0);
  if (zmq_socket_monitor(of.handle(), news_at,
                         ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED
                             | ZMQ_EVENT_HANDSHAKE_SUCCEEDED
                             | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
                             | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
                             | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
      != 0)
    throw zmq::error_t{};
  news_.connect(news_at);
}

void handshake_watch::read() {
  zmq::message_t event;
  while (news_.recv(event, zmq::recv_flags::dontwait)) {
    std::uint16_t what = 0;
    std::int32_t value = 0;
    if (event.size() >= sizeof what + sizeof value) {
      const auto* bytes = static_cast<const char*>(event.data());
      std::memcpy(&what, bytes, sizeof what);
      std::memcpy(&value, bytes + sizeof what, sizeof value);
    }
    zmq::message_t address; // ours, not the peer's
    if (event.more())
      (void)news_.recv(address, zmq::recv_flags::dontwait);
    switch (what) {
    case ZMQ_EVENT_ACCEPTED:
      open_[value] = {accepted_from(value), false};
      break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
      ++silent_;
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
      ++refused_keys_;
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
      just_failed_ = true; // the end of that connection is the next event
      break;
    case ZMQ_EVENT_DISCONNECTED:
      ended(value);
      break;
    default:
      break;
    }
  }
}

/// Who is no ZeroMQ at all, or one without CURVE, ends without any failure.
void handshake_watch::ended(int fd) {
  connection gone;
  if (auto it = open_.find(fd); it != open_.end()) {
    gone = std::move(it->second);
    open_.erase(it);
  }
  if (just_failed_) {
    just_failed_ = false;
    failed_(gone.address);
  } else if (gone.spoke) {
    return;
  } else if (refused_keys_ > 0) {
    --refused_keys_;
  } else if (silent_ > 0) {
    --silent_;
  } else {
    failed_(gone.address);
  }
}

void handshake_watch::spoke(int fd) {
  auto it = open_.find(fd);
  if (it == open_.end() || it->second.spoke)
    return;
  it->second.spoke = true;
  silent_ = std::max(0, silent_ - 1);
}

} // namespace caged
