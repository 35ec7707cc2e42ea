#include "nodes/gateway/gateway.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sys/stat.h>

#include "messages/text.hpp"
#include "nodes/gateway/connection.hpp"

namespace caged {

namespace {

namespace net = boost::asio;
using boost::system::error_code;
using gateway_parts::connection;
using gateway_parts::steady;

constexpr std::chrono::milliseconds tick_period{250};
/// A revoked token's connections: their MCP server closes them before.
constexpr std::chrono::seconds farewell{1};
/// Until what is left at a stop is dropped.
constexpr std::chrono::seconds most_patience{2};
/// Connections beyond the limit that are told so; more are just closed.
constexpr std::size_t most_told = 32;

result<void> load_tls(net::ssl::context& to, const gateway_options& from) {
  struct stat about {};
  if (::stat(from.key.c_str(), &about) != 0)
    return fail_errno(ec::io,
                      "the key of the gateway " + from.key.string()
                          + " (--gateway-key) cannot be read",
                      errno);
  if ((about.st_mode & 077U) != 0)
    return fail(ec::denied,
                "the key of the gateway " + from.key.string()
                    + " can be read by others",
                "chmod 600 " + from.key.string());
  error_code why;
  to.set_options(net::ssl::context::default_workarounds
                 | net::ssl::context::no_sslv2 | net::ssl::context::no_sslv3
                 | net::ssl::context::no_tlsv1 | net::ssl::context::no_tlsv1_1);
  to.use_certificate_chain_file(from.cert.string(), why);
  if (why)
    return fail(ec::io,
                "the certificate of the gateway " + from.cert.string()
                    + " (--gateway-cert) cannot be used: " + why.message(),
                "give a chain in PEM");
  to.use_private_key_file(from.key.string(), net::ssl::context::pem, why);
  if (why)
    return fail(ec::io,
                "the key of the gateway " + from.key.string()
                    + " (--gateway-key) cannot be used: " + why.message(),
                "give the certificate's key in PEM, without a password");
  return {};
}

class web_gateway final : public gateway {
public:
  web_gateway(gateway_rules::policy policy, std::shared_ptr<token_table> tokens,
              std::shared_ptr<metrics_sink> metrics,
              const gateway_options& options)
      : with_{io_,
              std::move(policy),
              std::move(tokens),
              std::move(metrics),
              options.targets,
              {},
              {}},
        most_{options.max_connections} {}
  ~web_gateway() override { web_gateway::stop(); }

  result<void> bind(const gateway_options& options) {
    if (!options.cert.empty()) {
      tls_.emplace(net::ssl::context::tls_server);
      if (auto good = load_tls(*tls_, options); !good)
        return good;
    }
    error_code why;
    const auto& policy = with_.policy;
    const net::ip::tcp::endpoint at{net::ip::make_address(policy.host),
                                    policy.port};
    acceptor_.open(at.protocol(), why);
    if (!why)
      acceptor_.set_option(net::socket_base::reuse_address(true), why);
    if (!why)
      acceptor_.bind(at, why);
    if (!why)
      acceptor_.listen(net::socket_base::max_listen_connections, why);
    if (why)
      return fail(ec::io,
                  "the gateway address " + options.address
                      + " cannot be used: " + why.message(),
                  "give another with --gateway-address, or off for none");
    const auto bound = acceptor_.local_endpoint(why);
    address_ = (at.address().is_v6() ? "[" + policy.host + "]" : policy.host)
               + ":" + std::to_string(bound.port());
    return {};
  }

  void start(on_request request, on_gone gone) override {
    with_.node.send = std::move(request);
    with_.node.gone = std::move(gone);
    accept();
    tick();
    thread_ = std::thread{[this] { io_.run(); }};
  }

  std::string listen_address() const override { return address_; }
  std::string url() const override {
    return (tls_ ? "https://" : "http://") + address_;
  }

  void send(api::reply message) override {
    bool wake = false;
    {
      std::lock_guard guard{mutex_};
      wake = inbox_.empty();
      inbox_.push_back(std::move(message));
    }
    if (wake)
      net::post(io_, [this] { deliver(); });
  }
  void watch(const std::string&) override {}
  void unwatch(const std::string&) override {}

