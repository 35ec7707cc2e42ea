#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nodes/etcd/http.hpp"
#include "nodes/etcd/wire.hpp"

namespace caged::etcd {

/// An answer, and whether an earlier attempt at the same call, of which nothing
/// was heard, may have been carried out, too.
struct answer {
  std::string body;
  bool doubtful = false;
};

/// Why there is none. `doubtful`: it may have been carried out all the same.
struct refused {
  failure why;
  bool doubtful = false;
  int code = 0; ///< google.rpc.Code of etcd's refusal; 0: nobody answered
};

template <class T>
using answered = tl::expected<T, refused>;

/// Calls to a cluster: one member after the other until one answers, each for
/// options.call_timeout, all for options.total_timeout. While no member answers
/// (the last call found so), a call asks each only once. Thread-safe; calls at
/// the same time have a connection each.
class client {
public:
  client(etcd_options options, std::shared_ptr<dialer> with);

  /// Sends the same text until a member answers: it must be one that may be
  /// carried out twice. Errors: what etcd refused, at once; unavailable.
  answered<answer> call(const std::string& path, const std::string& body);

  /// One attempt, by this member alone, at a call that changes nothing.
  answered<std::string> ask(std::size_t member, const std::string& path,
                            const std::string& body);

  std::size_t members() const { return options_.endpoints.size(); }
  /// The one that answered last.
  std::size_t member() const { return first_; }

  /// A connection of the caller's own with a stream on it. The pointer is set
  /// under `guard` before the call may block, for cancel().
  result<void> open_stream(std::size_t member, const std::string& path,
                           const std::string& body, std::mutex& guard,
                           std::shared_ptr<connection>& out);
  /// The token is no good any more, it seems: the next call fetches one.
  void forget_token();

  /// Calls that run end with the attempt they are at; all later ones fail.
  void stop();
  bool stopped() const { return stopping_; }
  /// Waits, or less when it is stopped.
  void pause(std::chrono::milliseconds time);

private:
  using attempt = tl::expected<std::string, refused>;
  attempt once(std::size_t member, const std::string& path,
               const std::string& body, steady::time_point end);
  attempt exchange(std::size_t member, const std::string& path,
                   const std::string& body, const std::string& token,
                   steady::time_point end);
  answered<std::string> token(std::size_t member, const std::string& stale,
                              steady::time_point end);
  failure silent(const refused& last) const;

  const etcd_options options_;
  const std::shared_ptr<dialer> with_;
  std::atomic<std::size_t> first_{0};
  std::atomic<bool> away_{false}, stopping_{false};

  std::mutex mutex_;
  std::condition_variable stop_;
  std::vector<std::vector<std::unique_ptr<connection>>> idle_;

  std::timed_mutex token_mutex_; ///< held while a token is fetched
  std::string token_;
};

} // namespace caged::etcd
