#include "actors/fleet_admin.hpp"

#include <algorithm>
#include <utility>

#include "actors/fleet_records.hpp"
#include "messages/text.hpp"

namespace caged {

namespace {

/// Lost to others in a row: there are few admins, and a node writes its info
/// once each time that it comes.
constexpr int most_tries = 16;

/// Sandboxes whose records are erased in one commit: a placement, a name and a
/// request each, and the node's "live" is compared.
constexpr std::size_t batch = (store::most_operations - 1) / 3;

tl::unexpected<failure> gone(std::string_view name) {
  return fail(ec::not_found, "there is no node " + quoted(name) + " any more",
              "caged node list shows those that there are");
}

tl::unexpected<failure> busy(std::string_view name) {
  return fail(ec::unavailable,
              "the records of node " + quoted(name)
                  + " change faster than they can be read",
              "try again");
}

/// A placement on the node, and the name and the request that are its own.
using placed = std::vector<record>;

result<std::vector<placed>> placed_on(store& in, std::string_view node) {
  constexpr std::string_view prefix = "placements/";
  auto all = in.list(std::string{prefix});
  if (!all)
    return tl::unexpected<failure>(std::move(all.error()));
  std::vector<placed> out;
  for (auto& each : *all) {
    const auto id = each.key.substr(prefix.size());
    const auto what = decode_placement(id, each.value);
    if (!what || what->node != node)
      continue;
    placed found = {std::move(each)};
    std::vector<std::string> keys;
    if (!what->name.empty())
      keys.push_back(name_key(what->owner, what->name));
    if (!what->request_id.empty())
      keys.push_back(request_key(what->owner, what->request_id));
    for (const auto& key : keys) {
      auto own = in.get(key);
      if (!own)
        return tl::unexpected<failure>(std::move(own.error()));
      if (*own && (*own)->value == id)
        found.push_back(std::move(**own));
    }
    out.push_back(std::move(found));
  }
  return out;
}

/// Erases records in one commit, when none of them has changed and, without
/// force, the node is silent. `more` is written in the same.
result<std::int64_t> erase(store& in, std::string_view node, bool force,
                           const std::vector<const record*>& what,
                           std::vector<operation> more = {}) {
  std::vector<compare> compares;
  if (!force)
    compares.push_back({node_key(node, "live"), 0});
  auto operations = std::move(more);
  for (const auto* each : what) {
    compares.push_back({each->key, each->revision});
    operations.push_back({operation::kind::erase, each->key, {}});
  }
  return in.commit(compares, operations);
}

/// One round. False: something changed meanwhile, look again.
result<bool> forget_once(store& in, std::string_view node,
                         std::string_view name, bool force,
                         std::string_view who, forgotten& done) {
  // Before the placements: each booking moves "reserved" on, so that one which
  // is made in between fails the last commit.
  const auto own = in.list(node_key(node, {}));
  if (!own)
    return tl::unexpected<failure>(own.error());
  const auto has = [&](std::string_view part) {
    return std::any_of(own->begin(), own->end(), [&](const record& each) {
      return each.key == node_key(node, part);
    });
  };
  if (!has("info"))
    return gone(name);
  if (has("live") && !force)
    return tl::unexpected<failure>(still_alive(name));
  const auto placements = placed_on(in, node);
  if (!placements)
    return tl::unexpected<failure>(placements.error());
  const auto count = placements->size();
  if (count > 0 && !force)
    return fail(ec::wrong_state,
                std::to_string(count)
                    + (count == 1 ? " sandbox is" : " sandboxes are")
                    + " placed on node " + quoted(name),
                "start it again; or give --force: the fleet forgets them, and "
                "what they hold on that host is lost");
  for (std::size_t from = 0; from < count; from += batch) {
    std::vector<const record*> some;
    const auto to = std::min(count, from + batch);
    for (auto i = from; i < to; ++i)
      for (const auto& each : (*placements)[i])
        some.push_back(&each);
    auto erased = erase(in, node, force, some);
    if (!erased && erased.error().code == ec::conflict)
      return false;
    if (!erased)
      return tl::unexpected<failure>(std::move(erased.error()));
    done.sandboxes += static_cast<std::uint32_t>(to - from);
    for (const auto* each : some)
      done.keys.push_back(each->key);
  }
  std::vector<const record*> rest;
  for (const auto& each : *own)
    rest.push_back(&each);
  auto erased =
      erase(in, node, force, rest,
            {{operation::kind::put, removed_key(node), std::string{who}}});
  if (!erased && erased.error().code == ec::conflict)
    return false;
  if (!erased)
    return tl::unexpected<failure>(std::move(erased.error()));
  for (const auto* each : rest)
    done.keys.push_back(each->key);
  done.revision = *erased;
  return true;
}

} // namespace

failure still_alive(std::string_view name) {
  return {ec::wrong_state, "node " + quoted(name) + " is alive",
          "stop its daemon first, and wait until caged node list calls it "
          "lost; --force removes it at once, with its sandboxes"};
}

result<cordoned> set_cordon(store& in, std::string_view node, bool on,
                            std::string_view who) {
  const auto info = node_key(node, "info"), key = node_key(node, "cordon");
  for (int i = 0; i < most_tries; ++i) {
    const auto there = in.get(info);
    if (!there)
      return tl::unexpected<failure>(there.error());
    if (!*there)
      return gone(node);
    const auto was = in.get(key);
    if (!was)
      return tl::unexpected<failure>(was.error());
    cordoned out;
    if (*was) {
      out.by = (*was)->value;
      out.revision = (*was)->revision;
    }
    if (was->has_value() == on)
      return out;
    auto done = in.commit(
        {{info, (*there)->revision}, {key, *was ? (*was)->revision : 0}},
        {{on ? operation::kind::put : operation::kind::erase, key,
          on ? std::string{who} : std::string{}}});
    if (done) {
      out.changed = true;
      out.by = on ? std::string{who} : std::string{};
      out.revision = *done;
      return out;
    }
    if (done.error().code != ec::conflict)
      return tl::unexpected<failure>(std::move(done.error()));
  }
  return busy(node);
}

result<forgotten> forget_node(store& in, std::string_view node,
                              std::string_view name, bool force,
                              std::string_view who) {
  forgotten done;
  for (int i = 0; i < most_tries; ++i) {
    auto over = forget_once(in, node, name, force, who, done);
    if (!over)
      return tl::unexpected<failure>(std::move(over.error()));
    if (*over)
      return done;
  }
  return busy(name);
}

} // namespace caged
