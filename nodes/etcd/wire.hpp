#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/store.hpp"

/// The texts of etcd's JSON gateway (etcd.io/docs/v3.4/dev-guide/
/// api_grpc_gateway, api_reference_v3): requests written, answers read. Bytes
/// are base64, 64-bit numbers are strings, and fields that are zero, false or
/// empty are absent. Keys here are etcd's own. Readers trust nothing; errors:
/// malformed.
namespace caged::etcd::wire {

/// The end of the range of all keys that start with `prefix`.
std::string range_end(std::string prefix);

struct range {
  std::string key;
  std::string end;           ///< empty: the one key
  std::int64_t limit = 0;    ///< 0: none
  std::int64_t revision = 0; ///< 0: now
  bool keys_only = false;
};
std::string write(const range& what);

struct ranged {
  std::vector<record> records;
  std::int64_t revision = 0; ///< of the whole etcd when it was read
  bool more = false;         ///< the limit cut it
};
result<ranged> read_range(std::string_view text);

/// All compares hold: the operations; otherwise `look` is read.
struct txn {
  std::vector<compare> compares;
  std::vector<operation> operations;
  std::string look;
};
std::string write(const txn& what);

struct decided {
  bool succeeded = false;
  std::int64_t revision = 0;
  std::optional<record> looked; ///< only when it did not succeed
};
result<decided> read_txn(std::string_view text);

std::string write_grant(std::chrono::seconds ttl);
/// Of keepalive and revoke.
std::string write_lease(std::int64_t lease);
result<store_lease> read_grant(std::string_view text);
/// The time that is left; zero: the lease has ended.
result<std::chrono::seconds> read_keep_alive(std::string_view text);

std::string write_authenticate(const std::string& user,
                               const std::string& password);
result<std::string> read_token(std::string_view text);

std::string write_watch(const std::string& prefix, std::int64_t from);

struct event {
  record what;
  bool erased = false;
};
/// One line of a watch.
struct watched {
  std::vector<event> events;
  /// Not 0: revisions below it are forgotten; nothing more comes.
  std::int64_t compacted = 0;
  bool cancelled = false; ///< nothing more comes
  std::string why;        ///< etcd's words when it was cancelled
};
result<watched> read_watch(std::string_view line);

/// What etcd says when it refuses.
struct refusal {
  /// google.rpc.Code (grpc.io/docs/guides/status-codes); 0: it is not etcd
  /// that speaks, but the HTTP server before it.
  int code = 0;
  std::string text;
};
refusal read_refusal(std::string_view text);

} // namespace caged::etcd::wire
