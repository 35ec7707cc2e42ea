#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "actors/store.hpp"

namespace caged {

/// What lies under one prefix of a store that others write to, as a sequence of
/// changes that begins with everything that is there. A store that is away
/// delays the beginning; from then on its watch is whole by itself.
class store_follower {
public:
  /// Each record as it is now, or that it was erased; one call at a time, on
  /// threads of the store's and of this class. Older news than what was told
  /// are left out.
  using handler = std::function<void(const record&, bool erased)>;

  /// Returns at once. `loaded` is called when the first listing was told, on
  /// the thread of this class; may be empty.
  store_follower(std::shared_ptr<store> from, std::string prefix,
                 handler changed, std::function<void()> loaded = {});
  /// No handler runs any more when it returns; waits for a call to the store
  /// that is under way.
  ~store_follower();
  store_follower(const store_follower&) = delete;
  store_follower& operator=(const store_follower&) = delete;

private:
  void run();
  bool begin();
  void tell(const record& what, bool erased);

  const std::shared_ptr<store> from_;
  const std::string prefix_;
  const handler changed_;
  const std::function<void()> loaded_;

  std::mutex told_mutex_;
  std::map<std::string, std::int64_t> told_; ///< key -> revision

  std::shared_ptr<void> watch_; ///< the thread's until it ends
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

} // namespace caged
