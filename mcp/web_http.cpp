#include <algorithm>
#include <array>
#include <optional>

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include "mcp/http_stream.hpp"
#include "mcp/web_beast.hpp"

namespace caged::mcp {

namespace {

/// Bytes of events that go into one write.
constexpr std::size_t gather_bytes = 64U << 10U;
/// What a client may send ahead while its last request is answered.
constexpr std::size_t read_ahead = 4U << 10U;
constexpr std::chrono::seconds linger_time{1};
constexpr std::string_view first_modern = "2026-07-28";
/// The revision from which on a stream opens with an event without a message,
/// so that a client can come back before the first one (2025-11-25,
/// basic/transports); older clients take it for broken JSON.
constexpr std::string_view first_primed = "2025-11-25";

bool speaks(std::string_view version) {
  const auto& all = revisions();
  return std::find(all.begin(), all.end(), version) != all.end();
}

bool is_notification(const std::string& text) {
  constexpr std::size_t most_notification = 64U << 10U;
  if (text.size() > most_notification
      || text.find("\"method\"") == std::string::npos)
    return false;
  const auto parsed = json::parse(text, nullptr, false);
  return parsed.is_object() && parsed.contains("method");
}

/// One connection of Streamable HTTP: requests one after the other, each with a
/// response that is one JSON text or a stream of events.
class http_connection final
    : public web_connection,
      public std::enable_shared_from_this<http_connection> {
public:
  http_connection(web_context& context, stream_socket socket, bool crowded)
      : context_{context},
        crowded_{crowded},
        socket_{std::move(socket)},
        grace_{context.io.get_executor()} {}

  void start() { next_request(context_.times.head); }

  void tick(clock::time_point now) override {
    const auto& times = context_.times;
    if (deadline_ && now >= *deadline_) {
      kill();
      return;
    }
    if (writing_since_) {
      const auto most =
          context_.budget.short_of_memory() ? times.short_stall : times.stall;
      if (now - *writing_since_ >= most)
        kill();
    } else if (phase_ == phase::stream && now - wrote_ >= times.keep_alive) {
      append(":\n\n"); // a comment: proxies see that we live
      pump();
    }
  }

  void wind_down() override {
    keep_ = false;
    if (phase_ == phase::idle)
      kill();
  }

  void kill() override {
    if (phase_ == phase::gone)
      return;
    phase_ = phase::gone;
    error_code ignored;
    socket_.close(ignored);
    grace_.cancel();
    leave_stream(/*complete*/ false);
    context_.budget.arrived(std::exchange(arriving_, 0));
    context_.remove(this);
  }

  std::size_t busy() const override {
    // The GET stream never ends by itself.
    const auto events = session_ && stream_ && stream_ == session_->events;
    return phase_ == phase::answer || phase_ == phase::reply
                   || (phase_ == phase::stream && !events)
               ? 1
               : 0;
  }

private:
  enum class phase { idle, head, body, answer, stream, reply, linger, gone };

  // Requests.

  void next_request(std::chrono::milliseconds patience) {
    phase_ = phase::idle;
    deadline_ = clock::now() + patience;
    parser_.reset();
    if (in_.size() > 0)
      read_head();
    else
      watch();
  }

  /// Reads although nothing is expected: the first bytes of the next request,
  /// or the end of a connection whose response still runs.
  void watch() {
    if (watching_)
      return;
    watching_ = true;
    socket_.async_read_some(
        in_.prepare(read_ahead),
        [self = shared_from_this()](error_code why, std::size_t bytes) {
          self->watching_ = false;
          if (self->phase_ == phase::gone)
            return;
          if (why) {
            self->kill();
            return;
          }
          self->in_.commit(bytes);
          if (self->phase_ == phase::idle)
            self->read_head();
          // Else it waits for its turn, and we do not look further.
        });
  }

  void read_head() {
    phase_ = phase::head;
    deadline_ = clock::now() + context_.times.head;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(most_head_bytes));
    parser_->body_limit(context_.config.max_message_bytes);
    http::async_read_header(
        socket_, in_, *parser_,
        [self = shared_from_this()](error_code why, std::size_t) {
          if (self->phase_ != phase::gone)
            self->on_head(why);
        });
  }

