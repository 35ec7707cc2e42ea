#include "actors/histories.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "actors/fleet_records.hpp"
#include "messages/limits.hpp"

namespace caged {

namespace {

constexpr std::string_view history_prefix = "history/";
constexpr std::string_view past_prefix = "past/";

operation put(std::string key, std::string value) {
  return {operation::kind::put, std::move(key), std::move(value)};
}

struct stored_history {
  history_record what;
  std::int64_t revision = 0;
};

/// All copies that can be read.
result<std::vector<stored_history>> read_all(store& from,
                                             std::size_t& unreadable) {
  const auto all = from.list(std::string{history_prefix});
  if (!all)
    return tl::unexpected<failure>(all.error());
  std::vector<stored_history> out;
  for (const auto& each : *all) {
    const auto id = std::string_view{each.key}.substr(history_prefix.size());
    auto read = decode_history(id, each.value);
    if (read)
      out.push_back({std::move(*read), each.revision});
    else
      ++unreadable;
  }
  return out;
}

/// Adds to a commit that the name was this sandbox's last; not when a later one
/// has it already.
result<void> add_past_name(store& in, const history_record& of,
                           std::vector<compare>& compares,
                           std::vector<operation>& operations) {
  auto key = past_key(of.owner, of.name);
  const auto was = in.get(key);
  if (!was)
    return tl::unexpected<failure>(was.error());
  if (*was) {
    const auto read = decode_past_name((*was)->value);
    if (read
        && (read->created_ms > of.created_ms || read->sandbox == of.sandbox))
      return {};
  }
  compares.push_back({key, *was ? (*was)->revision : 0});
  operations.push_back(
      put(std::move(key), encode(past_name{of.sandbox, of.created_ms})));
  return {};
}

/// Appends the cause, if the copy is still as it was read; a copy that is not
/// has a node that lives.
result<void> end_with(store& in, const stored_history& of, cause why) {
  auto now = of.what;
  why.from = std::exchange(now.state, why.to);
  now.changed_ms = why.time_ms;
  now.causes.push_back(std::move(why));
  shorten(now);
  const auto key = history_key(now.sandbox);
  std::vector<compare> compares = {{key, of.revision}};
  std::vector<operation> operations = {put(key, encode(now))};
  if (!now.name.empty())
    if (auto added = add_past_name(in, now, compares, operations); !added)
      return added;
  auto done = in.commit(compares, operations);
  if (!done && done.error().code != ec::conflict)
    return tl::unexpected<failure>(std::move(done.error()));
  return {};
}

struct members {
  std::set<std::string, std::less<>> known; ///< ids
  std::string first_live;
};

result<members> read_members(store& from) {
  const auto all = from.list("nodes/");
  if (!all)
    return tl::unexpected<failure>(all.error());
  members out;
  for (const auto& each : *all) {
    if (const auto id = node_of_key(each.key, "info"); !id.empty())
      out.known.emplace(id);
    // In the order of their keys.
    if (const auto id = node_of_key(each.key, "live");
        !id.empty() && out.first_live.empty())
      out.first_live = id;
  }
  return out;
}

/// Those of one node that are over: which of them have had their time.
void add_outdated(std::vector<const stored_history*>& to,
                  std::vector<const stored_history*> over,
                  std::int64_t now_ms) {
  std::sort(over.begin(), over.end(), [](const auto* a, const auto* b) {
    return a->what.changed_ms > b->what.changed_ms;
  });
  for (std::size_t i = 0; i < over.size(); ++i)
    if (i >= limits::history_most
        || over[i]->what.changed_ms < now_ms - history_kept_ms)
      to.push_back(over[i]);
}

} // namespace

result<void> write_histories(store& to, std::vector<history_record> what) {
  std::vector<compare> compares;
  std::vector<operation> operations;
  /// A name that several of them had is the last one's.
  std::map<std::pair<std::string, std::string>, const history_record*> names;
  for (auto& each : what) {
    shorten(each);
    operations.push_back(put(history_key(each.sandbox), encode(each)));
    if (each.name.empty() || !is_over(each))
      continue;
    auto& last = names[{each.owner, each.name}];
    if (!last || last->created_ms <= each.created_ms)
      last = &each;
  }
  for (const auto& [_, each] : names)
    if (auto added = add_past_name(to, *each, compares, operations); !added)
      return added;
  auto done = to.commit(compares, operations);
  if (!done)
    return tl::unexpected<failure>(std::move(done.error()));
  return {};
}

result<std::optional<history_record>> read_history(store& from,
                                                   const std::string& id) {
  const auto got = from.get(history_key(id));
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (!*got)
    return std::nullopt;
  auto read = decode_history(id, (*got)->value);
  return read ? std::optional{std::move(*read)} : std::nullopt;
}

result<std::optional<history_record>> find_history(store& from,
                                                   const std::string& reference,
                                                   const std::string& owner,
                                                   bool everybodys) {
  const auto visible = [&](const std::string& id) {
    auto out = read_history(from, id);
    if (out && *out && !everybodys && (*out)->owner != owner)
      out = std::optional<history_record>{};
    return out;
  };
  if (is_valid_id(reference))
    if (auto found = visible(reference); !found || *found)
      return found;
  if (!is_valid_name(reference))
    return std::nullopt;
  const auto own = from.get(past_key(owner, reference));
  if (!own)
    return tl::unexpected<failure>(own.error());
  std::optional<past_name> last;
  if (*own)
    if (auto read = decode_past_name((*own)->value))
      last = std::move(*read);
  if (!last && everybodys) {
    const auto all = from.list(std::string{past_prefix});
    if (!all)
      return tl::unexpected<failure>(all.error());
    for (const auto& each : *all) {
      if (!each.key.ends_with("/" + reference))
        continue;
      auto read = decode_past_name(each.value);
      if (read && (!last || last->created_ms < read->created_ms))
        last = std::move(*read);
    }
  }
  return last ? visible(last->sandbox)
              : result<std::optional<history_record>>{std::nullopt};
}

result<swept> sweep_histories(store& in, const std::string& node,
                              std::int64_t now_ms) {
  swept out;
  // Before the copies: one that is seen had its copy then.
  const auto names = in.list(std::string{past_prefix});
  if (!names)
    return tl::unexpected<failure>(names.error());
  const auto all = read_all(in, out.unreadable);
  if (!all)
    return tl::unexpected<failure>(all.error());
  // After them: a node is known before it writes its first.
  const auto fleet = read_members(in);
  if (!fleet)
    return tl::unexpected<failure>(fleet.error());
  const bool first = fleet->first_live == node;
  std::map<std::string, std::vector<const stored_history*>> over; ///< by node
  std::set<std::string> copies;
  for (const auto& each : *all) {
    const auto& of = each.what;
    copies.insert(of.sandbox);
    const bool forgotten = !fleet->known.contains(of.node) && of.node != node;
    if (of.node == node)
      out.own[of.sandbox] = {of.state, of.changed_ms};
    if (of.node != node && !(first && forgotten))
      continue;
    if (is_over(of)) {
      over[of.node].push_back(&each);
    } else if (forgotten) {
      const cause lost{now_ms, of.state, phase::lost, "fleet",
                       "node " + of.node_name
                           + " is not in the fleet any more"};
      if (auto done = end_with(in, each, lost); !done)
        return tl::unexpected<failure>(done.error());
    }
  }
  std::vector<const stored_history*> outdated;
  for (auto& [_, each] : over)
    add_outdated(outdated, std::move(each), now_ms);
  std::vector<std::string> keys;
  std::set<std::string> erased;
  for (const auto* each : outdated) {
    keys.push_back(history_key(each->what.sandbox));
    erased.insert(each->what.sandbox);
    out.own.erase(each->what.sandbox);
  }
  if (auto done = erase_all(in, keys); !done)
    return tl::unexpected<failure>(done.error());
  out.erased = keys.size();
  // Their names, unless a later sandbox has them by now; also of copies that
  // somebody else has erased.
  std::vector<record> free;
  for (const auto& each : *names) {
    const auto read = decode_past_name(each.value);
    if (!read)
      ++out.unreadable;
    else if (erased.contains(read->sandbox)
             || (first && !copies.contains(read->sandbox)))
      free.push_back(each);
  }
  if (auto done = erase_unchanged(in, free); !done)
    return tl::unexpected<failure>(done.error());
  return out;
}

result<void> mark_lost(store& in, const std::string& node, const cause& what) {
  std::size_t unreadable = 0;
  const auto all = read_all(in, unreadable);
  if (!all)
    return tl::unexpected<failure>(all.error());
  for (const auto& each : *all)
    if (each.what.node == node && !is_over(each.what))
      if (auto done = end_with(in, each, what); !done)
        return done;
  return {};
}

} // namespace caged
