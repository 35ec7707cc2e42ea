#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/bench/mcp/server_process.hpp"

namespace caged::bench {

using json = nlohmann::json;

/// What a series of operations took.
struct figures {
  std::vector<double> each_us; ///< from sending to the answer
  double ops_per_s = 0;
  cpu_used cpu_per_op; ///< the server's, microseconds

  double p50() const { return rank(0.50); }
  double p99() const { return rank(0.99); }

private:
  double rank(double part) const;
};

/// How long a series runs.
struct effort {
  double seconds = 0.5;
  std::size_t least = 3;     ///< operations, also when they take longer
  std::size_t most = 100000; ///< of them
};

/// A request without its id.
struct request {
  std::string method;
  json params = json::object();
};
request tool_call(const std::string& name, json arguments);

/// `{"jsonrpc":"2.0","id":ID,...}`.
std::string text_of(const request& what, std::uint64_t id);
/// The id of a response, looked for at its two ends, where every server has
/// it; 0: a notification, which the caller passes over.
std::uint64_t id_of(std::string_view message);
/// Throws std::runtime_error when `message` is an error or a tool's error.
/// `thoroughly`: it is parsed; otherwise only looked at.
void must_be_result(std::string_view message, const request& of,
                    bool thoroughly);

/// One client of a server over its standard input and output. Throws
/// std::runtime_error when the server does not answer within a minute, ends, or
/// answers with an error. Not for several threads.
class pipe_client {
public:
  explicit pipe_client(server_process& to) : to_{to} {}
  /// The handshake of revision 2025-06-18.
  void initialize();
  /// Its result.
  json ask(const request& what);
  /// One after another.
  figures sequence(const request& what, const effort& much);
  /// `window` of them in flight at any time.
  figures pipeline(const request& what, std::size_t window, const effort& much);
  /// Latency of `what`, one each 10 ms, while `busy` runs, microseconds; those
  /// that are answered after it count too.
  figures during(const request& busy, const request& what, std::size_t n);

private:
  std::uint64_t send(const request& what);
  void pump(bool wait_for_input);
  bool readable() const;
  /// The next response; valid until the next call.
  std::string_view next();

  server_process& to_;
  std::uint64_t last_id_ = 0;
  std::string output_; ///< not yet written, from sent_ on
  std::size_t sent_ = 0;
  std::string input_; ///< read, from taken_ on
  std::size_t taken_ = 0, looked_at_ = 0;
};

} // namespace caged::bench
