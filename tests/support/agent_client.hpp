#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "messages/agent_protocol.hpp"
#include "tests/support/process.hpp"

namespace caged::test {

/// A client of an agent's socket, as the specification has it. Every wait has
/// a deadline; messages that nobody waits for are kept in the order they came.
class agent_client {
public:
  using line = agent_protocol::line;

  /// Connects; see connected().
  explicit agent_client(const std::string& path);
  ~agent_client();
  agent_client(const agent_client&) = delete;
  agent_client& operator=(const agent_client&) = delete;

  bool connected() const noexcept { return fd_ >= 0; }
  /// The agent has closed the connection (noticed while waiting).
  bool closed() const noexcept { return closed_; }

  /// Sends bytes as they are. False: the connection is gone.
  bool send(std::string_view bytes);
  bool tell(std::string_view type, const nlohmann::json& payload,
            std::optional<std::uint64_t> id = {});
  /// Ends the sending side, as `printf ... | socat` does.
  void end_input();

  /// The first message, kept or new, that `wanted` accepts. nullopt: none came
  /// before the deadline, or the connection ended.
  std::optional<line> wait(const std::function<bool(const line&)>& wanted,
                           std::chrono::milliseconds timeout = 10s);
  std::optional<line> wait_type(std::string_view type,
                                std::chrono::milliseconds timeout = 10s);

  /// Asks and waits for the answer with the same id; type "none" when none
  /// came.
  line call(std::string_view type, const nlohmann::json& payload,
            std::chrono::milliseconds timeout = 10s);

  /// hello; from then on raw bytes are understood when asked for.
  line hello(bool raw = false, bool heartbeats = false, bool metrics = false);

  /// Reads until the connection ends. False: it did not.
  bool wait_closed(std::chrono::milliseconds timeout = 10s);

private:
  bool receive(std::chrono::steady_clock::time_point deadline);

  int fd_ = -1;
  bool closed_ = false;
  agent_protocol::line_reader reader_;
  std::deque<line> kept_;
  std::uint64_t next_id_ = 1;
};

/// What a command left behind.
struct exec_outcome {
  std::string out, err;
  int code = -1, signal = 0;
  std::string reason;
  bool ended = false; ///< an exit came, at the offsets that were received
};

/// Reads an exec to its end: acknowledges, gives credit, checks offsets.
exec_outcome follow(agent_client& client, const std::string& exec,
                    std::uint64_t out_from = 0, std::uint64_t err_from = 0,
                    std::chrono::milliseconds timeout = 20s);

/// Starts `order` (argv, shell, ...) under a new name and follows it.
exec_outcome run_exec(agent_client& client, nlohmann::json order,
                      std::chrono::milliseconds timeout = 20s);

/// A caged-agent of its own in a directory of its own.
class agent_process {
public:
  explicit agent_process(std::vector<std::string> flags = {},
                         std::map<std::string, std::string> env = {});

  /// Waits until it listens.
  bool ready();
  const std::string& socket() const noexcept { return socket_; }
  std::string workspace() const { return dir_ / "workspace"; }
  std::string path(std::string_view name) const {
    return workspace() + "/" + std::string{name};
  }
  background& process() { return *process_; }
  std::uint64_t peak_kb() const;

private:
  temp_dir dir_;
  std::string socket_;
  std::unique_ptr<background> process_;
};

} // namespace caged::test
