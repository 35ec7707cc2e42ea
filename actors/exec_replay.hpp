#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/exec_logs.hpp"
#include "messages/client_api.hpp"

namespace caged {

/// One client's reading of an exec whose output the node keeps: from the log,
/// as far as its credit goes, then on with what is appended. Never stops the
/// command: a reader that is too slow finds the oldest bytes dropped, and sees
/// it in the offset.
class exec_replay {
public:
  exec_replay(std::shared_ptr<exec_logs> logs, std::string sandbox,
              const std::string& exec, const api::exec& want);

  /// Where the log of a channel is kept.
  static std::string log_of(const std::string& exec, api::channel on);

  void credit(api::channel on, std::uint64_t limit);

  /// What the client may be told now. `exit`: the exec is over and its logs are
  /// complete. Error: io, the log cannot be read.
  result<std::vector<api::reply_body>>
  pump(const std::optional<api::exec_exit>& exit);

private:
  struct side {
    api::channel on;
    std::string log;
    std::uint64_t next = 0, credit = 0;
    bool ended = false;
  };
  std::shared_ptr<exec_logs> logs_;
  std::string sandbox_;
  std::array<side, 2> sides_;
  bool exit_sent_ = false;
};

} // namespace caged