  void on_head(error_code why) {
    json_ok_ = sse_ok_ = true;
    session_field_.clear();
    cors_.clear();
    if (why) {
      broken(why);
      return;
    }
    const auto& request = parser_->get();
    const auto head = head_of(request);
    http_1_0_ = head.http_1_0;
    keep_ = request.keep_alive() && !context_.stopping;
    if (head.has_origin && origin_allowed(context_.policy, head.origin)) {
      append_field(cors_, "Access-Control-Allow-Origin", head.origin);
      append_field(cors_, "Access-Control-Expose-Headers",
                   "Mcp-Session-Id, MCP-Protocol-Version");
      append_field(cors_, "Vary", "Origin");
    }
    if (const auto bad = check_head(context_.policy, head)) {
      refuse(*bad);
    } else if (crowded_ || context_.stopping) {
      refuse({503, crowded_ ? "there are as many connections as there may be: "
                              "close one or try again later"
                            : "the server stops"});
    } else if (beast::websocket::is_upgrade(request)) {
      upgrade();
    } else if (head.method == "POST") {
      begin_post(head);
    } else if (head.method == "OPTIONS") {
      preflight();
    } else if (head.protocol_version >= first_modern
               && speaks(head.protocol_version)) {
      refuse({405, "this revision has POST alone"});
    } else if (head.method == "GET") {
      get(head);
    } else if (head.method == "DELETE") {
      end_session(head);
    } else {
      refuse({405, "the endpoint takes POST, GET and DELETE"});
    }
  }

  void broken(error_code why) {
    const auto ours =
        why.category()
        == http::make_error_code(http::error::end_of_stream).category();
    if (!ours || why == http::error::end_of_stream
        || why == http::error::partial_message) {
      kill(); // the peer went away
      return;
    }
    keep_ = false;
    refuse(refusal_of(why));
  }

  /// From here on the connection is a WebSocket.
  void upgrade() {
    if (!parser_->is_done()) {
      refuse({400, "a request for WebSocket has no body"});
      return;
    }
    phase_ = phase::gone;
    deadline_.reset();
    context_.remove(this);
    upgrade_to_web_socket(context_, std::move(socket_),
                          {std::move(parser_->release().base())},
                          in_.size() > 0);
  }

  void begin_post(const web_head& head) {
    json_ok_ = accepts(head.accept, "application/json");
    sse_ok_ = accepts(head.accept, "text/event-stream");
    if (!is_json(head.content_type)
        || !(head.content_encoding.empty()
             || head.content_encoding == "identity")) {
      refuse({415, "a message is application/json in UTF-8, not compressed"});
      return;
    }
    if (!json_ok_ && !sse_ok_) {
      refuse({406, "Accept must list application/json and text/event-stream"});
      return;
    }
    if (lists(to_view(parser_->get()[http::field::expect]), "100-continue")) {
      error_code ignored; // its few bytes always fit
      socket_.write_some(
          net::buffer(std::string_view{"HTTP/1.1 100 Continue\r\n\r\n"}),
          ignored);
    }
    phase_ = phase::body;
    deadline_ = clock::now() + context_.times.body;
    read_body();
  }

  void read_body() {
    if (parser_->is_done()) {
      deadline_.reset();
      post();
      return;
    }
    http::async_read_some(
        socket_, in_, *parser_,
        [self = shared_from_this()](error_code why, std::size_t bytes) {
          if (self->phase_ == phase::gone)
            return;
          if (why) {
            self->broken(why);
            return;
          }
          if (!self->context_.budget.arriving(bytes)) {
            self->refuse({503, "too many large messages at once: try again"});
            return;
          }
          self->arriving_ += bytes;
          self->read_body();
        });
  }

