#pragma once

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
};

/// The truth about who exists and who owns what. SQLite for one host, etcd for
/// several. Calls may block up to a second and are thread-safe; actors go
/// through the records worker.
class store {
public:
  using watch_handler = std::function<void(const record&, bool erased)>;

  virtual ~store() = default;

  /// All operations or none; durable when it returns. Gives the new revision.
  /// Errors: conflict (a compare failed; nothing was changed), unavailable.
  virtual result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) = 0;

  virtual result<std::optional<record>> get(const std::string& key) = 0;

  /// Every record whose key starts with prefix, in key order.
  virtual result<std::vector<record>> list(const std::string& prefix) = 0;

  /// Calls the handler, on a thread of the store's, for every change after
  /// now. Ends when the returned token is destroyed.
  virtual result<std::shared_ptr<void>> watch(const std::string& prefix,
                                              watch_handler handler) = 0;

  virtual std::string kind() const = 0; ///< "sqlite", "etcd"
};

} // namespace caged
