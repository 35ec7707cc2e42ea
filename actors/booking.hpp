#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/fleet_records.hpp"
#include "actors/store.hpp"

/// How places on nodes are taken and given back: "placements/ID", its name, its
/// request and the node's "reserved" change in one commit or not at all,
/// compared by revision, so that entrypoints anywhere can never book one place
/// twice.
///
/// The functions block: they are for the worker of store calls. Each may be
/// called again with the same arguments, whatever it said before. Errors of all
/// of them: malformed (a record of the store cannot be read), and unavailable:
/// nobody knows, so call it again. A commit whose answer was lost may even be
/// carried out later. Whoever goes on is safe from that by the comparisons; who
/// gives up may leave a placement behind that its node has never heard of.
namespace caged {

/// "nodes/ID/reserved" as somebody last saw it.
struct reserved_view {
  reserved_record what;
  std::int64_t revision = 0; ///< 0: there was none
};

/// Error: of the store.
result<reserved_view> read_reserved(store& from, std::string_view node);

/// Takes `what.takes` of what.node, which has `total`. A placement that is
/// there with the same request id, digest and node is this one. Errors:
/// no_capacity (the node is full, or cordoned), conflict (the name, or the
/// sandbox's id, is in use, or the request has made another sandbox; nothing
/// was changed), wrong_state (that one is destroyed: repeat_of_gone).
result<void> book(store& in, const placement_record& what,
                  const capacity& total);

/// One try, for who has a view of the node: where that is right it takes one
/// commit and no read. False: it was out of date; now it is as in the store.
/// Errors: those of book; no_capacity by what `seen` says.
result<bool> book_once(store& in, const placement_record& what,
                       const capacity& total, reserved_view& seen);

/// What this `up` made, wherever it is; nothing: none yet, or it is destroyed.
/// Errors: of the store; malformed.
result<std::optional<placement_record>>
find_request(store& from, const std::string& owner,
             const std::string& request_id);

/// What is kept of an `up` whose sandbox is destroyed.
result<std::optional<gone_request>>
find_gone_request(store& from, const std::string& owner,
                  const std::string& request_id);

/// What a repeat of that `up` is answered. Codes: wrong_state; conflict (it is
/// another `up` with the same id).
failure repeat_of_gone(const std::string& request_id, std::uint64_t digest,
                       const gone_request& before);

/// The reverse of book, by what the placement says it takes; its name only
/// where that is still this sandbox's. Its request goes, too, or becomes
/// `remember` (with the placement's digest). Absent: done. Error: conflict (it
/// is placed on another node now, and nothing was changed).
result<void> unbook(store& in, std::string_view sandbox,
                    std::string_view expected_node,
                    const gone_request* remember = nullptr);

/// Makes the sandbox take less: a failed one keeps its disk only
/// (holds_capacity). Errors: not_found; bad_request (more than before: there
/// may be no room for that).
result<void> rebook(store& in, std::string_view sandbox, const capacity& takes);

struct recounted {
  reserved_record reserved; ///< as it is now
  bool changed = false;     ///< it was wrong
  /// Keys of placements that cannot be read, and so count for no node.
  std::vector<std::string> unreadable;
};

/// Makes the node's "reserved" what its placements add up to, even one that
/// cannot be read; bookings that are made meanwhile are in it. Lists every
/// placement of the fleet: for a node that starts.
result<recounted> recount(store& in, std::string_view node);

} // namespace caged
