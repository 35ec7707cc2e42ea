#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/store.hpp"

namespace caged {

/// Who wants to know about which keys of a store. Handlers run on one thread of
/// this object's, one at a time, in the order of the commits; they may call the
/// store and drop any token. Thread-safe.
class store_watchers {
public:
  /// A record and whether it was erased.
  using change = std::pair<record, bool>;

  store_watchers();
  /// Runs no handler any more. Tokens may live on.
  ~store_watchers();
  store_watchers(const store_watchers&) = delete;
  store_watchers& operator=(const store_watchers&) = delete;

  /// Call it under the lock that orders the commits.
  void changed(std::vector<change> changes);

  /// Destroying the token ends the watch; when a handler runs at that moment
  /// on the store's thread, it waits for its end.
  std::shared_ptr<void> add(std::string prefix, store::watch_handler handler);

private:
  struct shared;
  std::shared_ptr<shared> shared_;
};

} // namespace caged
