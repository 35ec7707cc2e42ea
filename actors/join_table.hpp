#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "actors/store.hpp"
#include "messages/client_api.hpp"
#include "messages/curve_key.hpp"

/// How hosts join a fleet: the cluster's id, and the one-use keys of join
/// tokens. "cluster/id" of the store is a UUID. "joins/KEY", KEY in its URL
/// form, is a token: until when it is good, and who has used it; it is kept for
/// a day behind its end, so that a second use is told what became of it.
namespace caged {

struct join_use {
  std::string node, name; ///< id and name
  std::string key;        ///< the node's public key, Z85
  std::int64_t at_ms = 0; ///< wall clock
};

struct join_record {
  std::string key; ///< public key of the token, Z85; part of the record's key
  std::string by;  ///< who made it: "uid:0"
  std::int64_t created_ms = 0, expires_ms = 0; ///< wall clock
  std::optional<join_use> used;
};

std::string join_record_of(std::string_view key); ///< `key` is Z85
std::string encode_join(const join_record& from);
/// Error: malformed.
result<join_record> decode_join(const record& from);

/// The keys of tokens, as the store tells of them: whoever bears one is let in
/// over tcp, to be told what its token is good for. Thread-safe.
class join_table {
public:
  /// As key_table::apply. False: it cannot be read, and lets nobody in.
  bool apply(const record& what, bool erased);
  void loaded();
  /// Until then nobody knows which there are.
  bool ready() const;
  bool knows(std::string_view key) const; ///< Z85

private:
  mutable std::mutex mutex_;
  std::set<std::string, std::less<>> keys_;
  bool loaded_ = false;
};

// The functions below block: they are for the worker of store calls.

struct cluster_identity {
  std::string id;
  bool created = false; ///< by this call
};

/// The cluster of this store; made when there is none. Errors: malformed, of
/// the store.
result<cluster_identity> open_cluster(store& in);

/// Writes a new token down. Gives the record as it is in the store. Errors: of
/// the store.
result<record> offer_join(store& in, const join_record& what);

/// Uses the token up, once: of two at the same time one succeeds. The same node
/// may ask again for ten minutes, because its answer may have been lost. True:
/// that was so. Errors: denied (it was used, has expired, or is not there), of
/// the store: then nobody knows, and the same node asks again.
result<bool> take_join(store& in, const std::string& key, const join_use& by);

/// What of joining is made outside of actors/.
struct join_services {
  /// New CURVE keys. Any thread.
  std::function<result<key_pair>()> make_key;
  /// What the node itself uses; reads files. Empty: the store is its own.
  std::function<result<api::store_access>()> access;
};

} // namespace caged
