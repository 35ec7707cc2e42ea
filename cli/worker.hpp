#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace caged::cli {

/// Both ends of a pipe(2), close-on-exec.
class pipe_pair {
public:
  pipe_pair();
  ~pipe_pair();
  pipe_pair(const pipe_pair&) = delete;
  pipe_pair& operator=(const pipe_pair&) = delete;

  /// -1 when there is none or it is closed.
  int read_end() const { return fds_[0]; }
  int write_end() const { return fds_[1]; }
  void close_read() { close_one(0); }
  void close_write() { close_one(1); }

private:
  void close_one(int which);
  int fds_[2] = {-1, -1};
};

/// Blocks the signals that end a program, until it goes away: what has to be
/// removed is removed before they are heard.
class held_signals {
public:
  held_signals();
  ~held_signals();
  held_signals(const held_signals&) = delete;
  held_signals& operator=(const held_signals&) = delete;

private:
  sigset_t before_{};
};

/// A thread that hears no signal; joined by the destructor.
class worker {
public:
  explicit worker(std::function<void()> work);
  ~worker() { join(); }
  void join();

private:
  std::thread thread_;
};

} // namespace caged::cli
