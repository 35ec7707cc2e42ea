#include <functional>
#include <optional>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "mcp/gather_stream.hpp"
#include "mcp/outbox.hpp"
#include "mcp/web_beast.hpp"
#include "mcp/ws_sessions.hpp"

namespace caged::mcp {

namespace {

namespace websocket = beast::websocket;

/// Bytes that are gathered before they are written.
constexpr std::size_t gather_bytes = 64U << 10U;
/// Bytes that are read at once: first of a message, and then. A connection that
/// only ever sends small messages costs little memory.
constexpr std::size_t first_read = 4U << 10U;
constexpr std::size_t more_read = 64U << 10U;
/// Turns of the I/O thread's queue in which answers may be gathered.
constexpr int most_gather_turns = 16;
constexpr std::chrono::seconds linger_time{1};

class web_socket final : public web_connection,
                         public std::enable_shared_from_this<web_socket> {
public:
  web_socket(web_context& context, stream_socket socket, bool crowded)
      : context_{context}, crowded_{crowded}, ws_{std::move(socket)} {}

  /// For a request that another has read and checked.
  void start(web_request_head&& request, bool read_ahead) {
    request_.base() = std::move(request.of);
    answer(std::nullopt, read_ahead);
  }

  void start() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(most_head_bytes));
    parser_->body_limit(0);
    deadline_ = clock::now() + context_.times.head;
    http::async_read(socket(), in_, *parser_,
                     [self = shared_from_this()](error_code why, std::size_t) {
                       self->on_head(why);
                     });
  }

  void tick(clock::time_point now) override {
    if (deadline_ && now >= *deadline_) {
      if (phase_ == phase::open)
        close(websocket::close_code::policy_error,
              "the message did not arrive in time");
      else
        kill();
      return;
    }
    if (!writing_since_)
      return;
    const auto& times = context_.times;
    const auto most =
        context_.budget.short_of_memory() ? times.short_stall : times.stall;
    if (now - *writing_since_ >= most)
      kill();
  }

  void wind_down() override {
    if (phase_ != phase::open)
      return;
    if (busy() == 0)
      close(websocket::close_code::going_away, "the server stops");
  }

  void kill() override {
    error_code ignored;
    socket().close(ignored);
    finish();
  }

  std::size_t busy() const override {
    if (!session_)
      return 0;
    return session_->busy() + (outbox_->empty() ? 0 : 1);
  }

private:
  enum class phase { head, refused, accepting, open, closing, gone };

  stream_socket& socket() { return ws_.next_layer().next_layer(); }

  // Handshake.

  void on_head(error_code why) {
    if (phase_ != phase::head)
      return;
    if (why && why.category() != http_category_) {
      kill(); // the peer went away
      return;
    }
    if (why) {
      if (why == http::error::end_of_stream)
        kill();
      else
        refuse(refusal_of(why));
      return;
    }
    request_ = parser_->release();
    parser_.reset();
    const auto head = head_of(request_);
    auto bad = check_head(context_.policy, head);
    if (!bad && crowded_)
      bad = web_refusal{503, "there are as many connections as there may be: "
                             "close one or try again later"};
    answer(std::move(bad), in_.size() > 0);
  }

  void answer(std::optional<web_refusal> bad, bool read_ahead) {
    if (!bad && !websocket::is_upgrade(request_))
      bad = web_refusal{426, "this port speaks WebSocket: use --mode http for "
                             "Streamable HTTP"};
    const auto offered = to_view(request_[http::field::sec_websocket_protocol]);
    if (!bad && !offered.empty() && !lists(offered, "mcp"))
      bad = web_refusal{400, "the subprotocol is mcp"};
    if (!bad && read_ahead)
      bad =
          web_refusal{400, "nothing may follow the request before its answer"};
    auto asked = parse_resume(to_view(request_.target()));
    if (!bad && !asked)
      bad = web_refusal{400, std::move(asked.error().message)};
    // A request that Beast will refuse must not take a session over.
    if (!bad && !asked->id.empty()
        && request_[http::field::sec_websocket_version] == "13"
        && request_.count(http::field::sec_websocket_key) == 1
        && !take_session(*asked))
      bad = web_refusal{503, "there are as many sessions as there may be: end "
                             "one or try again later"};
    if (bad) {
      refuse(*bad);
      return;
    }
    accept(!offered.empty());
  }

