#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "mcp/web_beast.hpp"

namespace caged::mcp {

/// The layer below the WebSocket. Writes only add to a buffer, which its owner
/// sends when it has gathered all that there is: several small messages are one
/// system call. Since a write takes everything at once, frames of messages
/// (written synchronously) and Beast's own (pong, close) never mix.
class gather_stream {
public:
  using next_layer_type = stream_socket;
  using executor_type = stream_socket::executor_type;

  explicit gather_stream(stream_socket socket) : socket_{std::move(socket)} {}

  executor_type get_executor() { return socket_.get_executor(); }
  stream_socket& next_layer() { return socket_; }
  const stream_socket& next_layer() const { return socket_; }

  /// Called when Beast says something by itself.
  std::function<void()> wants_flush;
  /// Called with its code when that is a close frame: also after what no peer
  /// may send. Beast itself only reports it when the peer has closed its side,
  /// too.
  std::function<void(std::uint16_t)> says_goodbye;
  std::string out;

  template <class Buffers>
  std::size_t read_some(const Buffers& to) {
    return socket_.read_some(to);
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& to, error_code& why) {
    return socket_.read_some(to, why);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from) {
    const auto before = out.size();
    for (auto at = net::buffer_sequence_begin(from);
         at != net::buffer_sequence_end(from); ++at) {
      const net::const_buffer each{*at};
      out.append(static_cast<const char*>(each.data()), each.size());
    }
    return out.size() - before;
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from, error_code& why) {
    why = {};
    return write_some(from);
  }
  template <class Buffers, class Handler>
  void async_read_some(const Buffers& to, Handler&& handler) {
    socket_.async_read_some(to, std::forward<Handler>(handler));
  }
  /// Completes when the socket takes bytes again: a peer that sends pings and
  /// reads nothing stops us from reading, too.
  template <class Buffers, class Handler>
  void async_write_some(const Buffers& from, Handler&& handler) {
    // One control frame, or the answer to the handshake. Opcode 8 with FIN:
    // RFC 6455, 5.5.1.
    const auto before = out.size();
    const auto size = write_some(from);
    if (says_goodbye && size > 0 && out[before] == '\x88')
      says_goodbye(close_code_of(std::string_view{out}.substr(before)));
    if (wants_flush)
      wants_flush();
    net::async_compose<Handler, void(error_code, std::size_t)>(
        [this, size, waited = false](auto& self, error_code why = {}) mutable {
          if (!waited) {
            waited = true;
            socket_.async_wait(stream_socket::wait_write, std::move(self));
            return;
          }
          self.complete(why, why ? 0 : size);
        },
        handler, socket_);
  }

private:
  /// RFC 6455, 5.5.1; 0 without.
  static std::uint16_t close_code_of(std::string_view frame) {
    const auto byte = [&](std::size_t at) {
      return static_cast<unsigned>(static_cast<unsigned char>(frame[at]));
    };
    return frame.size() < 4
               ? std::uint16_t{0}
               : static_cast<std::uint16_t>(byte(2) << 8U | byte(3));
  }

  stream_socket socket_;
};

// Found by Beast when it closes a WebSocket on this layer.
inline void teardown(beast::role_type role, gather_stream& stream,
                     error_code& why) {
  beast::websocket::teardown(role, stream.next_layer(), why);
}

template <class Handler>
void async_teardown(beast::role_type role, gather_stream& stream,
                    Handler&& handler) {
  beast::websocket::async_teardown(role, stream.next_layer(),
                                   std::forward<Handler>(handler));
}

} // namespace caged::mcp
