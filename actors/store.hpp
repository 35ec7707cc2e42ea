#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "messages/error.hpp"

namespace caged {

/// One key of the store. Keys are paths: "placements/cage-abc12345".
struct record {
  std::string key;
  std::string value;
  std::int64_t revision = 0; ///< of its last change; store-wide, rising
};

/// "The key's revision is still this"; 0: "the key is absent".
struct compare {
  std::string key;
  std::int64_t revision = 0;
};

struct operation {
  enum class kind { put, erase };
  kind what = kind::put;
  std::string key;
  std::string value; ///< put only
  /// put only: the key is erased when this lease ends; 0: it stays. A later put
  /// without it frees the key from the lease.
  std::int64_t lease = 0;
};

/// A promise to come back: keys put under it are erased when it was not kept
/// alive for its time to live. Ids are never 0 and never used again.
struct store_lease {
  std::int64_t id = 0;
  std::chrono::seconds ttl{0}; ///< granted: perhaps more than was asked for
};

/// The truth about who exists and who owns what. SQLite for one host, etcd for
/// several. Thread-safe; actors go through the records worker, since a call may
/// block: a disk's time, with etcd up to five seconds while its members elect a
/// leader, and about one while it is known to be away.
class store {
public:
  /// The record as it is after the change; of an erased one the value is empty
  /// and the revision that of the erasure.
  using watch_handler = std::function<void(const record&, bool erased)>;

  /// Of operations in one commit, and of compares: etcd's 128 (--max-txn-ops)
  /// less one of its store's own.
  static constexpr std::size_t most_operations = 127;

  virtual ~store() = default;

  /// All operations or none; durable when it returns. Gives the new revision.
  /// A key stands in one operation at most. Errors: conflict (a compare failed;
  /// nothing was changed), not_found (a lease has ended; nothing was changed),
  /// too_large, unavailable: nobody knows whether it was done, so read before
  /// you repeat it.
  virtual result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) = 0;

  /// Error, here and below: unavailable.
  virtual result<std::optional<record>> get(const std::string& key) = 0;

  /// Every record whose key starts with prefix, in key order.
  virtual result<std::vector<record>> list(const std::string& prefix) = 0;

  /// Calls the handler, on a thread of the store's, for every change after
  /// now: in order, none left out, none twice. Only where etcd was away for so
  /// long that it has forgotten the changes in between (compaction), a key's
  /// changes become one, its last, and erasures come behind the others. Ends
  /// when the returned token is destroyed.
  virtual result<std::shared_ptr<void>> watch(const std::string& prefix,
                                              watch_handler handler) = 0;

  /// A new lease of at least `ttl`. SQLite's end with the process, and the keys
  /// under them are gone when it opens the next time. Error: bad_request (less
  /// than a second).
  virtual result<store_lease> grant(std::chrono::seconds ttl) = 0;

  /// Its time to live begins again. Error: not_found once it has ended; its
  /// keys are gone.
  virtual result<void> keep_alive(std::int64_t lease) = 0;

  /// Ends it and erases its keys now. A lease that is not there is no error.
  virtual result<void> revoke(std::int64_t lease) = 0;

  virtual std::string kind() const = 0; ///< "sqlite", "etcd"
};

/// Erases keys of no importance, in as many commits as it takes: one that fails
/// leaves the rest. Errors: those of commit.
result<void> erase_all(store& from, const std::vector<std::string>& keys);

/// Erases those that are as they were read, in as few commits as it takes; what
/// has changed since stays. Errors: those of commit, but conflict.
result<void> erase_unchanged(store& from, const std::vector<record>& what);

} // namespace caged