  /// Starts or resumes a session that outlives this connection, before the
  /// answer to the handshake: that says how many messages of the client there
  /// were. False: there are too many.
  bool take_session(const resume_request& asked) {
    const auto weak = weak_from_this();
    auto got = context_.resumable.attach(asked,
                                         {waker(),
                                          [weak] {
                                            if (const auto self = weak.lock())
                                              self->evicted();
                                          }},
                                         context_.factory.make, clock::now());
    close_code_ = got.code;
    close_reason_ = std::move(got.reason);
    if (!got.of)
      return close_code_ != 0;
    resumed_ = {asked.id, std::to_string(got.of->received)};
    if (close_code_ != 0)
      return true;
    context_.had_session = true;
    fresh_ = got.fresh;
    skip_ = got.skip;
    kept_ = std::move(got.of);
    outbox_ = kept_->out;
    session_ = kept_->of;
    return true;
  }

  /// Another connection has the session now.
  void evicted() {
    kept_ = nullptr;
    outbox_ = nullptr;
    session_ = nullptr;
    if (phase_ == phase::open)
      close(resume_code::taken_over,
            "another connection took the session over");
    else
      kill();
  }

  void accept(bool named) {
    phase_ = phase::accepting;
    auto& lower = ws_.next_layer();
    lower.wants_flush = [this] { flush(); };
    const auto& times = context_.times;
    ws_.set_option(websocket::stream_base::timeout{times.head, times.silence,
                                                   /*keep_alive_pings*/ true});
    ws_.set_option(websocket::stream_base::decorator{
        [named, resumed = resumed_](websocket::response_type& response) {
          if (named)
            response.set(http::field::sec_websocket_protocol, "mcp");
          if (!resumed.first.empty()) {
            response.set("Mcp-Session-Id", resumed.first);
            response.set("Caged-Received", resumed.second);
          }
          response.set(http::field::server, "caged-mcp-server");
        }});
    ws_.read_message_max(context_.config.max_message_bytes);
    ws_.auto_fragment(false); // else messages are cut at 4 KiB
    ws_.text(true);
    ws_.async_accept(request_, [self = shared_from_this()](error_code why) {
      if (self->phase_ != phase::accepting)
        return;
      if (why) {
        // Beast has told it what was wrong.
        self->leave(/*for_good*/ self->fresh_);
        self->linger();
      } else
        self->open();
    });
  }

  void refuse(const web_refusal& why) {
    phase_ = phase::refused;
    const auto body = why.text + "\n";
    refusal_ = response_head(
        {why.status, "text/plain; charset=utf-8", body.size(), false, false});
    if (why.status == 401)
      append_field(refusal_, "WWW-Authenticate", "Bearer");
    if (why.status == 426)
      append_field(refusal_, "Upgrade", "websocket");
    if (why.status == 503)
      append_field(refusal_, "Retry-After", "5");
    refusal_ += "\r\n" + body;
    net::async_write(
        socket(), net::buffer(refusal_),
        [self = shared_from_this()](error_code failed, std::size_t) {
          if (failed)
            self->kill();
          else
            self->linger();
        });
  }

  /// Closing with unread bytes would reset the connection and may take the
  /// refusal away from the peer: reads for a moment.
  void linger() {
    if (phase_ == phase::gone)
      return;
    phase_ = phase::refused;
    deadline_ = clock::now() + linger_time;
    error_code ignored;
    socket().shutdown(stream_socket::shutdown_send, ignored);
    discard();
  }

  void discard() {
    in_.clear();
    socket().async_read_some(
        in_.prepare(first_read),
        [self = shared_from_this()](error_code why, std::size_t) {
          if (self->phase_ == phase::gone)
            return;
          if (why)
            self->kill();
          else
            self->discard();
        });
  }

