#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "mcp/http_stream.hpp"
#include "mcp/session.hpp"
#include "mcp/web_budget.hpp"

namespace caged::mcp {

/// One session of Streamable HTTP (2025-03-26 to 2025-11-25): it is known by
/// its id and lives longer than any of its connections. I/O thread alone.
struct http_session {
  std::string id;
  std::shared_ptr<session> of;
  std::shared_ptr<replay_store> replay;
  /// Streams that a client may come back to, by their numbers.
  std::map<std::uint64_t, std::shared_ptr<http_stream>> streams;
  std::uint64_t next_stream = 1;
  /// The GET stream, number 0; null before the first GET.
  std::shared_ptr<http_stream> events;
  std::chrono::steady_clock::time_point used;

  bool in_use() const;
};

/// All of a server, at most so many. I/O thread alone.
class http_sessions {
public:
  using clock = std::chrono::steady_clock;

  http_sessions(web_budget& budget, std::size_t most)
      : budget_{budget}, most_{most} {}

  /// Null: unknown, ended or expired.
  std::shared_ptr<http_session> find(const std::string& id);
  /// Makes room for one more: ends the session that was idle for longest, if
  /// for more than a minute. False: all are in use.
  bool make_room(clock::time_point now);
  /// Takes a session that answered initialize in, under a new id.
  std::shared_ptr<http_session> add(std::shared_ptr<session> of,
                                    clock::time_point now);
  /// Ends one: its calls are cancelled, its streams end.
  void end(const std::shared_ptr<http_session>& one);
  /// Ends those that were idle for so long; forgets streams that are over.
  void expire(clock::time_point now, std::chrono::milliseconds idle);
  void end_all();
  /// Calls that run or wait, of all.
  std::size_t busy() const;
  std::size_t size() const { return all_.size(); }

private:
  web_budget& budget_;
  const std::size_t most_;
  std::unordered_map<std::string, std::shared_ptr<http_session>> all_;
};

} // namespace caged::mcp