  // POST.

  void post() {
    auto body = std::move(parser_->get().body());
    auto text = parse_text(body);
    std::string{}.swap(body);
    context_.budget.arrived(std::exchange(arriving_, 0));
    if (!text) {
      reply_json(400, std::move(text.error()));
      return;
    }
    const auto head = head_of(parser_->get());
    requests_ = 0;
    std::string version;
    for (const auto& each : text->messages) {
      if (each.kind == incoming::sort::request)
        ++requests_;
      if (version.empty())
        version = version_of(each);
    }
    const auto known = speaks(head.protocol_version);
    if (!version.empty() || (known && head.protocol_version >= first_modern))
      post_modern(std::move(*text), head, version);
    else if (!known && !head.protocol_version.empty())
      refuse({400, "MCP-Protocol-Version names no revision that this server "
                   "speaks"});
    else
      post_in_session(std::move(*text), head);
  }

  /// 2026-07-28: a request stands alone.
  void post_modern(incoming_text text, const web_head& head,
                   const std::string& version) {
    modern_ = true;
    if (text.batch || text.messages.size() != 1
        || text.messages[0].kind == incoming::sort::response) {
      refuse({400, "the body must be one request or one notification"});
      return;
    }
    const auto& message = text.messages[0];
    if (message.kind == incoming::sort::notification) {
      // This revision has none that a server would have to hear over HTTP.
      reply_empty(202);
      return;
    }
    meta_lacking_ = lacks_meta(message);
    if (version.empty()) {
      reply_json(400,
                 error_response(message.id, rpc_code::invalid_params,
                                "params._meta lacks "
                                "io.modelcontextprotocol/protocolVersion"));
      return;
    }
    if (const auto bad = check_mirrored(head, message, version)) {
      reply_json(400, error_response(message.id, bad->code, bad->text));
      return;
    }
    stream_ = std::make_shared<http_stream>(context_.budget, nullptr, 0);
    one_shot_ = context_.factory.one_shot();
    one_shot_->receive(std::move(text), stream_);
    await_answer();
  }

  /// 2025-11-25 and before: a request belongs to a session.
  void post_in_session(incoming_text text, const web_head& head) {
    modern_ = false;
    const auto starts = !text.batch && text.messages.size() == 1
                        && text.messages[0].method == "initialize"
                        && requests_ == 1;
    const auto now = clock::now();
    if (head.session_id.empty()) {
      if (!starts)
        refuse({400, "the Mcp-Session-Id header is missing: send initialize "
                     "first, without it"});
      else
        begin_session(std::move(text), now);
      return;
    }
    session_ = context_.sessions.find(std::string{head.session_id});
    if (!session_) {
      refuse({404, "there is no such session, or it ended: send initialize "
                   "without Mcp-Session-Id"});
      return;
    }
    session_->used = now;
    stream_ = std::make_shared<http_stream>(context_.budget, session_->replay,
                                            session_->next_stream++);
    session_->of->receive(std::move(text), stream_);
    await_answer();
  }

  void begin_session(incoming_text text, clock::time_point now) {
    if (!context_.sessions.make_room(now)) {
      refuse({503, "there are as many sessions as there may be: end one with "
                   "DELETE or try again later"});
      return;
    }
    stream_ = std::make_shared<http_stream>(context_.budget, nullptr, 0);
    auto fresh = context_.factory.make(nullptr);
    fresh->receive(std::move(text), stream_);
    if (fresh->revision().empty()) {
      one_shot_ = std::move(fresh); // refused: closed after its answer
    } else {
      session_ = context_.sessions.add(std::move(fresh), now);
      context_.had_session = true;
      append_field(session_field_, "Mcp-Session-Id", session_->id);
    }
    await_answer();
  }

  // Answers.

