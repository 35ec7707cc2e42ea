#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "nodes/etcd/client.hpp"
#include "nodes/store_watchers.hpp"

namespace caged::etcd {

/// All records under a prefix as of one revision, in key order, read in pages.
answered<wire::ranged> list(client& with, const std::string& prefix,
                            bool keys_only = false);

/// All changes under one prefix, from one /v3/watch for all watchers, on a
/// thread of its own that is there from the first one on. What is seen goes to
/// store_watchers, which runs the handlers.
///
/// When the stream ends, or its member is silent for three seconds, it goes on
/// behind the last revision it has seen, at the next member. Silent: nothing
/// came for two seconds, and then the member did not answer a read that needs a
/// majority within one; so a member that stopped, or was cut off, is left.
/// When it did answer, with a revision that the stream should have brought, the
/// stream is begun anew from where it was; mostly that was somebody else's key.
///
/// When etcd has forgotten revisions that were not seen (compaction), the
/// records are listed and compared with those known: the differences are given
/// as changes, erasures last and with the revision of the list.
class watch_stream {
public:
  /// `prefix`: of etcd's keys; a record's key is what follows it.
  watch_stream(client& with, std::string prefix);
  /// The client has been stopped before.
  ~watch_stream();
  watch_stream(const watch_stream&) = delete;
  watch_stream& operator=(const watch_stream&) = delete;

  /// Thread-safe. Token: store_watchers. Errors: those of reading.
  result<std::shared_ptr<void>> add(const std::string& prefix,
                                    store::watch_handler handler);

private:
  result<std::int64_t> begin();
  void run();
  void follow(std::size_t member);
  bool on_line(const std::string& line);
  bool is_fresh(std::size_t member);
  void relist();
  void dispatch(std::vector<wire::event> events);

  client& with_;
  const std::string prefix_;
  store_watchers watchers_;

  /// Held while changes are handed on, and while a watcher is added.
  std::mutex order_;

  std::mutex link_mutex_;
  std::shared_ptr<connection> link_; ///< under link_mutex_

  // The thread's alone once it runs.
  std::map<std::string, std::int64_t> known_; ///< etcd's key -> revision
  std::int64_t last_ = 0;                     ///< everything up to it was seen
  std::int64_t asked_ = 0; ///< the stream was begun when etcd had this one
  bool compacted_ = false;

  std::thread thread_; ///< under order_
};

} // namespace caged::etcd
