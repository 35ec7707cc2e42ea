#include "nodes/asio_agent_port.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

#ifdef __SANITIZE_THREAD__
// Asio's fences, which the thread sanitizer does not see: it sees the locks.
#pragma GCC diagnostic ignored "-Wtsan"
#endif
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>

#include "nodes/agent_socket.hpp"

namespace caged {

namespace {

namespace asio = boost::asio;
using unix_socket = asio::local::stream_protocol::socket;

constexpr std::size_t under_way_max = 64; ///< messages, see agent_channel
constexpr std::size_t under_way_bytes_max = 4 * 1024 * 1024;
constexpr std::size_t outbox_max = 8 * 1024 * 1024;
constexpr std::size_t read_buffer = 256 * 1024;
/// Bytes read or written for one agent before the others get their turn.
constexpr std::size_t turn_bytes = 1024 * 1024;
constexpr std::size_t gather_max = 64; ///< buffers of one sendmsg(2)

class connection;

/// What the thread works on. Connections keep it alive, also behind the end of
/// the port; then it runs nothing any more.
struct io_state {
  asio::io_context context{1};
  /// Shared by all connections: what is in it is used up before the next read.
  std::vector<char> buffer = std::vector<char>(read_buffer);
  /// For the end of the port. I/O thread only.
  std::unordered_map<connection*, std::weak_ptr<connection>> connections;

  /// False when the thread has ended: the work is dropped.
  template <class Work>
  bool post(Work work) {
    std::lock_guard guard{mutex_};
    if (ended_)
      return false;
    asio::post(context, std::move(work));
    return true;
  }
  void end() {
    std::lock_guard guard{mutex_};
    ended_ = true;
  }

private:
  std::mutex mutex_;
  bool ended_ = false;
};

class connection : public std::enable_shared_from_this<connection> {
public:
  connection(std::shared_ptr<io_state> io, agent_handlers handlers)
      : io_{std::move(io)},
        socket_{io_->context},
        handlers_{std::move(handlers)} {
    reader_.allow_raw(true);
  }

  // -- any thread ------------------------------------------------------------

  void send(std::string bytes) {
    bool start = false;
    bool full = false;
    {
      std::lock_guard guard{mutex_};
      if (ended_ || overflowed_ || bytes.empty())
        return;
      outbox_bytes_ += bytes.size();
      full = overflowed_ = outbox_bytes_ > outbox_max;
      if (!full)
        outbox_.push_back(std::move(bytes));
      start = open_ && !std::exchange(writing_, true);
    }
    if (full)
      io_->post([self = shared_from_this()] {
        self->end(
            {ec::agent_lost, "the agent does not read: 8 MiB wait for it", {}});
      });
    else if (start)
      io_->post([self = shared_from_this()] { self->write(); });
  }

  void consumed(std::size_t n) {
    {
      std::lock_guard guard{mutex_};
      for (; n > 0 && !under_way_.empty(); --n) {
        under_way_bytes_ -= under_way_.front();
        under_way_.pop_front();
      }
      if (!paused_ || !has_room())
        return;
      paused_ = false;
    }
    io_->post([self = shared_from_this()] { self->resume(); });
  }

  void close() {
    if (silent_.exchange(true))
      return;
    io_->post([self = shared_from_this()] { self->shut(); });
  }

  // -- I/O thread ------------------------------------------------------------

  void open(const agent_address& where) {
    if (silent_)
      return shut();
    io_->connections.emplace(this, weak_from_this());
    auto fd = connect_agent(where);
    if (!fd)
      return end(fd.error());
    boost::system::error_code failed;
    socket_.assign(asio::local::stream_protocol{}, fd->get(), failed);
    if (failed)
      return end(
          {ec::io, "cannot watch the agent socket: " + failed.message(), {}});
    fd->release();
    bool start = false;
    {
      std::lock_guard guard{mutex_};
      open_ = true;
      start = !outbox_.empty() && !std::exchange(writing_, true);
    }
    if (!silent_ && handlers_.on_open)
      handlers_.on_open();
    wait_readable();
    if (start)
      write();
  }