  http_stream::listener listener() {
    const auto weak = weak_from_this();
    return {[this, weak] {
              net::post(context_.io, [weak] {
                if (const auto self = weak.lock())
                  self->on_wake();
              });
            },
            [weak] {
              if (const auto self = weak.lock()) {
                self->stream_ = nullptr;
                self->kill();
              }
            }};
  }

  void on_wake() {
    if (phase_ == phase::answer)
      decide(/*in_time*/ true);
    else if (phase_ == phase::stream)
      pump();
  }

  void await_answer() {
    phase_ = phase::answer;
    const auto done = stream_->look();
    if (requests_ == 0 && done.finished && done.waiting == 0) {
      leave_stream(true);
      reply_empty(202);
      return;
    }
    if (!done.finished) {
      stream_->attach(listener());
      grace_.expires_after(context_.times.quick);
      grace_.async_wait([self = shared_from_this()](error_code why) {
        if (!why && self->phase_ == phase::answer)
          self->decide(/*in_time*/ false);
      });
      if (in_.size() == 0)
        watch();
    }
    decide(/*in_time*/ true);
  }

  /// One answer that comes soon goes alone; everything else is a stream.
  void decide(bool in_time) {
    if (!sse_ok_) {
      // Not by the book (clients must take both): only the answer counts.
      for (stream_event event; stream_->take(event);) {
        stream_->written(event.text->size());
        if (!is_notification(*event.text))
          answer_ = event.text;
      }
      if (stream_->look().finished)
        reply_answer();
      return;
    }
    const auto now = stream_->look();
    if (now.finished && now.waiting == 0)
      reply_answer(); // it was cancelled
    else if (json_ok_ && now.finished && now.waiting == 1) {
      stream_event event;
      stream_->take(event);
      answer_ = event.text;
      reply_answer();
    } else if (!json_ok_ || !in_time || now.finished || now.waiting > 1)
      start_stream();
  }

  void reply_answer() {
    grace_.cancel();
    const auto text = std::exchange(answer_, nullptr);
    const auto modern = modern_;
    leave_stream(true);
    if (!text)
      reply_empty(202); // also after a cancellation, which has no answer
    else
      reply_json(status_of(*text, modern, meta_lacking_), text);
  }

  void start_stream() {
    grace_.cancel();
    begin_stream();
    if (stream_->resumable()) {
      stream_->record();
      session_->streams.emplace(stream_->number(), stream_);
      prime(0);
    }
    // An answer that was there at once never had a listener.
    if (!stream_->attached())
      stream_->attach(listener());
    pump();
  }

  void begin_stream() {
    phase_ = phase::stream;
    deadline_.reset();
    if (http_1_0_)
      keep_ = false; // the end of the connection is the end of the stream
    out_ =
        head_with({200, "text/event-stream", std::nullopt, keep_, http_1_0_});
    if (in_.size() == 0)
      watch();
  }

  void prime(std::uint64_t seen) {
    if (session_->of->revision() >= first_primed)
      append("id: " + std::to_string(stream_->number()) + "-"
             + std::to_string(seen) + "\nretry: 1000\ndata: \n\n");
  }

  void append(std::string_view events) {
    if (http_1_0_)
      out_ += events;
    else
      append_chunk(out_, events);
  }

  /// Writes what there is of the stream.
  void pump() {
    if (writing_since_ || phase_ != phase::stream)
      return;
    std::string text;
    stream_event event;
    while (out_.size() + text.size() < gather_bytes && stream_->take(event)) {
      append_event(text, stream_->resumable() ? &event.id : nullptr,
                   *event.text);
      taken_ += event.text->size();
    }
    if (!text.empty())
      append(text);
    auto last = false;
    if (out_.empty()) {
      const auto now = stream_->look();
      if (!now.finished || now.waiting > 0)
        return;
      last = true;
      if (http_1_0_) {
        complete_stream();
        return;
      }
      out_ = "0\r\n\r\n";
    }
    writing_since_ = clock::now();
    going_.swap(out_);
    out_.clear();
    net::async_write(
        socket_, net::buffer(going_),
        [self = shared_from_this(), last](error_code why, std::size_t) {
          self->on_streamed(why, last);
        });
  }

