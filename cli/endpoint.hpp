#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "messages/client_api.hpp"

/// The way to a node: one ZeroMQ DEALER, and calls over it.
namespace caged::cli {

inline constexpr const char* default_endpoint = "ipc:///run/caged/node.sock";
/// A node that is there shakes hands in microseconds.
inline constexpr auto handshake_time = std::chrono::milliseconds(2000);
/// A node that works says hello; longer than the handshake because a node
/// under load still is a node.
inline constexpr auto hello_time = std::chrono::milliseconds(5000);

/// A connection that was there when it was opened. Not for several threads.
class connection {
public:
  /// Connects, shakes hands. Errors: bad_request (no ipc:// endpoint), denied
  /// (may not open the socket), unavailable (nobody there).
  static result<std::unique_ptr<connection>> open(const std::string& endpoint);

  virtual ~connection() = default;

  /// Queues a message. Never blocks: what is sent is bounded by the protocol.
  virtual void send(const api::request& message) = 0;

  /// The next message that is here already; none is an empty optional. Error:
  /// malformed.
  virtual result<std::optional<api::reply>> receive() = 0;

  /// Whether the node hung up. Open another connection then.
  virtual bool lost() = 0;

  /// ZeroMQ's handles for zmq_poll: messages, and news about the connection.
  virtual void* socket() = 0;
  virtual void* monitor() = 0;
};

/// Waits until the connection has something to say, at most so long.
void wait_for(connection& on, std::chrono::milliseconds timeout);

/// What a reply means for its call.
enum class verdict { more, done };

/// Sends one request and hands its answers on until `done`. When the node
/// hangs up, the same request goes out again over a new connection until the
/// deadline: the node answers a repeat with its first answer. Errors: the
/// node's own, unavailable, timeout. `id` is the request's; empty: a new one.
result<void> call(const std::string& endpoint, api::request_body body,
                  std::chrono::milliseconds deadline,
                  const std::function<verdict(api::reply_body&)>& on_reply,
                  std::string id = {});

/// As call, for verbs with one answer of type Reply.
template <class Reply>
result<Reply>
ask(const std::string& endpoint, api::request_body body,
    std::chrono::milliseconds deadline = limits::request_deadline_default,
    std::string id = {}) {
  std::optional<Reply> out;
  auto done = call(
      endpoint, std::move(body), deadline,
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
