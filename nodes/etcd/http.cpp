#include "nodes/etcd/http.hpp"

#include <atomic>
#include <utility>
#include <vector>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <netinet/tcp.h>
#include <openssl/ssl.h>

#include "messages/text.hpp"

namespace caged::etcd {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using net::ip::tcp;

constexpr std::size_t most_bytes = 64U << 20U;
constexpr std::size_t piece = 64U << 10U;

class tls_dialer final : public dialer {
public:
  bool tls = false;
  net::ssl::context context{net::ssl::context::tls_client};
};

struct plain {
  using stream = tcp::socket;
  static stream make(net::io_context& io, tls_dialer&) { return stream{io}; }
};

struct secure {
  using stream = net::ssl::stream<tcp::socket>;
  static stream make(net::io_context& io, tls_dialer& with) {
    return stream{io, with.context};
  }
};

/// Silence of the other kernel is noticed within four seconds (tcp(7)).
void watch_link(int fd) {
  const int on = 1, second = 1, probes = 3;
  const unsigned limit_ms = 4000;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &second, sizeof second);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof second);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
}

/// Asynchronous operations, each run to its end or deadline on the caller's
/// thread by an io_context that no other thread runs.
template <class Layer>
class http_client final : public connection {
public:
  using stream = typename Layer::stream;

  http_client(std::shared_ptr<tls_dialer> with, etcd_endpoint to)
      : with_{std::move(with)}, to_{std::move(to)} {}

  ~http_client() override { close(); }

  tl::expected<http_reply, lost> post(const std::string& path,
                                      const std::string& body,
                                      const std::string& token,
                                      steady::time_point until) override {
    bool sent = false;
    if (auto why = request(path, body, token, until, sent)) {
      close();
      return tl::unexpected<lost>(lost{away(why), sent});
    }
    http::response_parser<http::string_body> parser;
    parser.body_limit(most_bytes);
    const auto why = finish(until, [&](auto done) {
      http::async_read(*stream_, buffer_, parser, std::move(done));
    });
    if (why) {
      close();
      return tl::unexpected<lost>(lost{away(why), true});
    }
    if (!parser.keep_alive())
      close();
    return http_reply{parser.get().result_int(),
                      std::move(parser.get().body())};
  }

  result<void> open_stream(const std::string& path, const std::string& body,
                           const std::string& token,
                           steady::time_point until) override {
    close(); // never behind another answer
    bool sent = false;
    auto why = request(path, body, token, until, sent);
    parser_.emplace();
    parser_->body_limit(boost::none);
    if (!why)
      why = finish(until, [&](auto done) {
        http::async_read_header(*stream_, buffer_, *parser_, std::move(done));
      });
    if (!why && parser_->get().result() == http::status::ok)
      return {};
    const auto status = parser_->get().result_int();
    close();
    return why ? tl::unexpected<failure>(away(why))
               : fail(status < 500 ? ec::denied : ec::unavailable,
                      to_.text() + " answered a watch with status "
                          + std::to_string(status));
  }

  result<std::optional<std::string>>
  line(std::chrono::milliseconds wait) override {
    const auto until = steady::now() + wait;
    for (;;) {
      if (const auto end = text_.find('\n', looked_); end != text_.npos) {
        auto out = text_.substr(0, end);
        text_.erase(0, end + 1);
        looked_ = 0;
        return std::optional{std::move(out)};
      }
      looked_ = text_.size();
      if (!stream_ || cancelled_ || looked_ > most_bytes || parser_->is_done())
        return ended({});
      if (!reading_)
        read_some();
      io_.restart();
      while (!read_ && steady::now() < until && io_.run_one_until(until) != 0) {
      }
      if (!read_)
        return cancelled_ ? ended({}) : std::optional<std::string>{};
      reading_ = false;
      auto why = *std::exchange(read_, std::nullopt);
      text_.append(chunk_.data(), piece - parser_->get().body().size);
      if (why && why != http::error::need_buffer)
        return ended(why);
    }
  }

  void cancel() override {
    cancelled_ = true;
    net::post(io_, [this] { shut(); });
  }

private:
  failure away(error_code why) const {
    std::string text = why.message();
    if (cancelled_)
      text = "the store is closing";
    else if (why == http::error::end_of_stream
             && std::is_same_v<Layer, plain>) // as etcd does to who speaks HTTP
      text = "it ended the connection without a word, as one does that wants "
             "TLS (etcds://)";
    return {ec::unavailable, to_.text() + ": " + text, {}};
  }

  result<std::optional<std::string>> ended(error_code why) {
    close();
    return tl::unexpected<failure>(
        why ? away(why)
            : failure{ec::unavailable, to_.text() + " ended the watch", {}});
  }

  void read_some() {
    reading_ = true;
    auto& body = parser_->get().body();
    body.data = chunk_.data();
    body.size = piece;
    http::async_read_some(*stream_, buffer_, *parser_,
                          [this](error_code why, std::size_t) { read_ = why; });
  }

  /// Closes the socket; what waits for it ends with an error.
  void shut() {
    error_code ignored;
    if (stream_)
      stream_->lowest_layer().close(ignored);
  }

