#include "actors/placements.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "actors/booking.hpp"

namespace caged {

namespace {

constexpr std::string_view placements_prefix = "placements/";

/// What cannot be read is this node's where the store is: an earlier version
/// wrote the node's name alone.
bool is_placed_on(const std::string& node_id, const std::string& sandbox,
                  const record& what, bool own_store) {
  const auto placement = decode_placement(sandbox, what.value);
  return placement ? placement->node == node_id : own_store;
}

} // namespace

result<stored_placements> read_placements(store& from,
                                          const std::string& node_id) {
  // Names first: one that is seen had its placement then, so that a placement
  // which is not seen was erased since, and not written.
  auto names = from.list("names/");
  if (!names)
    return tl::unexpected<failure>(names.error());
  auto placed = from.list(std::string{placements_prefix});
  if (!placed)
    return tl::unexpected<failure>(placed.error());
  // What a daemon that died could not finish is not booked for ever.
  if (auto counted = recount(from, node_id); !counted)
    return tl::unexpected<failure>(counted.error());
  const bool own_store = from.kind() != "etcd";
  stored_placements out;
  std::set<std::string> elsewhere;
  for (const auto& each : *placed) {
    auto sandbox = each.key.substr(placements_prefix.size());
    auto& to =
        is_placed_on(node_id, sandbox, each, own_store) ? out.here : elsewhere;
    to.insert(std::move(sandbox));
  }
  for (auto& each : *names)
    if (elsewhere.count(each.value) == 0)
      out.names.push_back(std::move(each));
  return out;
}

strays find_strays(const stored_placements& stored,
                   const std::set<std::string>& owned) {
  strays out;
  std::set_difference(stored.here.begin(), stored.here.end(), owned.begin(),
                      owned.end(), std::back_inserter(out.placements));
  // Written with the placement and erased with it; a crash before the journal
  // had its part leaves a name that nobody bears.
  for (const auto& each : stored.names)
    if (stored.here.count(each.value) == 0 || owned.count(each.value) == 0)
      out.names.push_back(each);
  return out;
}

result<void> erase_strays(store& from, const strays& what,
                          const std::string& node_id) {
  for (const auto& each : what.names) {
    auto done = from.commit({{each.key, each.revision}},
                            {{operation::kind::erase, each.key, {}}});
    if (!done && done.error().code != ec::conflict)
      return tl::unexpected<failure>(done.error());
  }
  for (const auto& each : what.placements) {
    sandbox_record gone;
    gone.id = each;
    if (auto done = unplace(from, gone, node_id); !done)
      return done;
  }
  return {};
}

result<void> place(store& to, const sandbox_record& sandbox,
                   const std::string& node_id, const capacity& total) {
  placement_record what;
  what.sandbox = sandbox.id;
  what.node = node_id;
  what.owner = sandbox.owner;
  what.name = sandbox.spec.name;
  what.request_id = sandbox.request_id;
  what.digest = sandbox.digest;
  reserve(what.takes, sandbox.spec, phase::pending);
  what.created_ms = sandbox.created_ms;
  return book(to, what, total);
}

result<void> unplace(store& from, const sandbox_record& sandbox,
                     const std::string& node_id, const gone_request* remember) {
  auto done = unbook(from, sandbox.id, node_id, remember);
  if (done)
    return done;
  if (done.error().code == ec::conflict) // another node's by now
    return {};
  if (done.error().code != ec::malformed)
    return done;
  // An earlier version's, or damaged: it counts for no node.
  std::vector<operation> erase = {
      {operation::kind::erase, placement_key(sandbox.id), {}}};
  const auto key = name_key(sandbox.owner, sandbox.spec.name);
  if (!sandbox.spec.name.empty())
    if (auto named = from.get(key);
        named && *named && (*named)->value == sandbox.id)
      erase.push_back({operation::kind::erase, key, {}});
  if (auto erased = from.commit({}, erase); !erased)
    return tl::unexpected<failure>(erased.error());
  return {};
}

result<void> keep_disk_only(store& in, const sandbox_record& sandbox) {
  capacity takes;
  reserve(takes, sandbox.spec, phase::failed);
  auto done = rebook(in, sandbox.id, takes);
  if (!done
      && (done.error().code == ec::not_found
          || done.error().code == ec::malformed))
    return {}; // it counts for no node
  return done;
}

} // namespace caged
