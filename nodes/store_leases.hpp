#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "actors/store.hpp"

namespace caged {

/// The leases of a store whose only process is this one: they end with it.
/// Thread-safe; may be called under the lock of the store.
class store_leases {
public:
  /// `ended` erases the keys of a lease that has expired, on a thread of this
  /// object's and under none of its locks. False: it could not, and is called
  /// again a second later.
  explicit store_leases(std::function<bool(std::int64_t)> ended);
  /// Waits for a running `ended`; expires nothing any more.
  ~store_leases();
  store_leases(const store_leases&) = delete;
  store_leases& operator=(const store_leases&) = delete;

  /// Error: bad_request.
  result<store_lease> grant(std::chrono::seconds ttl);
  /// Error: not_found.
  result<void> keep_alive(std::int64_t lease);
  bool alive(std::int64_t lease) const;
  /// Of a commit: not_found when one of its leases is not alive.
  result<void> check(const std::vector<operation>& operations) const;
  /// Forgets it without calling `ended`.
  void drop(std::int64_t lease);

private:
  struct shared;
  std::unique_ptr<shared> shared_;
};

} // namespace caged
