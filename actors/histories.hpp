#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/history_record.hpp"
#include "actors/store.hpp"

/// Copies of histories in the store (docs/adr/0014). The functions block: they
/// are for the worker of store calls. Records that cannot be read are passed
/// over. Each may be called again with the same arguments. Errors: of the
/// store.
namespace caged {

/// How long the copy of a sandbox that is over is kept (DESIGN.md, section 8).
inline constexpr std::int64_t history_kept_ms = 7LL * 24 * 3600 * 1000;

/// Sandboxes whose copies are written in one commit: with their names and at
/// their longest still within etcd's limits.
inline constexpr std::size_t histories_a_commit = 32;

/// Writes copies, at most histories_a_commit; of those that are over also which
/// sandbox had the name last. Error: conflict (another node wrote one of the
/// names meanwhile; nothing was changed).
result<void> write_histories(store& to, std::vector<history_record> what);

/// The copy of a sandbox, by its id.
result<std::optional<history_record>> read_history(store& from,
                                                   const std::string& id);

/// By id, then by the whole name of one that is over: the owner's last, or,
/// with `everybodys`, the last of anybody's. Nothing: there is none that the
/// owner may see.
result<std::optional<history_record>> find_history(store& from,
                                                   const std::string& reference,
                                                   const std::string& owner,
                                                   bool everybodys);

struct swept {
  /// This node's copies that stay: id to state and time of the newest cause.
  std::map<std::string, std::pair<phase, std::int64_t>> own;
  std::size_t erased = 0;
  std::size_t unreadable = 0; ///< records, which stay
};

/// Erases the copies of this node's sandboxes that have been over for
/// history_kept_ms, and the oldest beyond limits::history_most. The first of
/// the live nodes, by id, does it for nodes that are in the fleet no more as
/// well, after it has written down that what they had is lost.
result<swept> sweep_histories(store& in, const std::string& node,
                              std::int64_t now_ms);

/// Writes that what this node had is lost, and why: it is in the fleet no more.
/// `what` is for all of them, but for their state before.
result<void> mark_lost(store& in, const std::string& node, const cause& what);

} // namespace caged
