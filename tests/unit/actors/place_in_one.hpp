#pragma once

#include <optional>
#include <utility>

#include "actors/booking.hpp"
#include "actors/scheduler.hpp"

/// Entrypoint and owner in one, on a store: what a fleet has in two places
/// (actors/entrypoint_place.cpp chooses, the node that is asked books), for
/// tests of `order` and `book_once` against many at once and against faults.
namespace caged::test {

/// Each lost place was taken by another booking: more in a row than there are
/// bookings under way in a fleet at one moment.
inline constexpr int most_races = 256;

/// The sandbox's placement, when this is a repeat.
inline result<std::optional<placement_record>>
placed_before(store& in, const placement_record& wanted) {
  const auto got = in.get(placement_key(wanted.sandbox));
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (!*got)
    return std::nullopt;
  auto found = decode_placement(wanted.sandbox, (*got)->value);
  if (!found)
    return tl::unexpected<failure>(std::move(found.error()));
  if (found->request_id != wanted.request_id || found->digest != wanted.digest)
    return std::nullopt;
  return std::optional{std::move(*found)};
}

inline result<void> refresh(store& in, node_view& what) {
  auto reserved = read_reserved(in, what.node.id);
  what.unreadable = !reserved && reserved.error().code == ec::malformed;
  if (reserved)
    what.reserved = *reserved;
  else if (!what.unreadable)
    return tl::unexpected<failure>(std::move(reserved.error()));
  const auto cordon = in.get(node_key(what.node.id, "cordon"));
  if (!cordon)
    return tl::unexpected<failure>(cordon.error());
  what.cordoned = cordon->has_value();
  return {};
}

/// Books the best node: of those in `nodes` that were out of date the
/// reservation is read again, and the order made anew. Gives `placement` with
/// its node, and its name and what it takes from wanted.spec; one that is there
/// with the same sandbox, request id and digest is this one, wherever it is. It
/// blocks, may be called again with the same arguments, and a booking that was
/// in doubt is then found. Errors: those of order and book; unavailable also
/// when the place was lost again and again.
inline result<placement_record>
schedule(store& in, std::vector<node_view>& nodes, const wish& wanted,
         placement_record placement, std::uint64_t seed = 0) {
  placement.name = wanted.spec.name;
  placement.takes = {};
  reserve(placement.takes, wanted.spec, phase::pending);
  // What a refusal means unless the sandbox has its place already.
  auto refused = [&](failure why) -> result<placement_record> {
    auto before = placed_before(in, placement);
    if (!before)
      return tl::unexpected<failure>(std::move(before.error()));
    if (*before)
      return std::move(**before);
    return tl::unexpected<failure>(std::move(why));
  };
  for (int races = 0; races < most_races; ++races) {
    // Anew each time: a node whose place was lost is fuller now. The others are
    // no emptier than in their views, but where sandboxes have ended: what is
    // booked at last was the least booked one, however old the views are.
    const auto best = order(nodes, wanted, placement.sandbox, seed);
    if (!best)
      return refused(best.error());
    auto& node = nodes[best->front()];
    placement.node = node.node.id;
    auto done = book_once(in, placement, node.node.total, node.reserved);
    if (done && *done)
      return placement;
    if (done)
      continue;
    if (done.error().code == ec::conflict)
      return refused(std::move(done.error()));
    const auto why = done.error().code;
    if (why != ec::no_capacity && why != ec::malformed)
      return tl::unexpected<failure>(std::move(done.error()));
    // Cordoned since; or its reservation is broken, which is no reason to place
    // nothing elsewhere.
    if (auto read = refresh(in, node); !read)
      return tl::unexpected<failure>(std::move(read.error()));
    if (why == ec::malformed && !node.unreadable)
      return tl::unexpected<failure>(std::move(done.error()));
  }
  return fail(ec::unavailable,
              "places on the nodes are taken faster than they can be booked",
              "try again");
}

} // namespace caged::test