  void on_streamed(error_code why, bool last) {
    writing_since_.reset();
    if (phase_ == phase::gone)
      return;
    if (why) {
      kill();
      return;
    }
    wrote_ = clock::now();
    if (going_.capacity() > 2 * gather_bytes)
      std::string{}.swap(going_);
    stream_->written(std::exchange(taken_, 0));
    if (last)
      complete_stream();
    else
      pump();
  }

  void complete_stream() {
    leave_stream(true);
    after_response();
  }

  /// The stream goes on without this connection, or ends. A session of one
  /// request ends with it: for 2026-07-28 a client that left has cancelled.
  void leave_stream(bool complete) {
    if (const auto stream = std::exchange(stream_, nullptr)) {
      stream->detach();
      if (complete && !stream->resumable())
        stream->close();
    }
    taken_ = 0;
    if (const auto session = std::exchange(one_shot_, nullptr))
      session->close();
    if (const auto session = std::exchange(session_, nullptr))
      session->used = clock::now();
  }

  // GET and DELETE.

  std::shared_ptr<http_session> session_of(const web_head& head) {
    if (!head.protocol_version.empty() && !speaks(head.protocol_version)) {
      refuse({400, "MCP-Protocol-Version names no revision that this server "
                   "speaks"});
      return nullptr;
    }
    if (head.session_id.empty()) {
      refuse({400, "the Mcp-Session-Id header is missing"});
      return nullptr;
    }
    auto found = context_.sessions.find(std::string{head.session_id});
    if (!found)
      refuse({404, "there is no such session, or it ended"});
    return found;
  }

  void get(const web_head& head) {
    if (!accepts(head.accept, "text/event-stream")) {
      refuse({406, "Accept must list text/event-stream"});
      return;
    }
    const auto session = session_of(head);
    if (!session)
      return;
    session->used = clock::now();
    if (!parser_->is_done())
      keep_ = false; // a GET with a body: nobody reads that
    if (head.has_last_event_id) {
      resume(session, head.last_event_id);
      return;
    }
    if (!session->events) {
      session->events =
          std::make_shared<http_stream>(context_.budget, session->replay, 0);
      session->events->record();
      session->of->events(session->events);
    }
    session_ = session;
    stream_ = session->events;
    stream_->attach(listener()); // an older connection of it is closed
    begin_stream();
    prime(stream_->last());
    pump();
  }

  void resume(const std::shared_ptr<http_session>& session,
              std::string_view last) {
    const auto id = parse_event_id(last);
    std::shared_ptr<http_stream> stream;
    if (id && id->stream == 0)
      stream = session->events;
    else if (id)
      if (const auto at = session->streams.find(id->stream);
          at != session->streams.end())
        stream = at->second;
    if (!stream || !stream->attach_after(*id, listener())) {
      refuse({400, "Last-Event-ID is unknown, or what followed it is not kept "
                   "any more: messages are lost, ask again"});
      return;
    }
    session_ = session;
    stream_ = stream;
    begin_stream();
    pump();
  }

  void end_session(const web_head& head) {
    const auto session = session_of(head);
    if (!session)
      return;
    if (!parser_->is_done())
      keep_ = false;
    context_.sessions.end(session);
    reply_empty(204);
  }

  void preflight() {
    append_field(cors_, "Access-Control-Allow-Methods", "GET, POST, DELETE");
    append_field(cors_, "Access-Control-Allow-Headers",
                 "Accept, Authorization, Content-Type, Last-Event-ID, "
                 "Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name");
    append_field(cors_, "Access-Control-Max-Age", "600");
    append_field(cors_, "Allow", "GET, POST, DELETE, OPTIONS");
    reply_empty(204);
  }

  // Responses.