  void token_revoked(const std::string& id) override {
    net::post(io_, [this, id] {
      auto later = std::make_shared<net::steady_timer>(io_, farewell);
      later->async_wait([this, later, id](error_code why) {
        if (!why)
          end([&](const connection& one) { return one.token() == id; });
      });
    });
  }

  void stop() override {
    if (!thread_.joinable())
      return;
    net::post(io_, [this] {
      error_code ignored;
      acceptor_.close(ignored);
      timer_.cancel();
      end([](const connection&) { return true; });
      drain(steady::now() + most_patience);
    });
    thread_.join();
  }

private:
  template <class Which>
  void end(Which which) {
    std::vector<std::shared_ptr<connection>> all;
    for (const auto& [_, one] : with_.connections)
      if (which(*one))
        all.push_back(one);
    for (const auto& one : all)
      one->kill();
  }

  /// Their coroutines end by themselves, each with its stream.
  void drain(steady::time_point until) {
    if (with_.connections.empty() || steady::now() >= until) {
      io_.stop();
      return;
    }
    pause_.expires_after(std::chrono::milliseconds{1});
    pause_.async_wait([this, until](error_code) { drain(until); });
  }

  void deliver() {
    std::vector<api::reply> ready;
    {
      std::lock_guard guard{mutex_};
      ready.swap(inbox_);
    }
    for (auto& message : ready)
      with_.node.deliver(message);
  }

  void accept() {
    acceptor_.async_accept(
        io_, [this](error_code why, net::ip::tcp::socket socket) {
          if (!acceptor_.is_open())
            return;
          if (why) { // out of descriptors: others have to go first
            pause_.expires_after(tick_period);
            pause_.async_wait([this](error_code late) {
              if (!late && acceptor_.is_open())
                accept();
            });
            return;
          }
          const auto now = with_.connections.size();
          if (now < most_ + most_told) {
            error_code ignored;
            socket.set_option(net::ip::tcp::no_delay(true), ignored);
            start_connection(with_, std::move(socket), tls_ ? &*tls_ : nullptr,
                             now >= most_);
          }
          accept();
        });
  }

  /// Deadlines, and tokens that have expired.
  void tick() {
    timer_.expires_after(tick_period);
    timer_.async_wait([this](error_code why) {
      if (why)
        return;
      const auto now = steady::now();
      const auto wall = wall_clock_ms();
      std::vector<std::shared_ptr<connection>> all;
      all.reserve(with_.connections.size());
      for (const auto& [_, one] : with_.connections)
        all.push_back(one);
      const bool look = ++ticks_ % 4 == 0;
      for (const auto& one : all) {
        one->tick(now);
        if (look && !one->token().empty()
            && !with_.tokens->get(one->token(), wall - farewell_ms))
          one->kill();
      }
      tick();
    });
  }

  /// A revoked token's connections have that long; an expired one's, too.
  static constexpr std::int64_t farewell_ms = 1000;

  // What coroutines refer to outlives the context that holds their frames.
  gateway_parts::shared with_;
  net::io_context io_{1};
  const std::size_t most_;
  std::optional<net::ssl::context> tls_;
  net::ip::tcp::acceptor acceptor_{io_};
  net::steady_timer timer_{io_}, pause_{io_};
  std::string address_;
  unsigned ticks_ = 0;
  std::thread thread_;
  std::mutex mutex_;
  std::vector<api::reply> inbox_;
};

} // namespace

result<std::unique_ptr<gateway>>
gateway::open(const gateway_options& options,
              std::shared_ptr<token_table> tokens,
              std::shared_ptr<metrics_sink> metrics) {
  if (options.cert.empty() != options.key.empty())
    return fail(ec::bad_request,
                "--gateway-cert and --gateway-key are given together or not at "
                "all");
  auto policy = gateway_rules::make_policy(
      options.address, !options.cert.empty(), options.origins);
  if (!policy)
    return tl::unexpected<failure>(policy.error());
  auto made = std::make_unique<web_gateway>(
      std::move(*policy), std::move(tokens), std::move(metrics), options);
  if (auto bound = made->bind(options); !bound)
    return tl::unexpected<failure>(bound.error());
  return std::unique_ptr<gateway>{std::move(made)};
}

} // namespace caged
