#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mcp/call.hpp"
#include "mcp/keeper.hpp"
#include "mcp/kept_output.hpp"
#include "mcp/workspace.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// From SIGTERM to SIGKILL.
constexpr std::chrono::milliseconds end_grace{500};

/// A command to be run.
struct command_request {
  /// Not empty. The program is argv[0], looked up in the PATH of `env`, unless
  /// `program` says otherwise.
  std::vector<std::string> argv;
  std::string program; ///< A path; empty: by argv[0].
  std::vector<std::string> env;
  owned_fd cwd;                  ///< Where it starts; must be open.
  std::optional<std::string> in; ///< Its stdin; nothing: /dev/null.
  bool one_stream = false;       ///< stderr goes where stdout goes.
};

/// The environment of commands: PATH, HOME, USER, LOGNAME, LANG, TMPDIR, a TERM
/// of "dumb", and what of `from` ("NAME=value" each) is on a short list of
/// names that programs need and that hold no secrets (locale, time zone,
/// toolchains' folders, certificates, proxies without a password). `more` is
/// added, and wins.
std::vector<std::string>
clean_environment(const char* const* from,
                  const std::map<std::string, std::string>& more = {});
/// The value of a variable in such a list; empty when absent.
std::string_view variable(const std::vector<std::string>& env,
                          std::string_view name);

/// A started command with everything that came from it. One thread reads it;
/// signal() may be called from others at the same time.
class command {
public:
  /// Errors: bad_request (argv), not_found, denied, too_large, resource.
  static result<std::unique_ptr<command>> start(const command_request& what);
  /// Ends what is left of the tree, SIGKILL at once, and reaps it.
  ~command();
  command(const command&) = delete;
  command& operator=(const command&) = delete;

  /// Descriptors for poll(2): -1 when there is nothing more to come.
  int out() const { return out_.get(); }
  int err() const { return err_.get(); }
  int channel() const { return gone_ ? -1 : keeper_.channel(); }

  /// Reads what is there of one stream, at most `most` bytes, and gives it to
  /// `sink` in pieces. Closes it at its end. Never blocks. True: there may be
  /// more.
  using sink = std::function<void(std::string_view)>;
  bool drain_out(std::size_t most, const sink& to);
  bool drain_err(std::size_t most, const sink& to);
  /// What a pipe holds at most, bytes: after the command's end, one read of
  /// this size has all that it wrote.
  static std::size_t pipe_bytes();
  /// Reads the channel; call it when channel() is readable.
  void look();

  bool ended() const { return status_.has_value(); }
  /// Nobody of its tree is left, and all of them are reaped.
  bool gone() const { return gone_; }
  /// Valid after the end.
  std::optional<int> exit_code() const;
  int end_signal() const;
  pid_t pid() const { return keeper_.main(); }

  /// Sends a signal to every process of the tree; a stopped one is continued
  /// behind SIGTERM. How many were hit, and how many could not be (another
  /// user's). Any thread.
  struct hits {
    std::size_t hit = 0, denied = 0;
  };
  hits signal(int number);

private:
  command() = default;

  keeper keeper_;
  std::mutex reaping_; ///< The keeper's number is ours while it is held.
  std::uint64_t born_ =
      0; ///< Clock ticks since boot, not later than its start.
  owned_fd out_, err_;
  std::optional<int> status_;
  bool gone_ = false;
};

/// How a command went that somebody waited for.
struct outcome {
  kept_output::text out, err;
  std::optional<int> exit_code;
  int signal = 0; ///< What ended it; 0: none.
  bool timed_out = false;
  bool cancelled = false;
  bool processes_left = false;
  std::chrono::microseconds duration{0};
};

struct run_options {
  std::chrono::milliseconds timeout{30'000};
  std::size_t output_bytes = 1U << 20U; ///< Of both streams together.
  /// Called about twice a second with the last line of output.
  std::function<void(std::chrono::milliseconds, std::string_view)> progress;
};

/// Runs a command until its first process ends, and takes what it wrote until
/// then: a child that holds stdout open is not waited for. At the timeout and
/// when cancelled the whole tree is ended (SIGTERM, after 500 ms SIGKILL).
/// `left` gets the command when others of its tree live on. Errors: as
/// command::start.
result<outcome> run_command(const command_request& what, const run_options& how,
                            cancellation& cancel,
                            std::unique_ptr<command>* left = nullptr);

/// Waits until nobody of the tree is left, reading output. False: not in time.
bool await_gone(command& what, std::chrono::steady_clock::time_point until,
                const command::sink& out = {}, const command::sink& err = {});

/// Ends a tree and waits for its last process, reading and dropping output.
/// False: somebody is still there (another user's, or stuck in the kernel).
bool end_command(command& what, std::chrono::milliseconds grace,
                 const command::sink& out = {}, const command::sink& err = {});

} // namespace caged::mcp