  /// Ends it without a word.
  void shut() {
    silent_ = true;
    {
      std::lock_guard guard{mutex_};
      ended_ = true;
      outbox_.clear();
      under_way_.clear();
    }
    boost::system::error_code ignored;
    socket_.close(ignored);
    held_ = {};
    handlers_ = {}; // and with them whatever they keep alive
    io_->connections.erase(this);
  }

private:
  bool has_room() const {
    return under_way_.size() < under_way_max
           && under_way_bytes_ < under_way_bytes_max;
  }

  void end(failure why) {
    auto self = shared_from_this(); // the handler may drop the channel
    if (!silent_.exchange(true) && handlers_.on_error) {
      auto tell = std::move(handlers_.on_error);
      tell(std::move(why), true);
    }
    shut();
  }

  void wait_readable() {
    if (silent_)
      return;
    socket_.async_wait(unix_socket::wait_read,
                       [self = shared_from_this()](auto failed) {
                         if (!failed && !self->silent_)
                           self->read();
                       });
  }

  void read() {
    auto& buffer = io_->buffer;
    std::size_t done = 0;
    while (!silent_) {
      auto n = ::recv(socket_.native_handle(), buffer.data(), buffer.size(),
                      MSG_DONTWAIT);
      if (n == 0)
        return end({ec::agent_lost, "the agent closed its connection", {}});
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return wait_readable();
      if (n < 0)
        return end(fail_errno(ec::agent_lost,
                              "the connection to the agent broke", errno)
                       .value());
      auto size = static_cast<std::size_t>(n);
      if (!hand_out({buffer.data(), size}))
        return; // resume() goes on
      done += size;
      if (done >= turn_bytes)
        return asio::post(io_->context, [self = shared_from_this()] {
          if (!self->silent_)
            self->read();
        });
    }
  }

  /// False: too much is under way, the rest is in held_; or it has ended.
  bool hand_out(std::string_view bytes) {
    try {
      return cut(bytes);
    } catch (const std::exception& e) {
      end({ec::internal,
           std::string{"a message of the agent could not be handed on: "}
               + e.what(),
           {}});
      return false;
    }
  }

  bool cut(std::string_view bytes) {
    reader_.feed(bytes);
    auto left = bytes.size();
    for (;;) {
      {
        std::lock_guard guard{mutex_};
        if (!has_room()) {
          keep(reader_.take_rest());
          paused_ = true;
          return false;
        }
      }
      auto got = reader_.next();
      auto rest = reader_.take_rest();
      reader_.feed(rest);
      unfinished_ += left - rest.size();
      left = rest.size();
      if (!got)
        break;
      {
        std::lock_guard guard{mutex_};
        under_way_.push_back(unfinished_);
        under_way_bytes_ += unfinished_;
      }
      unfinished_ = 0;
      if (*got) {
        if (handlers_.on_line)
          handlers_.on_line(std::move(**got));
      } else if (handlers_.on_error) {
        handlers_.on_error(std::move(got->error()), false);
      }
      if (silent_)
        return false;
    }
    held_ = {};
    held_at_ = 0;
    return true;
  }

  /// `rest` is a part of held_ or of the shared buffer.
  void keep(std::string_view rest) {
    if (!held_.empty()) {
      held_at_ = held_.size() - rest.size();
      return;
    }
    held_.assign(rest);
    held_at_ = 0;
  }

  void resume() {
    if (silent_)
      return;
    if (hand_out(std::string_view{held_}.substr(held_at_)))
      read();
  }

