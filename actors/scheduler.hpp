#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actors/booking.hpp"
#include "messages/sandbox.hpp"

/// Which node a sandbox goes to, as plain functions. Every entrypoint decides
/// for itself, by its own view of the fleet, which may be old: the store
/// refuses what is not so any more (booking.hpp).
namespace caged {

/// A node as somebody last saw it.
struct node_view {
  node_record node;
  reserved_view reserved;
  bool unreadable = false; ///< its "reserved" is no record: recount() mends it
  bool live = false;       ///< "nodes/ID/live" is there
  bool cordoned = false;
  /// Wall clock, when its lease was seen to end; 0: it is live, or was silent
  /// before anybody looked.
  std::int64_t silent_since_ms = 0;
  /// Wall clock, of the end of the lease before this one; 0: there was none.
  std::int64_t heard_ms = 0;
  std::string cordoned_by;               ///< who wanted that
  std::set<std::string> templates;       ///< that it has
  std::map<std::string, unsigned> ready; ///< members of its pool, by template
};

/// What is asked of a node.
struct wish {
  sandbox_spec spec;
  std::string node; ///< name or id of the only one that will do; may be empty
  std::map<std::string, std::string> require; ///< labels that it must have
};

/// Indices of the nodes that have room, the best first. Nodes that have the
/// template come before all others; then the one that would be least booked,
/// relative to its own size, over its scarcest resource; a ready member of the
/// pool makes up for a little. Among equals the order is different for each
/// sandbox and each seed, so that many entrypoints do not all run to one node.
/// Any thread. Errors: not_found (wanted.node is no node), no_capacity: the
/// sentence says how many nodes lack what; one that is short of two resources
/// is counted with both.
result<std::vector<std::size_t>> order(const std::vector<node_view>& nodes,
                                       const wish& wanted,
                                       std::string_view sandbox,
                                       std::uint64_t seed = 0);

/// Whether this node alone will do, for who may ask no other: the sentence of
/// `order` where a node or labels are asked for, and one about the cordon in
/// any case. What is not asked for, and its room, is the booking's to judge.
/// Any thread. Errors: not_found, no_capacity.
result<void> placeable(const node_view& here, const wish& wanted);

/// Whether some node that is live has the template, or nobody has said what it
/// has. Any thread. Errors: not_found (the hint names what there is), lost (the
/// nodes that have it are silent).
result<void> obtainable(const std::vector<node_view>& nodes,
                        const std::string& template_name);

} // namespace caged
