#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "messages/agent_protocol.hpp"
#include "messages/client_api.hpp"

namespace caged {

/// One exec between its client and the agent: offsets, credit and
/// acknowledgements are checked here, both ways, and nothing is held back.
/// Plain decisions: gives lines for the agent and replies for the client.
/// DESIGN.md, section 6, "Acknowledgement is end to end".
class exec_relay {
public:
  /// Output of an exec without client goes here and is acknowledged when it
  /// returns.
  using keeper = std::function<void(api::channel on, std::string_view bytes)>;

  struct output {
    std::vector<std::string> to_agent; ///< encoded lines
    std::vector<api::reply_body> to_client;
    /// Its receiver has the exit: send exit_ack() and forget the exec.
    bool over = false;
  };

  exec_relay(std::string exec, std::string caller, std::uint64_t digest)
      : exec_{std::move(exec)}, caller_{std::move(caller)}, digest_{digest} {}

  const std::string& exec() const noexcept { return exec_; }
  const std::string& caller() const noexcept { return caller_; }
  std::uint64_t digest() const noexcept { return digest_; }

  /// The client's route; empty: nobody attached.
  const std::string& route() const noexcept { return route_; }
  void detach() { route_.clear(); }

  void attach_route(std::string route) { route_ = std::move(route); }

  /// The node is the receiver from now on (init script, detached exec).
  void keep_output(keeper to) { keeper_ = std::move(to); }
  bool kept() const noexcept { return keeper_ != nullptr; }

  /// Payload of the agent's `exec` message. `cwd` is the sandbox's workdir.
  nlohmann::json start(const api::exec& what, const std::string& cwd,
                       std::string route);

  /// Payload of the agent's `dial` message: a connection to a TCP port or an
  /// MCP server inside.
  nlohmann::json start(const api::dial& what, std::string route);
  bool is_dial() const noexcept { return dial_; }

  /// Everything below is with the node already: what a log of an earlier daemon
  /// holds.
  void received(std::uint64_t out, std::uint64_t err);

  /// The line that lets the agent forget the exec, or closes the dial.
  std::string exit_ack() const;

  /// What an attached client has to know of stdin before it goes on.
  std::vector<api::reply_body> stdin_state() const;

  /// Payload of `attach` for a client that comes (back) with its offsets; one
  /// that only attaches goes on behind what an earlier one acknowledged.
  nlohmann::json attach(const api::exec& what, std::string route);

  /// Payload of `attach` after the link to the agent was made anew; a relay
  /// without a client asks for what the agent still has (`lowest`).
  nlohmann::json resume(std::uint64_t lowest_out, std::uint64_t lowest_err);

  /// The agent answered `exec` or `attach`.
  output started(const nlohmann::json& payload, const std::string& sandbox,
                 bool attached);

  /// A stream message of the client. Error: bad_request, with the offset and
  /// the limit; the exec goes on.
  result<output> from_client(const api::request_body& body);

  /// data, ack, credit, eof or exit of the agent. An error is a violation of
  /// the protocol by the agent.
  result<output> from_agent(agent_protocol::line& message);

  bool has_exited() const noexcept { return exit_.has_value(); }
  const std::optional<api::exec_exit>& exit() const noexcept { return exit_; }
  bool running_seen() const noexcept { return started_; }

private:
  struct out_side {
    std::uint64_t next = 0;   ///< offset expected from the agent
    std::uint64_t credit = 0; ///< limit granted to the agent
    std::uint64_t acked = 0;
    bool ended = false;
    bool moved = false; ///< its client has to be told where it goes on
  };
  out_side* side(api::channel on);
  nlohmann::json credits() const;
  result<output> agent_data(agent_protocol::line& message);
  result<output> agent_exit(const nlohmann::json& payload);
  output agent_close();
  std::string_view name_of(api::channel on) const noexcept;
  std::optional<api::channel> channel_of(const std::string& name) const;
  std::string stream_line(const char* type, api::channel on, const char* key,
                          std::uint64_t value) const;

  std::string exec_;
  std::string caller_;
  std::uint64_t digest_ = 0;
  std::string route_;
  bool dial_ = false;
  keeper keeper_;
  out_side out_, err_;
  std::uint64_t in_credit_ = 0; ///< the agent's limit for stdin
  std::uint64_t in_next_ = 0;   ///< end of what the client has sent
  std::uint64_t in_acked_ = 0;
  bool started_ = false;
  std::optional<api::exec_exit> exit_;
};

} // namespace caged
