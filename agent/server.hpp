#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/config.hpp"
#include "agent/connection.hpp"
#include "agent/dial.hpp"
#include "agent/exec.hpp"
#include "agent/files.hpp"
#include "agent/loop.hpp"
#include "agent/metrics.hpp"
#include "agent/page_pool.hpp"

namespace caged::agent {

/// The agent: its socket, connections, execs and clocks, on one thread.
class server {
public:
  /// as_init: PID 1 of a sandbox.
  server(config options, bool as_init);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Makes the socket: a stale file is replaced, a live one is an error.
  result<void> listen();

  /// Until shutdown or, stand-alone, SIGTERM or SIGINT, which must be blocked
  /// together with SIGCHLD. Returns the exit code.
  int run();

  // -- for connections and streams -------------------------------------------
  event_loop& loop() noexcept { return loop_; }
  page_pool& pool() noexcept { return pool_; }
  bool is_init() const noexcept { return init_; }
  /// Has the connection sent what it can before the loop waits; may be null.
  void wants_flush(connection* who);
  /// Credit for input is bounded in all: gives how much of `wanted` may be
  /// promised. One that starves always gets a little.
  std::uint64_t promise(std::uint64_t wanted, bool starving);
  void take_back(std::uint64_t bytes);
  /// Output was acknowledged: others may go on.
  void room_was_made() { room_made_ = true; }
  /// An exec or dial is over; it is freed before the loop waits.
  void forget_later() { forget_ = true; }
  void dispatch(connection& from, agent_protocol::line& message);
  /// Bounds unfinished input over all connections.
  void check_input(connection& last);

private:
  using line = agent_protocol::line;

  void accept();
  void on_signal();
  void reap();
  void settle();
  void bound_answers();
  void remove_on();
  void beat();
  void measure();
  void begin_shutdown(std::chrono::milliseconds deadline,
                      const std::string& reason);
  void shutdown_step();
  std::string heartbeat_line();
  std::string metrics_line();

  void on_hello(connection& from, line& message);
  void on_exec(connection& from, line& message);
  void on_attach(connection& from, line& message);
  void attach_to(connection& from, exec& item, const line& message, bool named);
  void on_stream(connection& from, line& message);
  void on_signal_message(connection& from, line& message);
  void on_resize(connection& from, line& message);
  void on_dial(connection& from, line& message);
  void on_close(connection& from, line& message);
  void on_resumed(connection& from, line& message);
  void on_shutdown(connection& from, line& message);
  bool on_file(connection& from, line& message);
  void answer(connection& to, const line& message,
              const result<nlohmann::json>& what);
  stream* find_stream(const std::string& name);
  result<exec*> find_exec(const nlohmann::json& payload);

  config options_;
  bool init_;
  std::string boot_;
  event_loop loop_;
  page_pool pool_;
  unique_fd listener_, signals_;
  file_service files_;
  metrics_source metrics_;
  std::map<std::uint64_t, std::unique_ptr<connection>> connections_;
  std::map<std::string, std::unique_ptr<exec>> execs_;
  std::map<std::string, std::unique_ptr<dial>> dials_;
  std::map<std::string, std::string> defaults_; ///< environment, by `resumed`
  std::set<connection*> flush_;
  struct removal_job {
    std::uint64_t connection;
    std::optional<std::uint64_t> id;
    std::unique_ptr<removal> work;
  };
  std::vector<removal_job> removals_;
  std::uint64_t next_connection_ = 1;
  std::uint64_t promised_ = 0;
  std::uint64_t sequence_ = 0;
  clock::time_point started_ = clock::now();
  bool room_made_ = false, forget_ = false;
  bool stopping_ = false, killed_ = false, bye_said_ = false, done_ = false;
  clock::time_point stop_deadline_{};
  std::string stop_reason_;
};

} // namespace caged::agent
