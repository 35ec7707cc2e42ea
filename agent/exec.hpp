#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "agent/stream.hpp"
#include "messages/agent_protocol.hpp"

namespace caged::agent {

/// Member `credit` of exec and attach; 0 where absent. Error: bad_request.
struct credits {
  std::uint64_t out = 0, err = 0;
};
result<credits> parse_credits(const nlohmann::json& payload);

/// A command: agent_protocol.md, section 4.
class exec : public stream {
public:
  exec(server& owner, std::string name);
  ~exec() override;

  /// Starts it. Errors: bad_request, resource.
  result<void> start(const nlohmann::json& payload,
                     const std::map<std::string, std::string>& defaults,
                     const std::string& workspace);

  /// Goes on for a new receiver from these offsets, absent: the lowest that
  /// are kept. Call it before attach. Errors, and then nothing has changed:
  /// not_found (no longer kept), bad_request (beyond what was ever sent).
  result<void> go_on_from(std::optional<std::uint64_t> out,
                          std::optional<std::uint64_t> err,
                          const credits& given);

  /// Its first process ended with this waitpid(2) status.
  void ended(int status);
  pid_t pid() const noexcept { return pid_; }
  bool running() const noexcept { return !status_; }
  /// Ended, and everything it wrote was read.
  bool complete() const noexcept;

  /// To the foreground group of a terminal, else to the process group.
  result<void> signal(int number);
  result<void> resize(unsigned rows, unsigned cols);
  /// SIGTERM to the tree; the reason stands in its exit.
  void terminate(const char* reason);
  void kill_tree();

  /// Its row in the answer to hello.
  nlohmann::json describe() const;

  result<void> on_ack(std::string_view channel, std::uint64_t offset) override;
  std::string next_notice() override;
  void detached() override;
  /// Its exit was sent to who is attached.
  bool told_exit() const noexcept { return exit_sent_; }
  /// The exit was acknowledged.
  bool over() const noexcept { return over_; }

private:
  void end_input() override;
  void progressed() override;
  nlohmann::json exit_payload() const;
  void grace_over();

  pid_t pid_ = 0;
  bool tty_ = false;
  std::optional<int> status_;
  std::string reason_;
  bool exit_sent_ = false; ///< in this attachment
  bool over_ = false;
  std::optional<event_loop::timer_id> timeout_, grace_, forget_;
};

} // namespace caged::agent
