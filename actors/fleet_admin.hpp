#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "actors/store.hpp"

/// What an admin does to the records of a node (fleet_records.hpp). The
/// functions block: they are for the worker of store calls. Each may be called
/// again with the same arguments, whatever it said before. Errors of all of
/// them: not_found (there is no such node any more), unavailable: nobody knows,
/// or others changed it again and again, so call it again.
namespace caged {

struct cordoned {
  bool changed = false; ///< false: it was so before
  std::string by;       ///< who cordoned it, perhaps long ago; empty: nobody
  std::int64_t revision = 0; ///< of the change
};

/// Writes or erases "nodes/ID/cordon", whose value is `who`: bookings compare
/// it, so that none succeeds once this has returned.
result<cordoned> set_cordon(store& in, std::string_view node, bool on,
                            std::string_view who);

struct forgotten {
  std::uint32_t sandboxes = 0;   ///< whose placements are gone with it
  std::vector<std::string> keys; ///< that were erased
  std::int64_t revision = 0;     ///< of the last commit
};

/// Erases everything under "nodes/ID/", and writes that it was removed by
/// `who`: it does not come back by itself. Without `force` it has to be silent
/// and empty, which each commit compares. With it first what is placed there
/// goes, with its names and requests, in several commits where it is much: one
/// that fails leaves the node, with fewer sandboxes. `name` is for the
/// sentences. Errors: wrong_state (it is alive, or sandboxes are placed there).
result<forgotten> forget_node(store& in, std::string_view node,
                              std::string_view name, bool force,
                              std::string_view who);

/// Why a node that is alive is not forgotten.
failure still_alive(std::string_view name);

} // namespace caged
