#pragma once

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

/// The bearer tokens of the gateway: in the store by their digest, and a view
/// of them in memory, so that every request is checked at once. A secret is
/// known to whoever was told it and to nobody else. Thread-safe; what takes the
/// store may block, and is for the records worker.
class token_table {
public:
  /// `digest`: of a secret, one way (SHA-256 in hexadecimal).
  using digest_function = std::function<std::string(std::string_view)>;

  explicit token_table(digest_function digest) : digest_{std::move(digest)} {}

  /// What an earlier daemon made. Records that cannot be read are left out
  /// and counted. Error: of the store.
  result<std::size_t> load(store& from);

  /// What a node that shares the store has done to one: "tokens/ID". Gives the
  /// id when that one counts no more.
  std::optional<std::string> apply(const record& what, bool erased);

  /// Adds one under a new id and secret; what has expired goes. `info` holds
  /// everything but the id. Errors: too_large (limits::tokens_most), of the
  /// store.
  result<api::token_reply> create(store& to, api::token_info info);

  /// False: there is none. Error: of the store; then it still counts.
  result<bool> revoke(store& from, const std::string& id);

  /// Whose secret this is, unless it has expired.
  std::optional<api::token_info> find(std::string_view secret,
                                      std::int64_t now_ms) const;
  /// By its id, unless it has expired or was revoked.
  std::optional<api::token_info> get(const std::string& id,
                                     std::int64_t now_ms) const;
  std::vector<api::token_info> list(std::int64_t now_ms) const;
  std::string digest(std::string_view text) const { return digest_(text); }

private:
  struct entry {
    api::token_info info;
    std::string digest;
  };
  result<void> drop_expired(store& from);

  const digest_function digest_;
  mutable std::mutex mutex_;
  std::map<std::string, entry> all_; ///< by id
};

/// "caged-abc12345-...": the id without "tok-", then what cannot be guessed.
/// Nothing: it has not that form.
std::optional<std::string> token_id_of(std::string_view secret);

/// Value of a record of the store, and back. Error: malformed.
std::string encode_token(const api::token_info& info,
                         const std::string& digest);
result<std::pair<api::token_info, std::string>>
decode_token(std::string_view value);

} // namespace caged
