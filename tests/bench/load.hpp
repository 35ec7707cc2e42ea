#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/endpoint.hpp"

namespace caged::bench {

using clock = std::chrono::steady_clock;
using milliseconds = std::chrono::duration<double, std::milli>;

/// Many requests in flight over one open connection to a node, as one client
/// would have them: no process start and no handshake is in the figures. Not
/// for several threads.
class load {
public:
  /// Every request is answered within this or the benchmark is broken.
  static constexpr auto patience = std::chrono::seconds(120);

  /// Errors: as connection::open.
  static result<load> open(const std::string& endpoint);

  /// When a request has its last answer.
  using when_done = std::function<void(api::reply_body&)>;

  /// Sends a request whose answer is of type Reply.
  template <class Reply>
  void ask(api::request_body body, when_done then) {
    send(std::move(body),
         [](const api::reply_body& got) {
           return std::holds_alternative<Reply>(got);
         },
         std::move(then), {});
  }

  /// Runs `true` in a sandbox; `then` when its exit is here, which is
  /// acknowledged. Another exit than 0 is an error of wait(). So is a refusal,
  /// unless it is transient and there is `refused` to take it.
  void exec_true(const std::string& sandbox, std::function<void()> then,
                 std::function<void()> refused = {});

  /// Until nothing is in flight. Errors: the node's own, unavailable,
  /// timeout; wrong_state when a command failed.
  result<void> wait();

private:
  struct call {
    std::function<bool(const api::reply_body&)> is_last;
    when_done then;
    std::function<void()> refused; ///< may be empty
  };

  explicit load(std::unique_ptr<cli::connection> to) : node_{std::move(to)} {}
  std::string send(api::request_body body,
                   std::function<bool(const api::reply_body&)> is_last,
                   when_done then, std::function<void()> refused);
  result<void> take(api::reply& got);

  std::unique_ptr<cli::connection> node_;
  std::map<std::string, call> calls_; ///< by request id
  std::string broken_;                ///< what went wrong in a callback
};

/// The smallest sandbox: 1 cpu, 128 MB, 1 GB.
api::up smallest();

/// Calls `start(i, done)` for each i below n with at most `at_once` of them
/// open; an item is over when it calls `done`. Errors: as load::wait.
result<void>
each(load& on, std::size_t n, std::size_t at_once,
     const std::function<void(std::size_t, std::function<void()>)>& start);

} // namespace caged::bench
