#pragma once

#include <set>
#include <string>
#include <vector>

#include "actors/fleet_records.hpp"
#include "actors/journal.hpp"
#include "actors/lifecycle.hpp"
#include "actors/store.hpp"

/// What of the store concerns one node's sandboxes. The functions block: they
/// are for the worker of store calls.
namespace caged {

struct stored_placements {
  std::set<std::string> here; ///< ids of the sandboxes placed on this node
  /// Names whose sandbox is placed here, or nowhere.
  std::vector<record> names;
};

/// Errors: of the store.
result<stored_placements> read_placements(store& from,
                                          const std::string& node_id);

/// Of a daemon that died between its store and its journal: placements and
/// names whose sandbox is not in `owned`, the ids that are somebody's by the
/// journal. A member of the pool that was booked and not yet given away is not.
struct strays {
  std::vector<std::string> placements; ///< ids
  std::vector<record> names;

  bool empty() const { return placements.empty() && names.empty(); }
};
strays find_strays(const stored_placements& stored,
                   const std::set<std::string>& owned);

/// A name that was given away again meanwhile stays. Errors: of the store.
result<void> erase_strays(store& from, const strays& what,
                          const std::string& node_id);

/// Books it on this node, with its name where there is one (booking.hpp).
/// Errors: conflict (the name is taken), no_capacity, of the store: with
/// unavailable nobody knows, and unplace is to be called until it succeeds.
result<void> place(store& to, const sandbox_record& sandbox,
                   const std::string& node_id, const capacity& total);

/// The reverse; absent ones, and what is another's by now, are fine. With
/// `remember` a repeat of its `up` is answered by that for a while.
result<void> unplace(store& from, const sandbox_record& sandbox,
                     const std::string& node_id,
                     const gone_request* remember = nullptr);

/// A failed sandbox keeps no cpus and no memory.
result<void> keep_disk_only(store& in, const sandbox_record& sandbox);

} // namespace caged
