#include "nodes/prometheus_exposer.hpp"

#include <atomic>
#include <cerrno>
#include <exception>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <prometheus/exposer.h>

#include "messages/text.hpp"
#include "nodes/metrics_table.hpp"

namespace caged {

namespace {

constexpr const char* flag_hint =
    "choose another address with --metrics-address, for example 127.0.0.1:0";

/// One scraper may be slow, several at once may be: they wait for each other,
/// never for us or we for them.
constexpr const char* http_threads = "4";
constexpr const char* request_timeout_ms = "10000";

/// A numeric HOST and PORT as the socket calls take them.
class endpoint {
public:
  endpoint(const std::string& host, const std::string& port) {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
    if (::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(),
                      &wanted, &found_)
        != 0)
      found_ = nullptr;
  }
  ~endpoint() {
    if (found_)
      ::freeaddrinfo(found_);
  }
  endpoint(const endpoint&) = delete;
  endpoint& operator=(const endpoint&) = delete;

  bool valid() const { return found_ != nullptr; }

  /// Binds it once and lets go of it again. errno, or 0.
  int try_bind() const {
    int fd = ::socket(found_->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    bool good =
        fd >= 0
        && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0
        && ::bind(fd, found_->ai_addr, found_->ai_addrlen) == 0
        && ::listen(fd, 1) == 0;
    int error = good ? 0 : errno;
    if (fd >= 0)
      ::close(fd);
    return error;
  }

  /// Connects and hangs up.
  void knock() const {
    int fd = ::socket(found_->ai_family,
                      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
      return;
    // Loopback: the connection is made by the call itself.
    std::ignore = ::connect(fd, found_->ai_addr, found_->ai_addrlen);
    ::close(fd);
  }

private:
  addrinfo* found_ = nullptr;
};

class http_exposer : public prometheus_exposer {
public:
  http_exposer(std::shared_ptr<metrics_table> table, const std::string& host,
               const std::string& bare_host, const std::string& address)
      : table_{std::move(table)},
        http_{std::make_unique<prometheus::Exposer>(std::vector<std::string>{
            "listening_ports", address, "num_threads", http_threads,
            "request_timeout_ms", request_timeout_ms})} {
    http_->RegisterCollectable(table_);
    auto ports = http_->GetListeningPorts();
    auto port = std::to_string(ports.empty() ? 0 : ports.front());
    address_ = host + ":" + port;
    endpoint_ = std::make_unique<endpoint>(bare_host, port);
  }

  /// The HTTP library notices that it should end when its poll(2) returns:
  /// after 2 s, or when somebody knocks.
  ~http_exposer() override {
    std::atomic<bool> ended{false};
    std::thread knocker{[&] {
      while (!ended) {
        endpoint_->knock();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }};
    http_.reset();
    ended = true;
    knocker.join();
  }

  std::string listen_address() const override { return address_; }
  void store_up(bool answers) override { table_->store_up(answers); }

  void info(const std::string& id, const sandbox_spec& spec) override {
    table_->info(id, spec);
  }
  void state(const std::string& id, phase now) override {
    table_->state(id, now);
  }
  void agent(const std::string& id, const agent_metrics& sample) override {
    table_->agent(id, sample);
  }
  void heartbeat(const std::string& id) override { table_->heartbeat(id); }
  void host(const std::string& id, const host_stats& stats) override {
    table_->host(id, stats);
  }
  void remove(const std::string& id) override { table_->remove(id); }
  void capacity(unsigned cpus_total, unsigned cpus_reserved,
                std::uint64_t memory_mb_total, std::uint64_t memory_mb_reserved,
                std::uint64_t disk_gb_total,
                std::uint64_t disk_gb_reserved) override {
    table_->capacity(cpus_total, cpus_reserved, memory_mb_total,
                     memory_mb_reserved, disk_gb_total, disk_gb_reserved);
  }
  void pool(const std::string& template_name, std::size_t size,
            std::size_t ready) override {
    table_->pool(template_name, size, ready);
  }
  void pool_asked(const std::string& template_name, bool hit) override {
    table_->pool_asked(template_name, hit);
  }
  void created(std::chrono::nanoseconds took) override {
    table_->created(took);
  }
  void exec_answered(std::chrono::nanoseconds took) override {
    table_->exec_answered(took);
  }
  void message(std::string_view verb) override { table_->message(verb); }
  void error(ec code) override { table_->error(code); }
  void refused_sample(const std::string& id) override {
    table_->refused_sample(id);
  }
  void orphans(std::size_t count) override { table_->orphans(count); }
  void client_refused(std::string_view reason) override {
    table_->client_refused(reason);
  }
  void gateway_connections(std::size_t count) override {
    table_->gateway_connections(count);
  }
  void gateway_request(unsigned status) override {
    table_->gateway_request(status);
  }

private:
  std::shared_ptr<metrics_table> table_;
  std::unique_ptr<prometheus::Exposer> http_;
  std::string address_;
  std::unique_ptr<endpoint> endpoint_;
};

} // namespace

result<std::unique_ptr<prometheus_exposer>>
prometheus_exposer::open(const std::string& address, const std::string& node,
                         const std::string& version,
                         const std::string& runtime) {
  auto colon = address.rfind(':');
  if (colon == std::string::npos || colon + 1 == address.size())
    return fail(ec::bad_request,
                "the metrics address " + quoted(address)
                    + " is no IP-ADDRESS:PORT",
                flag_hint);
  auto host = address.substr(0, colon);
  auto bare = host;
  if (bare.size() > 2 && bare.front() == '[' && bare.back() == ']')
    bare = bare.substr(1, bare.size() - 2);
  endpoint wanted{bare, address.substr(colon + 1)};
  if (!wanted.valid())
    return fail(ec::bad_request,
                "the metrics address " + quoted(address)
                    + " is no IP-ADDRESS:PORT",
                flag_hint);
  // What the HTTP library would only call "failed" is told with its reason.
  if (int error = wanted.try_bind()) {
    auto why =
        fail_errno(ec::io, "metrics cannot be served on " + address, error);
    why.value().hint = flag_hint;
    return why;
  }
  try {
    // The HTTP library takes a port alone for all addresses.
    return std::unique_ptr<prometheus_exposer>{std::make_unique<http_exposer>(
        std::make_shared<metrics_table>(node, version, runtime), host, bare,
        host.empty() ? address.substr(1) : address)};
  } catch (const std::exception& e) {
    return fail(ec::io,
                "metrics cannot be served on " + address + ": " + e.what(),
                flag_hint);
  }
}

} // namespace caged
