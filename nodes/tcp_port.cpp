#include "nodes/tcp_port.hpp"

#include <arpa/inet.h>

#include "messages/text.hpp"
#include "nodes/handshake_watch.hpp"
#include "nodes/router_port.hpp"
#include "nodes/zap.hpp"

namespace caged {

namespace {

constexpr std::size_t key_size = 40; // Z85
constexpr std::string_view scheme = "tcp://";
/// A peer that has said nothing for so long is gone: its machine or the way to
/// it. Long enough for a full window over a slow line.
constexpr int heartbeat_ms = 2000, silence_ms = 10'000;
/// Connections that wait to be accepted.
constexpr int backlog = 512;

failure revoked() {
  return {ec::denied, "your key is not authorised any more",
          "ask an admin of the fleet: caged key authorize FILE --role ROLE"};
}

/// router_port and tcp_port are both client_ports: this is the part that does
/// the work, and tcp_port's implementation hands on to it.
class curve_router : public router_port {
public:
  curve_router(std::shared_ptr<const key_table> keys,
               std::shared_ptr<const directory> fleet,
               std::shared_ptr<const join_table> joins,
               std::shared_ptr<metrics_sink> metrics)
      : router_port{std::string{tcp_port::route_prefix}, key_size,
                    std::move(metrics)},
        keys_{std::move(keys)},
        fleet_{std::move(fleet)},
        joins_{std::move(joins)} {}
  ~curve_router() override { stop(); }

  result<void> bind(const tcp_port_options& options);
  using router_port::run;
  const std::string& address() const { return address_; }
  void keys_changed() {
    recheck_ = true;
    wake();
  }

protected:
  std::string tag_of(zmq::message_t& body) override {
    auto key = key_of(body);
    key.resize(key_size);
    return key;
  }
  result<admitted> admit(zmq::message_t& body) override;
  bool may_hear(const std::string& route) override {
    return is_known(key_in(route));
  }
  std::optional<failure> refuses_caller(const api::request& what) override;
  void attend() override;

private:
  std::optional<std::string> node_with(const std::string& key) const {
    return fleet_ ? fleet_->node_with_key(key) : std::nullopt;
  }
  bool is_known(const std::string& key) const {
    return keys_->find(key) || node_with(key) || is_token(key);
  }
  /// Of a host that wants to join.
  bool is_token(const std::string& key) const {
    return joins_ && joins_->knows(key);
  }
  bool knows_all() const {
    return keys_->ready() && (!fleet_ || fleet_->ready())
           && (!joins_ || joins_->ready());
  }
  static std::string key_of(zmq::message_t& body) {
    try {
      return body.gets("User-Id");
    } catch (const zmq::error_t&) {
      return {};
    }
  }
  static std::string key_in(const std::string& route) {
    return route.substr(tcp_port::route_prefix.size(), key_size);
  }
  static std::string address_of(zmq::message_t& body) {
    try {
      return body.gets("Peer-Address");
    } catch (const zmq::error_t&) {
      return "unknown";
    }
  }

