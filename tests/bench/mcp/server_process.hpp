#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <sched.h>
#include <sys/types.h>

namespace caged::bench {

using clock = std::chrono::steady_clock;

/// What a server and the processes below it have used since their start, in
/// microseconds. `own`: the server's process, to the nanosecond, by its
/// process clock (clock_getcpuclockid(3): all threads, also ended ones).
/// `children`: those that it waited for, in ticks of 10 ms (proc_pid_stat(5)),
/// and those that run, by their clocks.
struct cpu_used {
  double own = 0, children = 0;
};

/// A server that speaks by its standard input and output, or listens. Ended in
/// the destructor: end of input, 2 s later SIGKILL. Not for several threads.
class server_process {
public:
  /// Starts `argv`; stderr goes to the file `log`. Throws std::runtime_error.
  server_process(const std::vector<std::string>& argv, const std::string& log);
  ~server_process();
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

  /// Non-blocking descriptors: its stdin and its stdout.
  int in() const { return in_; }
  int out() const { return out_; }
  pid_t pid() const { return pid_; }
  cpu_used cpu() const;
  /// VmHWM of the server and of the processes that run below it, added up, MB
  /// (10^6 bytes, as in mcp-baselines.md). Of those that are the same program
  /// without its file: they share those pages.
  double peak_mb() const;

private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
};

/// While it lives, this program and the server share one CPU. The kernel puts
/// both on one or on two as it likes, which decides what a wake-up costs; the
/// original's 11 us for a ping are those of one CPU (mcp-baselines.md).
class one_cpu {
public:
  explicit one_cpu(const server_process& with);
  ~one_cpu();
  one_cpu(const one_cpu&) = delete;
  one_cpu& operator=(const one_cpu&) = delete;

private:
  pid_t server_;
  cpu_set_t before_;
};

struct spawned {
  double us = 0;
  /// Largest resident memory, 10^6 bytes; at least that of this program now,
  /// whose copy it is at first (getrusage(2)).
  double peak_mb = 0;
};
/// Starts `argv` in `folder` and waits for its end. Its output goes nowhere.
/// Throws std::runtime_error when it does not exit with 0.
spawned spawn(const std::vector<std::string>& argv, const std::string& folder);

/// fstatat(2) of file-0.txt to file-N.txt in `folder`: microseconds. Throws
/// std::runtime_error.
double stat_time(const std::string& folder, int n);

} // namespace caged::bench
