#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include <pthread.h>

#include "mcp/line_buffer.hpp"
#include "mcp/session.hpp"
#include "mcp/stdio_outlet.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

/// Reads stdin for one session. Two threads take turns: one reads and works on
/// what is brief (lend), the other one guards it. When a job takes longer than
/// two milliseconds the guard reads on, and whoever was busy guards next: so a
/// call that is over at once costs no change of threads, and one that is not
/// keeps nobody waiting.
class stdio_reader {
public:
  enum class ended { by_signal, by_input, by_output };

  /// `signals` becomes readable when the server is told to end.
  stdio_reader(std::size_t line_most, session& to,
               std::shared_ptr<stdio_outlet> out, int signals);
  /// Joins the guard.
  ~stdio_reader();
  stdio_reader(const stdio_reader&) = delete;
  stdio_reader& operator=(const stdio_reader&) = delete;

  /// Reads until the end; then calls `finish`, on whichever thread read last:
  /// the calling one may be in a call that never returns. Returns behind it.
  void run(std::function<void(ended)> finish);

private:
  using clock = std::chrono::steady_clock;

  void work(bool reads);
  /// Until the end, or until another thread reads.
  void read();
  /// False: it is over. True: this thread reads from now on.
  bool guard();
  bool lend(const stdio_outlet::job& what);
  void take(std::string_view line);
  void over(ended why);
  ssize_t fill();
  void start_guard();
  bool reads_here();
  /// With the lock held.
  bool take_over();
  void arm(clock::duration in);

  session& to_;
  const std::shared_ptr<stdio_outlet> out_;
  const int signals_;
  std::function<void(ended)> finish_;
  line_buffer in_; // the reader's

  std::mutex mutex_;
  std::thread::id reader_;
  pthread_t reader_thread_{};
  bool guarding_ = false; ///< The other thread is in guard().
  bool told_ = false;     ///< A signal.
  bool armed_ = false;
  std::optional<clock::time_point> lent_; ///< Since when the reader works.
  std::optional<ended> result_;
  owned_fd timer_, over_;
  std::thread other_;
};

} // namespace caged::mcp
