#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "actors/client_sink.hpp"
#include "actors/entrypoint.hpp"
#include "nodes/gateway/gateway.hpp"
#include "nodes/tcp_port.hpp"

namespace caged {

/// The port and the actors need each other: the sink exists first and forwards
/// to the port as soon as that is bound.
class late_sink : public client_sink {
public:
  void attach(client_sink* to) { to_.store(to); }
  /// Its clients' routes begin with tcp_port::route_prefix.
  void attach_tcp(client_sink* to) { tcp_.store(to); }
  /// Its clients' routes begin with gateway::route_prefix. Before the actors.
  void attach_gateway(gateway* to) { gateway_.store(to); }
  /// What this node answers itself (route_home). Before the first of that.
  void attach_home(std::function<void(api::reply)> to) {
    home_ = std::move(to);
  }
  void send(api::reply message) override {
    if (begins(message.route, route_home)) {
      if (home_)
        home_(std::move(message));
    } else if (begins(message.route, gateway::route_prefix)) {
      if (auto* web = gateway_.load())
        web->send(std::move(message));
    } else if (auto* to = port_of(message.route)) {
      to->send(std::move(message));
    }
  }
  /// The gateway says itself when one of its clients is gone.
  void watch(const std::string& route) override {
    if (auto* to = watched_port_of(route))
      to->watch(route);
  }
  void unwatch(const std::string& route) override {
    if (auto* to = watched_port_of(route))
      to->unwatch(route);
  }

private:
  static bool begins(const std::string& route, std::string_view prefix) {
    return route.compare(0, prefix.size(), prefix) == 0;
  }
  client_sink* watched_port_of(const std::string& route) const {
    return begins(route, gateway::route_prefix) || begins(route, route_home)
               ? nullptr
               : port_of(route);
  }
  client_sink* port_of(const std::string& route) const {
    return begins(route, tcp_port::route_prefix) ? tcp_.load() : to_.load();
  }

  std::atomic<client_sink*> to_{nullptr};
  std::atomic<client_sink*> tcp_{nullptr};
  std::atomic<gateway*> gateway_{nullptr};
  std::function<void(api::reply)> home_;
};

} // namespace caged
