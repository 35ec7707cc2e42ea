#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <zmq.hpp>

#include "nodes/client_port.hpp"
#include "nodes/refusals.hpp"

namespace caged {

/// What every socket of clients has in common: a ZeroMQ ROUTER with a thread of
/// its own, which alone touches it. Subclasses bind it and say who asks; each
/// calls stop() in its destructor.
///
/// A route is the port's prefix, a tag of fixed size that belongs to the port,
/// the hop of what another node passed on (16 digits, zeros for a client), and
/// ZeroMQ's routing id: clients choose that one, so it decides nothing.
class router_port : public client_port {
public:
  ~router_port() override;

  void send(api::reply message) override;
  void watch(const std::string& route) override;
  void unwatch(const std::string& route) override;
  void stop() override;

protected:
  struct admitted {
    std::string caller;
    bool admin = false, viewer = false;
    std::string from = "this host"; ///< its address, for the log
    /// It is another node, which may say for whom it asks.
    bool node = false;
    bool joiner = false; ///< its key is a join token's
  };

  router_port(std::string prefix, std::size_t tag_size,
              std::shared_ptr<metrics_sink> metrics);

  /// Makes the socket with the options that both kinds share. Error: io.
  result<void> make_socket();
  void run(on_request request, on_gone gone);

  // On the thread.
  virtual std::string tag_of(zmq::message_t&) { return {}; }
  /// Why it is not listened to has been counted.
  virtual result<admitted> admit(zmq::message_t& body) = 0;
  /// Of a request that a node passed on: whether its caller may still ask.
  virtual std::optional<failure> refuses_caller(const api::request&) {
    return std::nullopt;
  }
  /// Whether answers may still go there.
  virtual bool may_hear(const std::string&) { return true; }
  /// Once a turn, after `attended` or wake() woke it.
  virtual void attend() {}

  void wake();
  /// To the connection and not to a request of it.
  void tell(const std::string& route, failure why);
  /// The client is gone, or lets too much pile up, or is cut off.
  void drop(const std::string& route);
  std::vector<std::string> watched();

  zmq::context_t context_{1};
  zmq::socket_t socket_;
  std::vector<void*> attended_; ///< ZeroMQ sockets beside the ROUTER
  refusals refused_;

private:
  struct queue {
    std::deque<std::string> messages;
    std::size_t bytes = 0;
  };

  void loop();
  void poll(std::chrono::milliseconds wait);
  void receive();
  void handle(const std::string& raw, zmq::message_t& body);
  void flush_outbox();
  void flush_queues();
  void probe();
  void deliver(const std::string& route, std::string bytes);
  std::string raw_of(const std::string& route) const;
  std::uint64_t hop_of(const std::string& route) const;
  bool try_send(const std::string& route, const std::string& bytes,
                bool& unreachable);

  const std::string prefix_;
  const std::size_t tag_size_;
  on_request request_;
  on_gone gone_;
  int wake_ = -1;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_; // of the two below
  std::vector<api::reply> outbox_;
  std::map<std::string, int> watched_;

  std::map<std::string, queue> queues_; // the thread's own
};

} // namespace caged
