#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/store.hpp"
#include "messages/client_api.hpp"

namespace caged {

/// The keys that are let in over tcp: in the store as "keys/" and the key's URL
/// form, and a view of them in memory, so that every message is checked at
/// once. The view follows the store: nodes share it. Thread-safe; what takes
/// the store may block, and is for the records worker.
class key_table {
public:
  /// Called after each change, on the thread that made it; must not block. Set
  /// before anything else.
  void on_change(std::function<void()> changed) {
    changed_ = std::move(changed);
  }

  /// One record of the store as it is now, or that it was erased: everything
  /// that is there, then what changes, in order (nodes/store_follower.hpp). One
  /// that cannot be read lets nobody in; then false.
  bool apply(const record& what, bool erased);
  /// Everything that was there has been applied.
  void loaded();
  /// Until then nobody knows whether a key is let in.
  bool ready() const;

  /// Errors: conflict (the name is another key's, and `shared` is not set),
  /// too_large (limits::keys_most), of the store.
  result<api::key_reply> authorize(store& to, const api::key_authorize& what,
                                   std::int64_t now_ms);

  /// Of a key, or of all keys of a name: those that were let in until now.
  /// Error: of the store; then they still are.
  result<std::vector<api::key_info>> revoke(store& from,
                                            const std::string& key_or_name);

  /// What the bearer of this key (Z85) may do; nothing: not let in.
  std::optional<api::key_info> find(std::string_view key) const;
  /// Of a key (Z85) or a name.
  std::vector<api::key_info> of(const std::string& key_or_name) const;
  std::vector<api::key_info> list() const; ///< oldest first

private:
  struct entry {
    api::key_info info;
    std::int64_t revision = 0;
  };
  bool take(const record& what, bool erased, bool own);
  void tell() const;

  mutable std::mutex mutex_;
  std::map<std::string, entry, std::less<>> all_; ///< by Z85
  /// Revisions of our own erasures that older news may still follow.
  std::map<std::string, std::int64_t, std::less<>> erased_;
  bool loaded_ = false;
  std::function<void()> changed_;
};

/// Owner of what the bearers of this name make: "key:alice".
std::string key_owner(const std::string& name);

/// Key of the store; `key` is Z85.
std::string key_record_of(std::string_view key);
/// Value of a record of the store, and back. Error: malformed.
std::string encode_key(const api::key_info& info);
result<api::key_info> decode_key(const record& from);

} // namespace caged
