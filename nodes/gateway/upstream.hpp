#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "messages/client_api.hpp"

namespace caged::gateway_parts {

class upstream;

/// The node as the gateway's connections ask it: requests go out under a route
/// and id of their own, answers find their way back. I/O thread alone.
class node_link {
public:
  std::function<void(api::request)> send;
  std::function<void(std::string route)> gone;

  void add(const std::shared_ptr<upstream>& one);
  void remove(const std::string& id) { all_.erase(id); }
  void deliver(api::reply& message);

private:
  std::unordered_map<std::string, std::weak_ptr<upstream>> all_;
};

/// One request to the node and what comes of it: a stream to an MCP server in a
/// sandbox, or a single answer. Offsets and credit as for every client
/// (DESIGN.md, section 6). I/O thread alone.
class upstream : public std::enable_shared_from_this<upstream> {
public:
  /// `changed` is called for every message; until close().
  upstream(node_link& node, std::function<void()> changed);
  ~upstream();
  upstream(const upstream&) = delete;
  upstream& operator=(const upstream&) = delete;

  /// Once.
  void ask(api::request_body body, const std::string& caller, bool admin);

  /// The stream is there, or the answer is.
  bool open() const { return open_; }
  /// Nothing more comes, or it was never there: error().
  bool ended() const { return ended_; }
  const std::optional<api::error_reply>& error() const { return error_; }
  /// Of a question.
  const std::optional<api::reply_body>& answer() const { return answer_; }

  /// Sends as much as the other side has room for and takes it off the front.
  void write(std::string& bytes);
  std::uint64_t credit_left() const { return credit_ - sent_; }
  /// What came and was not consumed.
  std::string in;
  /// So many bytes of it are with our client: acknowledged, there is room for
  /// more.
  void consumed(std::size_t bytes);
  /// No more from us.
  void close();

private:
  friend class node_link;
  void on_reply(api::reply_body& body);
  void post(api::request_body body);
  void end();

  node_link& node_;
  std::function<void()> changed_;
  const std::string id_, route_;
  bool asked_ = false, open_ = false, ended_ = false, closed_ = false;
  std::optional<api::error_reply> error_;
  std::optional<api::reply_body> answer_;
  std::uint64_t sent_ = 0, credit_ = 0;  ///< towards the sandbox
  std::uint64_t had_ = 0, consumed_ = 0; ///< from it
  std::uint64_t granted_ = limits::window_default;
};

} // namespace caged::gateway_parts