  const std::shared_ptr<const key_table> keys_;
  const std::shared_ptr<const directory> fleet_;  ///< may be empty
  const std::shared_ptr<const join_table> joins_; ///< may be empty
  std::unique_ptr<zap_door> door_;
  std::unique_ptr<handshake_watch> handshakes_;
  std::string address_;
  std::atomic<bool> recheck_{false};
};

result<void> curve_router::bind(const tcp_port_options& options) {
  if (!is_listen_endpoint(options.endpoint))
    return fail(ec::bad_request,
                "--listen " + caged::quoted(options.endpoint)
                    + " is no tcp://ADDRESS:PORT",
                "for example --listen tcp://10.0.0.1:7400");
  if (auto made = make_socket(); !made)
    return made;
  try {
    door_ = std::make_unique<zap_door>(
        context_, [this](const std::string& key, const std::string& from) {
          if (is_known(key))
            return zap_door::verdict::yes;
          if (!knows_all())
            return zap_door::verdict::later;
          refused_.add("unknown_key", key, from);
          return zap_door::verdict::no;
        });
    handshakes_ = std::make_unique<handshake_watch>(
        context_, socket_, [this](const std::string& from) {
          refused_.add("handshake", {}, from);
        });
    attended_ = {door_->socket(), handshakes_->socket()};
    socket_.set(zmq::sockopt::ipv6,
                options.endpoint.find('[') != std::string::npos);
    socket_.set(zmq::sockopt::backlog, backlog);
    socket_.set(zmq::sockopt::heartbeat_ivl, heartbeat_ms);
    socket_.set(zmq::sockopt::heartbeat_timeout, silence_ms);
    socket_.set(zmq::sockopt::heartbeat_ttl, silence_ms);
    socket_.set(zmq::sockopt::curve_server, true);
    socket_.set(zmq::sockopt::curve_secretkey, options.node.secret_key);
    socket_.set(zmq::sockopt::zap_domain, zap_door::domain);
    socket_.bind(options.endpoint);
    address_ = socket_.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& e) {
    return fail(ec::io,
                "clients cannot be served at " + options.endpoint + ": "
                    + e.what(),
                "choose another address of this host with --listen, or end "
                "what listens there");
  }
  return {};
}

result<router_port::admitted> curve_router::admit(zmq::message_t& body) {
  handshakes_->read(); // the news of its connection are older than its words
  handshakes_->spoke(zmq_msg_get(body.handle(), ZMQ_SRCFD));
  // Without an answer of zap_door's ZeroMQ 4.3 lets everybody in who has a key
  // at all (its "stonehouse" pattern): then there is no User-Id, and it ends
  // here.
  const auto key = key_of(body);
  if (const auto node = node_with(key)) {
    admitted out{"node:" + *node, false, false, address_of(body)};
    out.node = true;
    return out;
  }
  const auto who = keys_->find(key);
  if (!who && is_token(key)) {
    admitted out{"join:" + url_form(key), false, false, address_of(body)};
    out.joiner = true;
    return out;
  }
  if (!who) {
    refused_.add("revoked_key", key, address_of(body));
    return tl::unexpected<failure>(revoked());
  }
  return admitted{key_owner(who->name), who->as == api::role::admin,
                  who->as == api::role::viewer, address_of(body)};
}

/// Nodes trust each other; but a client that is not let in any more is not by a
/// node either that has not heard of it.
std::optional<failure> curve_router::refuses_caller(const api::request& what) {
  constexpr std::string_view by_key = "key:";
  if (what.caller.starts_with(by_key)
      && keys_->of(what.caller.substr(by_key.size())).empty())
    return revoked();
  return std::nullopt;
}

void curve_router::attend() {
  door_->answer();
  handshakes_->read();
  if (!recheck_.exchange(false))
    return;
  // Those with something under way are told now; the others when they ask.
  for (const auto& route : watched())
    if (!may_hear(route)) {
      refused_.add("revoked_key", key_in(route), "an open connection");
      tell(route, revoked());
      drop(route);
    }
}

class open_tcp_port : public tcp_port {
public:
  open_tcp_port(std::shared_ptr<const key_table> keys,
                std::shared_ptr<const directory> fleet,
                std::shared_ptr<const join_table> joins,
                std::shared_ptr<metrics_sink> metrics)
      : router_{std::move(keys), std::move(fleet), std::move(joins),
                std::move(metrics)} {}

  result<void> bind(const tcp_port_options& options) {
    return router_.bind(options);
  }
  void start(on_request request, on_gone gone) override {
    router_.run(std::move(request), std::move(gone));
  }
  const std::string& address() const override { return router_.address(); }
  void keys_changed() override { router_.keys_changed(); }
  void send(api::reply message) override { router_.send(std::move(message)); }
  void watch(const std::string& route) override { router_.watch(route); }
  void unwatch(const std::string& route) override { router_.unwatch(route); }
  void stop() override { router_.stop(); }

private:
  curve_router router_;
};

} // namespace

bool is_listen_endpoint(const std::string& text) {
  if (!text.starts_with(scheme))
    return false;
  auto host = text.substr(scheme.size());
  const auto colon = host.rfind(':');
  if (colon == std::string::npos)
    return false;
  const auto port = host.substr(colon + 1);
  host.resize(colon);
  constexpr unsigned long last_port = 65535;
  if (port.empty() || port.size() > 5
      || port.find_first_not_of("0123456789") != std::string::npos
      || std::stoul(port) > last_port)
    return false;
  in6_addr address{};
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    return ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(),
                       &address)
           == 1;
  return host == "*" || ::inet_pton(AF_INET, host.c_str(), &address) == 1;
}

result<std::unique_ptr<tcp_port>>
tcp_port::open(const tcp_port_options& options,
               std::shared_ptr<const key_table> keys,
               std::shared_ptr<metrics_sink> metrics) {
  auto made = std::make_unique<open_tcp_port>(
      std::move(keys), options.fleet, options.joins, std::move(metrics));
  if (auto bound = made->bind(options); !bound)
    return tl::unexpected<failure>(bound.error());
  return std::unique_ptr<tcp_port>{std::move(made)};
}

} // namespace caged
