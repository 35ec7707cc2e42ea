#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/node_address.hpp"
#include "messages/client_api.hpp"

/// The way to a node: one ZeroMQ DEALER, and calls over it.
namespace caged::cli {

/// A node that is there shakes hands in microseconds; over a network in a few
/// round trips.
inline constexpr auto handshake_time = std::chrono::milliseconds(2000);
/// A node that works says hello; longer than the handshake because a node
/// under load still is a node.
inline constexpr auto hello_time = std::chrono::milliseconds(5000);

/// A connection that was there when it was opened. Not for several threads.
class connection {
public:
  /// Connects, shakes hands; with several endpoints to the first that answers.
  /// Errors: bad_request (no endpoint, a name that is not known, no key where
  /// one is needed), denied (may not open the socket; the key is not
  /// authorised), unavailable (nobody there, or not who was expected).
  static result<std::unique_ptr<connection>> open(const node_address& to);

  virtual ~connection() = default;

  /// Queues a message. Never blocks: what is sent is bounded by the protocol.
  virtual void send(const api::request& message) = 0;

  /// The next message that is here already; none is an empty optional. Errors:
  /// malformed; what the node says about the connection: denied, when the key
  /// was revoked.
  virtual result<std::optional<api::reply>> receive() = 0;

  /// Whether the node hung up. Open another connection then.
  virtual bool lost() = 0;

  /// ZeroMQ's handles for zmq_poll: messages, and news about the connection.
  virtual void* socket() = 0;
  virtual void* monitor() = 0;
};

/// Whether it is useless to open a connection again.
inline bool is_final(const failure& why) {
  return why.code == ec::denied || why.code == ec::bad_request;
}

/// Waits until the connection has something to say, at most so long.
void wait_for(connection& on, std::chrono::milliseconds timeout);

/// What a reply means for its call.
enum class verdict { more, done };

/// Sends one request and hands its answers on until `done`. When the node
/// hangs up, the same request goes out again over a new connection until the
/// deadline: the node answers a repeat with its first answer. Errors: the
/// node's own, unavailable, timeout. `id` is the request's; empty: a new one.
result<void> call(const node_address& to, api::request_body body,
                  std::chrono::milliseconds deadline,
                  const std::function<verdict(api::reply_body&)>& on_reply,
                  std::string id = {});

/// As call, for verbs with one answer of type Reply.
template <class Reply>
result<Reply>
ask(const node_address& to, api::request_body body,
    std::chrono::milliseconds deadline = limits::request_deadline_default,
    std::string id = {}) {
  std::optional<Reply> out;
  auto done = call(
      to, std::move(body), deadline,
      [&](api::reply_body& reply) {
        if (auto* right = std::get_if<Reply>(&reply)) {
          out = std::move(*right);
          return verdict::done;
        }
        return verdict::more;
      },
      std::move(id));
  if (!done)
    return tl::unexpected<failure>(done.error());
  return std::move(*out);
}

} // namespace caged::cli
