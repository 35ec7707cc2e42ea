#pragma once

#include <chrono>
#include <string>
#include <vector>

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
  /// (10^6 bytes, as in mcp-baselines.md).
  double peak_mb() const;

private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
};

/// Starts `argv` in `folder` and waits for its end: microseconds. Its output
/// goes nowhere. Throws std::runtime_error when it does not exit with 0.
double spawn_time(const std::vector<std::string>& argv,
                  const std::string& folder);

} // namespace caged::bench
