#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.hpp"

namespace caged::test {

/// A real caged-node on directories of its own, and the command line on it.
/// The destructor destroys every sandbox and throws nothing; a test that cares
/// calls clear() and checks what it says.
class test_node {
public:
  /// Flags of caged-node beyond the directories and endpoints; --data-dir among
  /// them takes the place of its own. `under` stands before the program:
  /// {"env", "A=b"}, anything that executes the rest.
  explicit test_node(std::vector<std::string> flags = {},
                     std::vector<std::string> under = {});
  ~test_node();

  /// Starts the daemon; waits until it answers. False: it ended or is silent.
  bool start();
  /// SIGTERM; waits for its end. The exit code, -1 when it did not end.
  int stop();
  /// Waits until the daemon ends by itself. The exit code, -1 when it does not.
  int ended(std::chrono::milliseconds timeout);
  /// SIGKILL.
  void kill();
  bool alive();
  pid_t pid();
  std::string log() const; ///< its stderr of the last start

  /// Runs `caged ARGS`.
  process_result caged(std::vector<std::string> args,
                       process_options options = {}) const;
  /// `caged ARGS` in the background.
  std::unique_ptr<background> start_caged(std::vector<std::string> args,
                                          process_options options = {}) const;
  /// The environment `caged` needs, for tmux and shells.
  std::string endpoint() const;

  /// `caged up` with flags; the id, or an empty string and a note on stderr.
  std::string up(std::vector<std::string> flags = {});
  /// The state in `caged get`: "running", ...; empty when it is unknown.
  std::string state(const std::string& sandbox) const;
  /// Whether `caged why` mentions the text.
  bool why_says(const std::string& sandbox, const std::string& text) const;
  /// Host pid of the sandbox's init; 0 when there is none.
  pid_t init_of(const std::string& sandbox) const;

  /// Host pids of every process in the sandbox's PID namespace, as the kernel
  /// has them.
  std::vector<pid_t> processes_of(const std::string& sandbox) const;

  /// The exposition of its metrics endpoint; empty when it does not answer.
  std::string metrics() const;
  std::string metrics_address() const;
  /// Value of the first series that starts with this text.
  std::optional<double> series(const std::string& start) const;

  /// Destroys everything and stops the daemon. What is left in the kernel and
  /// on disk, one a line; empty when all is clean.
  std::string clear();

  const std::string& data_dir() const { return data_; }
  const std::string& run_dir() const { return run_; }

private:
  temp_dir dir_;
  std::string data_, run_;
  std::vector<std::string> flags_, under_;
  std::unique_ptr<background> daemon_;
};

/// Options with a deadline, and with a stdin.
process_options within(std::chrono::milliseconds timeout);
process_options with_input(std::string in,
                           std::chrono::milliseconds timeout = 30s);

/// Says aloud that a case cannot run here; CTest counts it as skipped.
void skip(const std::string& reason);

} // namespace caged::test