  void open() {
    phase_ = phase::open;
    deadline_.reset();
    ws_.next_layer().says_goodbye = [this](std::uint16_t code) {
      on_goodbye(code);
    };
    request_ = {};
    if (close_code_ != 0) {
      close(close_code_, close_reason_);
      return;
    }
    if (kept_) {
      flush(); // what woke us before the handshake was over
    } else {
      outbox_ = std::make_shared<outbox>(context_.budget, waker());
      session_ = context_.factory.make(outbox_);
      context_.had_session = true;
      ++context_.bound_sessions;
    }
    if (phase_ == phase::open)
      read();
  }

  std::function<void()> waker() {
    return [this, weak = weak_from_this()] {
      net::post(context_.io, [weak] {
        if (const auto self = weak.lock())
          self->flush();
      });
    };
  }

  // Messages of the client.

  void read() {
    const auto size = in_.size() == 0 ? first_read : more_read;
    ws_.async_read_some(
        in_, size,
        [self = shared_from_this()](error_code why, std::size_t bytes) {
          self->on_read(why, bytes);
        });
  }

  void on_read(error_code why, std::size_t bytes) {
    if (phase_ == phase::gone)
      return;
    if (why) {
      finish();
      return;
    }
    if (phase_ == phase::closing)
      return; // the closing handshake reads on; what comes now is dropped
    if (!ws_.is_message_done()) {
      if (!context_.budget.arriving(bytes)) {
        close(websocket::close_code::try_again_later,
              "too many large messages at once");
        return;
      }
      arriving_ += bytes;
      if (!deadline_)
        deadline_ = clock::now() + context_.times.body;
      read();
      return;
    }
    deadline_.reset();
    if (!ws_.got_text()) {
      close(websocket::close_code::unknown_data, "messages are text");
      return;
    }
    on_message();
    ++handled_;
    if (outbox_->full())
      paused_ = true; // flush() goes on
    else
      read();
    flush_soon();
  }

  /// Whether the session has not had it on an earlier connection.
  bool is_new() {
    if (!kept_)
      return true;
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    ++kept_->received;
    return true;
  }

  void forget_message() {
    in_.clear();
    if (arriving_ > 0) {
      context_.budget.arrived(arriving_);
      arriving_ = 0;
      in_.shrink_to_fit(); // a large message must not keep its buffer
    }
  }

  void on_message() {
    if (!is_new()) {
      forget_message();
      return;
    }
    outbox_->cork(true);
    const auto data = in_.cdata();
    auto text =
        parse_text({static_cast<const char*>(data.data()), data.size()});
    forget_message();
    if (text)
      session_->receive(std::move(*text), outbox_);
    else
      outbox_->send(std::move(text.error()));
    outbox_->cork(false);
  }

  // Messages to the client.

  /// Once what is ready to be read now has been: its answers go together.
  void flush_soon() {
    if (flush_posted_)
      return;
    flush_posted_ = true;
    handled_before_ = handled_;
    gather_turns_ = 0;
    post_flush();
  }

  void post_flush() {
    net::post(context_.io, [self = shared_from_this()] {
      if (self->handled_ != self->handled_before_
          && ++self->gather_turns_ < most_gather_turns) {
        self->handled_before_ = self->handled_;
        self->post_flush();
        return;
      }
      self->flush_posted_ = false;
      self->flush();
    });
  }

  /// Moves messages down while there is room.
  void fill() {
    if (phase_ != phase::open)
      return;
    auto& out = ws_.next_layer().out;
    std::string message;
    while (out.size() < gather_bytes && outbox_->take(message)) {
      error_code why;
      ws_.write(net::buffer(message), why);
      taken_ += message.size();
    }
  }

  void flush() {
    auto& out = ws_.next_layer().out;
    while (!writing_since_ && phase_ != phase::gone) {
      fill();
      if (out.empty())
        break;
      going_.swap(out);
      going_bytes_ = std::exchange(taken_, 0);
      error_code why;
      const auto done = socket().write_some(net::buffer(going_), why);
      if (why && why != net::error::would_block) {
        lost();
        return;
      }
      if (!why && done == going_.size()) {
        written();
        continue;
      }
      writing_since_ = clock::now();
      net::async_write(
          socket(), net::buffer(going_) + (why ? 0 : done),
          [self = shared_from_this()](error_code failed, std::size_t) {
            self->writing_since_.reset();
            if (failed) {
              self->lost();
              return;
            }
            self->written();
            self->flush();
          });
    }
    if (paused_ && phase_ == phase::open && !outbox_->full()) {
      paused_ = false;
      read();
    }
  }