  void write() {
    std::size_t done = 0;
    while (!silent_) {
      {
        std::lock_guard guard{mutex_};
        if (sending_.empty() && outbox_.empty()) {
          writing_ = false;
          return;
        }
        while (!outbox_.empty() && sending_.size() < gather_max) {
          sending_.push_back(std::move(outbox_.front()));
          outbox_.pop_front();
        }
      }
      iovec parts[gather_max];
      std::size_t count = 0;
      for (auto& item : sending_)
        parts[count++] = {item.data(), item.size()};
      parts[0].iov_base = sending_.front().data() + sent_;
      parts[0].iov_len -= sent_;
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = count;
      auto n = ::sendmsg(socket_.native_handle(), &message,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return wait_writable();
      if (n < 0)
        return end(fail_errno(ec::agent_lost,
                              "the connection to the agent broke", errno)
                       .value());
      was_sent(static_cast<std::size_t>(n));
      done += static_cast<std::size_t>(n);
      if (done >= turn_bytes)
        return asio::post(io_->context,
                          [self = shared_from_this()] { self->write(); });
    }
  }

  void was_sent(std::size_t n) {
    {
      std::lock_guard guard{mutex_};
      outbox_bytes_ -= n;
    }
    sent_ += n;
    while (!sending_.empty() && sent_ >= sending_.front().size()) {
      sent_ -= sending_.front().size();
      sending_.pop_front();
    }
  }

  void wait_writable() {
    socket_.async_wait(unix_socket::wait_write,
                       [self = shared_from_this()](auto failed) {
                         if (!failed)
                           self->write();
                       });
  }

  std::shared_ptr<io_state> io_;

  // I/O thread only.
  unix_socket socket_;
  agent_handlers handlers_;
  agent_protocol::line_reader reader_;
  std::string held_;           ///< read, not looked at: reading is paused
  std::size_t held_at_ = 0;    ///< where to go on in it
  std::size_t unfinished_ = 0; ///< bytes of the message that is being cut
  std::deque<std::string> sending_;
  std::size_t sent_ = 0; ///< of sending_.front()

  /// No handler may be called any more.
  std::atomic<bool> silent_{false};

  std::mutex mutex_; // of all below
  bool open_ = false;
  bool ended_ = false;
  bool overflowed_ = false;
  bool writing_ = false; ///< write() is posted, runs, or waits for the socket
  bool paused_ = false;
  std::deque<std::string> outbox_;
  std::size_t outbox_bytes_ = 0; ///< with sending_
  std::deque<std::size_t> under_way_;
  std::size_t under_way_bytes_ = 0;
};

class channel : public agent_channel {
public:
  explicit channel(std::shared_ptr<connection> to) : to_{std::move(to)} {}
  ~channel() override { to_->close(); }
  void send(std::string bytes) override { to_->send(std::move(bytes)); }
  void consumed(std::size_t n) override { to_->consumed(n); }
  void close() override { to_->close(); }

private:
  std::shared_ptr<connection> to_;
};

class asio_agent_port : public agent_port {
public:
  asio_agent_port() : work_{asio::make_work_guard(io_->context)} {
    thread_ = std::thread{[io = io_] { io->context.run(); }};
  }

  ~asio_agent_port() override {
    // Every connection is shut on its own thread; then nothing is left to do
    // there and the thread ends by itself.
    io_->post([io = io_] {
      auto all = std::exchange(io->connections, {});
      for (auto& [_, weak] : all)
        if (auto one = weak.lock())
          one->shut();
    });
    io_->end();
    work_.reset();
    thread_.join();
  }

  std::shared_ptr<agent_channel> dial(const agent_address& where,
                                      agent_handlers handlers) override {
    auto made = std::make_shared<connection>(io_, std::move(handlers));
    io_->post([made, where] { made->open(where); });
    return std::make_shared<channel>(std::move(made));
  }

private:
  std::shared_ptr<io_state> io_ = std::make_shared<io_state>();
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

} // namespace

std::unique_ptr<agent_port> make_asio_agent_port() {
  return std::make_unique<asio_agent_port>();
}

} // namespace caged
