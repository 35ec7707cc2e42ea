#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "actors/fleet_records.hpp"
#include "actors/store.hpp"

namespace caged {

/// A node's place in a fleet: what it says of itself in the store, and that it
/// is alive, by a lease. Both are written again whenever they are gone. Its
/// thread also is the first to learn that the store is away.
///
/// Nothing is taken back when it ends: a daemon that is restarted within the
/// lease's time was never away.
class membership {
public:
  struct options {
    /// etcd's least is two seconds (--election-timeout 1000 ms: 3/2 of it,
    /// rounded up). A silent node is lost within five.
    std::chrono::seconds ttl{3};
    std::chrono::milliseconds beat{1000};
    /// What it offers ("nodes/ID/offers"): asked for at each beat, on the
    /// thread of this class, written when it has changed. May be empty.
    std::function<std::string()> offers = {};
    /// The node was removed from the fleet ("removed/ID"), which is the end of
    /// it: called once, on the thread of this class. May be empty.
    std::function<void(const failure&)> removed = {};
  };

  /// Returns at once. `changed` is called on the thread of this class when the
  /// store comes (nothing) or goes (why); may be empty.
  membership(std::shared_ptr<store> in, node_record self, options how,
             std::function<void(const std::optional<failure>&)> changed = {});
  /// Waits for a call to the store that is under way.
  ~membership();
  membership(const membership&) = delete;
  membership& operator=(const membership&) = delete;

  /// Why the store is away, as of the last try; nothing: it answers. Any
  /// thread.
  std::optional<failure> away() const;

  /// Its info was erased: is it to come back? Any thread.
  void look_again();

private:
  void run();
  result<void> beat();
  result<void> join();
  result<void> offer();
  tl::unexpected<failure> is_removed(const std::string& by);

  const std::shared_ptr<store> in_;
  const node_record self_;
  const options how_;
  const std::function<void(const std::optional<failure>&)> changed_;

  // The thread's alone.
  std::int64_t lease_ = 0;
  std::string offered_; ///< as last written
  bool removed_ = false;

  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  bool look_ = false;
  std::optional<failure> away_;
  std::thread thread_;
};

} // namespace caged