  void written() {
    if (outbox_ && going_bytes_ > 0)
      outbox_->written(std::exchange(going_bytes_, 0));
    if (going_.capacity() > gather_bytes * 2)
      std::string{}.swap(going_);
    going_.clear();
  }

  /// The peer cannot be written to any more.
  void lost() {
    if (phase_ != phase::gone)
      kill();
  }

  // The end.

  /// `for_good`: ends also a session that the client could come back to.
  void leave(bool for_good) {
    const auto out = std::exchange(outbox_, nullptr);
    const auto session = std::exchange(session_, nullptr);
    if (const auto kept = std::exchange(kept_, nullptr)) {
      if (for_good || context_.stopping)
        context_.resumable.end(kept);
      else
        context_.resumable.detach(*kept, clock::now());
    } else if (session) {
      out->close(); // first: a worker that waits for room goes on
      session->close();
      --context_.bound_sessions;
    }
    context_.budget.arrived(std::exchange(arriving_, 0));
  }

  void close(std::uint16_t code, std::string_view why) {
    if (phase_ != phase::open)
      return;
    on_goodbye(code);
    const websocket::close_reason reason{
        static_cast<websocket::close_code>(code),
        beast::string_view{why.data(), why.size()}};
    ws_.async_close(
        reason, [self = shared_from_this()](error_code) { self->finish(); });
  }

  /// A close frame goes out. The session ends now or is left, whatever the peer
  /// does. 1000: the answer to a client that closes with it or without a code.
  void on_goodbye(std::uint16_t code) {
    if (phase_ != phase::open)
      return;
    phase_ = phase::closing;
    paused_ = false;
    deadline_ = clock::now() + linger_time;
    leave(/*for_good*/ code == websocket::close_code::normal);
  }

  void finish() {
    if (phase_ == phase::gone)
      return;
    phase_ = phase::gone;
    leave(/*for_good*/ false);
    error_code ignored;
    socket().close(ignored);
    context_.remove(this);
  }

  web_context& context_;
  const bool crowded_;
  const boost::system::error_category& http_category_ =
      http::make_error_code(http::error::end_of_stream).category();
  phase phase_ = phase::head;
  websocket::stream<gather_stream, false> ws_;
  beast::flat_buffer in_;
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::request<http::empty_body> request_;
  std::string refusal_;
  std::optional<clock::time_point> deadline_;

  // Null once the session was left.
  std::shared_ptr<ws_outlet> outbox_;
  std::shared_ptr<session> session_;

  // A session that outlives this connection.
  std::shared_ptr<ws_session> kept_;
  bool fresh_ = false;     ///< It began here.
  std::uint64_t skip_ = 0; ///< Messages to come that it has had.
  std::pair<std::string, std::string> resumed_; ///< For the handshake.
  std::uint16_t close_code_ = 0; ///< Why it cannot be resumed; 0: it can.
  std::string close_reason_;

  std::size_t arriving_ = 0; ///< Bytes of an unfinished message.
  bool paused_ = false;      ///< No read until the outbox has room.

  std::size_t handled_ = 0, handled_before_ = 0;
  int gather_turns_ = 0;
  bool flush_posted_ = false;
  std::size_t taken_ = 0; ///< Bytes of messages in the lower layer's `out`.
  std::string going_;     ///< What is being written.
  std::size_t going_bytes_ = 0;
  std::optional<clock::time_point> writing_since_;
};

} // namespace

void start_web_socket(web_context& context, stream_socket socket,
                      bool crowded) {
  auto one = std::make_shared<web_socket>(context, std::move(socket), crowded);
  context.add(one);
  one->start();
}

void upgrade_to_web_socket(web_context& context, stream_socket socket,
                           web_request_head&& request, bool read_ahead) {
  auto one = std::make_shared<web_socket>(context, std::move(socket), false);
  context.add(one);
  one->start(std::move(request), read_ahead);
}

} // namespace caged::mcp