  /// Nothing runs any more when it returns.
  void close() {
    shut();
    io_.restart();
    io_.run();
    stream_.reset();
    buffer_.clear();
    text_.clear();
    looked_ = 0;
    reading_ = false;
    read_.reset();
  }

  /// Starts one operation and runs it until it is done. A deadline closes the
  /// connection.
  template <class Start>
  error_code finish(steady::time_point until, Start start) {
    if (cancelled_)
      return net::error::operation_aborted;
    std::optional<error_code> done;
    start([&done](error_code why, auto&&...) { done = why; });
    io_.restart();
    while (!done && steady::now() < until && io_.run_one_until(until) != 0) {
    }
    if (done)
      return *done;
    shut();
    io_.restart();
    io_.run();
    return net::error::timed_out;
  }

  error_code dial(steady::time_point until) {
    auto found = with_->names.find(to_.host, until);
    if (!found)
      return net::error::host_not_found;
    std::vector<tcp::endpoint> addresses;
    for (const auto& one : *found) {
      error_code bad;
      const auto address = net::ip::make_address(one, bad);
      if (!bad)
        addresses.emplace_back(address, to_.port);
    }
    stream_.emplace(Layer::make(io_, *with_));
    auto why = finish(until, [&](auto done) {
      net::async_connect(stream_->lowest_layer(), addresses, std::move(done));
    });
    if (why)
      return why;
    watch_link(stream_->lowest_layer().native_handle());
    if constexpr (std::is_same_v<Layer, secure>) {
      error_code no_address; // RFC 6066, 3: a name is sent, never an address
      net::ip::make_address(to_.host, no_address);
      if (no_address)
        ::SSL_set_tlsext_host_name(stream_->native_handle(), to_.host.c_str());
      stream_->set_verify_callback(net::ssl::host_name_verification(to_.host),
                                   why);
      if (!why)
        why = finish(until, [&](auto done) {
          stream_->async_handshake(net::ssl::stream_base::client,
                                   std::move(done));
        });
    }
    return why;
  }

  error_code request(const std::string& path, const std::string& body,
                     const std::string& token, steady::time_point until,
                     bool& sent) {
    if (!stream_)
      if (auto why = dial(until))
        return why;
    http::request<http::string_body> out{http::verb::post, path, 11, body};
    out.set(http::field::host, to_.text());
    out.set(http::field::content_type, "application/json");
    if (!token.empty())
      out.set(http::field::authorization, token);
    out.prepare_payload();
    sent = true;
    return finish(until, [&](auto done) {
      http::async_write(*stream_, out, std::move(done));
    });
  }

  net::io_context io_{1}; // first: what it runs ends before it
  std::shared_ptr<tls_dialer> with_;
  const etcd_endpoint to_;
  std::atomic<bool> cancelled_{false};
  std::optional<stream> stream_;
  boost::beast::flat_buffer buffer_;

  // Of a stream.
  std::optional<http::response_parser<http::buffer_body>> parser_;
  std::vector<char> chunk_ = std::vector<char>(piece);
  std::string text_;               ///< came, and no line of it was given away
  std::size_t looked_ = 0;         ///< so much of it has no line's end
  bool reading_ = false;           ///< chunk_ is being written to
  std::optional<error_code> read_; ///< it was
};

tl::unexpected<failure> unusable(const std::string& what,
                                 const std::filesystem::path& file,
                                 const error_code& why,
                                 const std::string& hint) {
  return fail(ec::io,
              what + " " + file.string() + " cannot be used: " + why.message(),
              hint);
}

} // namespace

result<std::shared_ptr<dialer>> make_dialer(const etcd_options& options) {
  auto made = std::make_shared<tls_dialer>();
  made->tls = options.tls;
  if (!options.tls)
    return std::shared_ptr<dialer>{made};
  auto& to = made->context;
  error_code why;
  to.set_options(net::ssl::context::default_workarounds
                 | net::ssl::context::no_sslv2 | net::ssl::context::no_sslv3
                 | net::ssl::context::no_tlsv1 | net::ssl::context::no_tlsv1_1);
  to.set_verify_mode(net::ssl::verify_peer);
  if (options.ca_file.empty())
    to.set_default_verify_paths(why);
  else
    to.load_verify_file(options.ca_file.string(), why);
  if (why)
    return unusable("the etcd authority", options.ca_file, why,
                    "give its certificate in PEM");
  if (options.cert_file.empty())
    return std::shared_ptr<dialer>{made};
  to.use_certificate_chain_file(options.cert_file.string(), why);
  if (why)
    return unusable("the etcd client certificate", options.cert_file, why,
                    "give a chain in PEM");
  to.use_private_key_file(options.key_file.string(), net::ssl::context::pem,
                          why);
  if (why)
    return unusable("the etcd client key", options.key_file, why,
                    "give the certificate's key in PEM, without a password");
  return std::shared_ptr<dialer>{made};
}

std::unique_ptr<connection> make_connection(std::shared_ptr<dialer> with,
                                            const etcd_endpoint& to) {
  auto mine = std::static_pointer_cast<tls_dialer>(std::move(with));
  if (mine->tls)
    return std::make_unique<http_client<secure>>(std::move(mine), to);
  return std::make_unique<http_client<plain>>(std::move(mine), to);
}

} // namespace caged::etcd
