#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

/// Helpers of the tests that look at programs from outside. They throw
/// std::runtime_error when the machine does not do what a test needs at all
/// (no pipe, no fork); what the program under test does is a value.
namespace caged::test {

using namespace std::chrono_literals;

/// A directory under $TMPDIR (else /tmp), removed with what is in it.
class temp_dir {
public:
  temp_dir();
  ~temp_dir();
  temp_dir(const temp_dir&) = delete;
  temp_dir& operator=(const temp_dir&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::string operator/(std::string_view name) const;

private:
  std::string path_;
};

struct process_options {
  std::string in;                          ///< the whole of stdin
  std::map<std::string, std::string> env;  ///< added to ours
  std::string cwd;                         ///< empty: ours
  std::chrono::milliseconds timeout = 30s; ///< then SIGKILL to the group
};

struct process_result {
  int exit = -1;  ///< exit code; 128 + n after signal n
  int signal = 0; ///< what ended it, 0 when it exited
  bool timed_out = false;
  std::string out, err;
};

/// Runs a program (looked up in PATH) to its end, in its own process group.
/// 127 when it does not exist. Reads and writes at the same time.
process_result run(const std::vector<std::string>& argv,
                   const process_options& options = {});

/// A program in the background: a child with its own process group, ended by
/// pidfd, so that never somebody else's process is hit. The destructor sends
/// SIGKILL to the group and reaps.
class background {
public:
  /// stdout and stderr go to files in a directory of its own; `in` is written
  /// to a file first. `timeout` is not used.
  explicit background(const std::vector<std::string>& argv,
                      const process_options& options = {});
  ~background();
  background(const background&) = delete;
  background& operator=(const background&) = delete;

  pid_t pid() const noexcept { return pid_; }
  bool alive();
  void signal(int number);
  /// Waits for the end. False: it still lives at the deadline.
  bool wait(std::chrono::milliseconds timeout);
  /// Exit code, 128 + n after signal n, -1 while it lives.
  int exit();
  std::string out() const;
  std::string err() const;

private:
  temp_dir dir_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int exit_ = -1;
};

/// A deadline on this machine: times $CAGED_SLOW_MACHINE, a whole number, where
/// that is set (ops/vm-test: an emulated processor).
std::chrono::milliseconds patient(std::chrono::milliseconds deadline);

/// Asks every few milliseconds until `done` is true or the deadline has passed.
bool eventually(std::chrono::milliseconds deadline,
                const std::function<bool()>& done);

/// Where the built programs are: $CAGED_BIN_DIR, else ./bin.
std::string bin_dir();

/// Contents of a file; empty when it cannot be read.
std::string read_file(const std::string& path);

/// Whether the process, a host pid, is PID 1 of its own namespace.
bool is_init(pid_t pid);
void write_file(const std::string& path, std::string_view bytes,
                unsigned mode = 0644);

/// Whether a bound on a process's memory means something here. Not where its
/// build has a sanitizer, whose shadow and quarantine are in VmHWM: it says so
/// on stderr, and the plain build, which CI runs as well, is the judge.
bool memory_counts();

/// A "Name:" line of /proc/PID/status in kB (VmHWM, VmRSS); 0 when absent.
std::uint64_t status_kb(pid_t pid, std::string_view name);

/// CPU time of a process so far, user and system.
std::chrono::milliseconds cpu_time(pid_t pid);

/// Whether a process lives (zombies do not count).
bool is_alive(pid_t pid);

} // namespace caged::test
