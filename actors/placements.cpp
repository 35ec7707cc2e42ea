#include "actors/placements.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "actors/fleet_records.hpp"

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
                   const std::set<std::string>& known,
                   const std::set<std::string>& owned) {
  strays out;
  std::set_difference(stored.here.begin(), stored.here.end(), known.begin(),
                      known.end(), std::back_inserter(out.placements));
  // Written with the placement and erased with it; a crash before the journal
  // had its part leaves a name that nobody bears.
  for (const auto& each : stored.names)
    if (stored.here.count(each.value) == 0 || owned.count(each.value) == 0)
      out.names.push_back(each);
  return out;
}

result<void> erase_strays(store& from, const strays& what) {
  for (const auto& each : what.names) {
    auto done = from.commit({{each.key, each.revision}},
                            {{operation::kind::erase, each.key, {}}});
    if (!done && done.error().code != ec::conflict)
      return tl::unexpected<failure>(done.error());
  }
  std::vector<std::string> keys;
  for (const auto& each : what.placements)
    keys.push_back(placement_key(each));
  return erase_all(from, keys);
}

result<void> place(store& to, const sandbox_record& sandbox,
                   const std::string& node_id) {
  placement_record what;
  what.sandbox = sandbox.id;
  what.node = node_id;
  what.owner = sandbox.owner;
  what.name = sandbox.spec.name;
  what.request_id = sandbox.request_id;
  what.digest = sandbox.digest;
  reserve(what.takes, sandbox.spec, phase::pending);
  what.created_ms = sandbox.created_ms;
  std::vector<compare> absent = {{placement_key(sandbox.id), 0}};
  std::vector<operation> put = {
      {operation::kind::put, placement_key(sandbox.id), encode(what)}};
  const auto key = name_key(sandbox.owner, sandbox.spec.name);
  if (!sandbox.spec.name.empty()) {
    absent.push_back({key, 0});
    put.push_back({operation::kind::put, key, sandbox.id});
  }
  auto placed = to.commit(absent, put);
  if (placed)
    return {};
  if (placed.error().code != ec::conflict || sandbox.spec.name.empty())
    return tl::unexpected<failure>(placed.error());
  const auto holder = to.get(key);
  return fail(ec::conflict,
              "the name \"" + sandbox.spec.name + "\" is in use"
                  + (holder && *holder ? " by " + (*holder)->value : ""),
              "choose another name, or destroy it: caged destroy "
                  + sandbox.spec.name);
}

result<void> unplace(store& from, const sandbox_record& sandbox) {
  std::vector<compare> unchanged;
  std::vector<operation> erase = {
      {operation::kind::erase, placement_key(sandbox.id), {}}};
  if (!sandbox.spec.name.empty()) {
    auto key = name_key(sandbox.owner, sandbox.spec.name);
    auto named = from.get(key);
    if (!named)
      return tl::unexpected<failure>(named.error());
    if (*named && (*named)->value == sandbox.id) {
      unchanged.push_back({key, (*named)->revision});
      erase.push_back({operation::kind::erase, key, {}});
    }
  }
  if (auto erased = from.commit(unchanged, erase); !erased)
    return tl::unexpected<failure>(erased.error());
  return {};
}

} // namespace caged
