#include "nodes/gateway/connection.hpp"

#include <array>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include "nodes/gateway/exchange.hpp"

// How a client's bytes come and go: TCP, plain or with TLS.
namespace caged::gateway_parts {

namespace {

using tcp_socket = net::ip::tcp::socket;
using tls_socket = net::ssl::stream<tcp_socket>;

template <class Stream>
class client final : public exchange {
public:
  client(shared& with, Stream stream, bool crowded)
      : exchange{with, crowded}, stream_{std::move(stream)} {}

  void start() {
    auto self = mine();
    net::co_spawn(
        with_.io, [self] { return self->run(); }, net::detached);
  }

  void kill() override {
    if (std::exchange(killed_, true))
      return;
    error_code ignored;
    stream_.lowest_layer().close(ignored);
    changed_.notify();
    room_.notify();
  }

  void tick(steady::time_point now) override {
    if ((deadline_ && now >= *deadline_)
        || (writing_since_ && now - *writing_since_ >= stall_time))
      kill();
  }

private:
  std::shared_ptr<client> mine() {
    return std::static_pointer_cast<client>(shared_from_this());
  }

  net::awaitable<void> run() {
    try {
      if constexpr (std::is_same_v<Stream, tls_socket>) {
        deadline_ = steady::now() + head_time;
        co_await stream_.async_handshake(net::ssl::stream_base::server,
                                         net::use_awaitable);
      }
      auto self = this->mine();
      net::co_spawn(
          with_.io, [self] { return self->read(); }, net::detached);
      while (co_await serve()) {
      }
      co_await say_goodbye();
    } catch (const hang_up&) {
    } catch (const std::exception&) {
      // Of the sockets: whatever it was, this client is done with.
    }
    if (up_)
      up_->close();
    kill();
    with_.remove(this);
  }

  /// Reads all the time, as far ahead as there is room, so that an end is
  /// noticed whatever we do.
  net::awaitable<void> read() {
    try {
      std::array<char, piece> some{};
      for (;;) {
        while (in_.size() >= ahead_most && !killed_)
          co_await room_.wait();
        const auto size = co_await stream_.async_read_some(net::buffer(some),
                                                           net::use_awaitable);
        in_.append(some.data(), size);
        pump();
        changed_.notify();
      }
    } catch (const std::exception&) {
      left_ = true;
    }
    changed_.notify();
  }

  net::awaitable<void> send(std::string_view bytes) override {
    if (killed_)
      throw hang_up{};
    writing_since_ = steady::now();
    co_await net::async_write(stream_, net::buffer(bytes), net::use_awaitable);
    writing_since_.reset();
  }

  /// So that nothing unread resets the connection before the client has our
  /// last words.
  net::awaitable<void> say_goodbye() {
    deadline_ = steady::now() + std::chrono::seconds{1};
    if constexpr (std::is_same_v<Stream, tls_socket>) {
      error_code ignored;
      co_await stream_.async_shutdown(
          net::redirect_error(net::use_awaitable, ignored));
    }
    error_code ignored;
    stream_.lowest_layer().shutdown(tcp_socket::shutdown_send, ignored);
    for (;;) {
      taken(in_.size());
      co_await until([&] { return !in_.empty(); });
    }
  }

  Stream stream_;
  std::optional<steady::time_point> writing_since_;
};

template <class Stream>
void launch(shared& with, Stream stream, bool crowded) {
  auto one = std::make_shared<client<Stream>>(with, std::move(stream), crowded);
  with.connections.emplace(one.get(), one);
  with.metrics->gateway_connections(with.connections.size());
  one->start();
}

} // namespace

void start_connection(shared& with, net::ip::tcp::socket socket,
                      net::ssl::context* tls, bool crowded) {
  if (tls != nullptr)
    launch(with, tls_socket{std::move(socket), *tls}, crowded);
  else
    launch(with, std::move(socket), crowded);
}

} // namespace caged::gateway_parts
