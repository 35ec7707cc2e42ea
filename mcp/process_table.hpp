#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mcp/call.hpp"
#include "mcp/command.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// Background commands of one client, by id, and what its other commands left
/// running. Thread-safe; a thread of its own (made when it is first needed)
/// reads their output, ends them at their time and reaps them. When the table
/// goes, every command in it is ended with its whole tree and reaped: SIGTERM,
/// and SIGKILL 100 ms later for who still lives.
class process_table {
public:
  /// Commands that it knows at the same time. A new one takes the place of the
  /// one that ended first; it is refused while all of them run.
  static constexpr std::size_t most = 16;
  /// Commands that ended and left processes behind. Beyond that number what a
  /// command leaves is ended with it.
  static constexpr std::size_t most_left = 64;

  process_table();
  ~process_table();
  process_table(const process_table&) = delete;
  process_table& operator=(const process_table&) = delete;

  struct options {
    std::string label; ///< The command for people, shortened where shown.
    std::size_t kept_bytes = 1U << 20U; ///< Of its output, the last ones.
    std::optional<std::chrono::milliseconds> timeout; ///< Nothing: none.
  };
  /// Starts it; stdout and stderr are one stream, as on a terminal. The id is
  /// "bg-1" and so on, never used again by this table. Errors: no_capacity, and
  /// those of command::start.
  result<std::string> start(const command_request& what, options how);

  struct output {
    std::string bytes;
    std::uint64_t offset = 0;   ///< Of the first of `bytes`.
    std::uint64_t next = 0;     ///< Where to go on.
    std::uint64_t left_out = 0; ///< Asked for, but no longer kept or too many.
    std::uint64_t total = 0;    ///< Written so far.
    bool running = false;
    bool timed_out = false;
    bool processes_left = false; ///< It ended, others of its tree did not.
    std::optional<int> exit_code;
    int signal = 0;                   ///< What ended it; 0: none.
    std::chrono::milliseconds age{0}; ///< Of its run, so far or in all.
  };
  /// From the absolute offset `since` on (nothing: all that is kept), the last
  /// `at_most` bytes of it. Waits up to `wait` while there is nothing new and
  /// the command runs; ends early when cancelled. Never ends within a UTF-8
  /// sequence while more may come. Errors: not_found, bad_request (an offset
  /// beyond the end).
  result<output> read(const std::string& id, std::optional<std::uint64_t> since,
                      std::size_t at_most, std::chrono::milliseconds wait,
                      cancellation& cancel);

  /// With a signal: sends it to the whole tree and returns. Without: ends the
  /// tree (SIGTERM, SIGKILL after 500 ms) and returns when nobody is left.
  /// What is then known of it. Errors: not_found, wrong_state (everything of it
  /// has ended), denied (somebody of it belongs to another user).
  result<output> kill(const std::string& id, std::optional<int> signal);

  struct row {
    std::string id, label;
    bool running = false;
  };
  /// Oldest first.
  std::vector<row> list() const;

  /// Takes a command that ended but left processes: they live on until the
  /// table goes, what they write is read and dropped (a closed pipe would kill
  /// them). With too many in it, they are ended here.
  void adopt(std::unique_ptr<command> left);

  struct impl;
  impl& self() { return *impl_; }

private:
  std::unique_ptr<impl> impl_;
};

} // namespace caged::mcp