  std::string head_with(const response_shape& shape) {
    auto out = response_head(shape);
    out += cors_;
    out += session_field_;
    if (shape.status == 401)
      append_field(out, "WWW-Authenticate", "Bearer");
    else if (shape.status == 405)
      append_field(out, "Allow", "GET, POST, DELETE, OPTIONS");
    else if (shape.status == 503)
      append_field(out, "Retry-After", "5");
    out += "\r\n";
    return out;
  }

  void refuse(const web_refusal& why) {
    context_.budget.arrived(std::exchange(arriving_, 0));
    if (!parser_ || !parser_->is_done())
      keep_ = false; // what is left of the request is not read as the next one
    reply_json(why.status,
               error_response(nullptr, rpc_code::invalid_request, why.text));
  }

  void reply_json(unsigned status, std::string text) {
    reply_json(status, std::make_shared<const std::string>(std::move(text)));
  }

  void reply_json(unsigned status, std::shared_ptr<const std::string> text) {
    out_ =
        head_with({status, "application/json", text->size(), keep_, http_1_0_});
    reply(std::move(text));
  }

  void reply_empty(unsigned status) {
    out_ = head_with({status, {}, 0, keep_, http_1_0_});
    static const auto nothing = std::make_shared<const std::string>();
    reply(nothing);
  }

  void reply(std::shared_ptr<const std::string> text) {
    phase_ = phase::reply;
    deadline_.reset();
    writing_since_ = clock::now();
    going_.swap(out_);
    out_.clear();
    const std::array<net::const_buffer, 2> both{net::buffer(going_),
                                                net::buffer(*text)};
    net::async_write(
        socket_, both,
        [self = shared_from_this(), text](error_code why, std::size_t) {
          self->writing_since_.reset();
          if (self->phase_ == phase::gone)
            return;
          if (why)
            self->kill();
          else
            self->after_response();
        });
  }

  void after_response() {
    if (keep_ && !context_.stopping)
      next_request(context_.times.idle);
    else
      linger();
  }

  /// Closing with unread bytes would reset the connection and may take the
  /// response away from the peer: reads for a moment.
  void linger() {
    phase_ = phase::linger;
    deadline_ = clock::now() + linger_time;
    error_code ignored;
    socket_.shutdown(stream_socket::shutdown_send, ignored);
    if (!watching_) // else the end of that read closes
      discard();
  }

  void discard() {
    in_.clear();
    socket_.async_read_some(
        in_.prepare(read_ahead),
        [self = shared_from_this()](error_code why, std::size_t) {
          if (self->phase_ == phase::gone)
            return;
          if (why)
            self->kill();
          else
            self->discard();
        });
  }

  web_context& context_;
  const bool crowded_;
  stream_socket socket_;
  net::basic_waitable_timer<clock, net::wait_traits<clock>,
                            net::io_context::executor_type>
      grace_;
  phase phase_ = phase::idle;
  std::optional<clock::time_point> deadline_;
  beast::flat_buffer in_;
  bool watching_ = false; ///< A read into in_ runs.

  // The request.
  std::optional<http::request_parser<http::string_body>> parser_;
  bool http_1_0_ = false, keep_ = false;
  bool json_ok_ = true, sse_ok_ = true;
  bool modern_ = false, meta_lacking_ = false;
  std::size_t requests_ = 0;
  std::size_t arriving_ = 0; ///< Bytes of its body so far.
  std::string cors_, session_field_;

  // The response.
  std::shared_ptr<http_stream> stream_;
  std::shared_ptr<session> one_shot_;
  std::shared_ptr<http_session> session_;
  std::shared_ptr<const std::string> answer_;
  std::string out_, going_; ///< To be written, being written.
  std::size_t taken_ = 0;   ///< Bytes of messages in these.
  std::optional<clock::time_point> writing_since_;
  clock::time_point wrote_;
};

} // namespace

void start_http(web_context& context, stream_socket socket, bool crowded) {
  auto one =
      std::make_shared<http_connection>(context, std::move(socket), crowded);
  context.add(one);
  one->start();
}

} // namespace caged::mcp
