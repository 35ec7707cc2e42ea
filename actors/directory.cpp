#include "actors/directory.hpp"

#include <algorithm>
#include <tuple>

#include "messages/sandbox.hpp"
#include "messages/text.hpp"

namespace caged {

namespace {

constexpr std::string_view nodes_prefix = "nodes/";
constexpr std::string_view placements_prefix = "placements/";
constexpr std::string_view requests_prefix = "requests/";

} // namespace

sandbox_info lost_info(const placement_record& placed, const node_view& of) {
  sandbox_info out;
  out.id = placed.sandbox;
  out.owner = placed.owner;
  out.node = of.node.name;
  out.state = phase::lost;
  out.spec.name = placed.name;
  out.spec.cpus = placed.takes.cpus;
  out.spec.memory_mb = placed.takes.memory_mb;
  out.spec.disk_gb = placed.takes.disk_gb;
  out.created_ms = placed.created_ms;
  const auto when =
      of.silent_since_ms != 0 ? of.silent_since_ms : wall_clock_ms();
  out.last_cause = {
      when, phase::running, phase::lost, "fleet",
      "node " + of.node.name
          + (of.live ? " does not answer this node" : " is silent")};
  return out;
}

void directory::on_liveness(liveness tell) {
  const std::lock_guard guard{mutex_};
  tell_ = std::move(tell);
}

void directory::apply(const record& what, bool erased) {
  const std::string_view key = what.key;
  if (key.starts_with(nodes_prefix))
    return apply_node(key.substr(nodes_prefix.size()), what, erased);
  if (key.starts_with(requests_prefix))
    return apply_request(what, erased);
  if (!key.starts_with(placements_prefix))
    return;
  const std::string id{key.substr(placements_prefix.size())};
  auto read = decode_placement(id, erased ? std::string_view{} : what.value);
  const std::lock_guard guard{mutex_};
  if (erased || read)
    bad_.erase(what.key);
  else
    bad_[what.key] = true;
  forget(id);
  if (read) {
    requests_[{read->owner, read->request_id}] = id;
    placements_[id] = std::move(*read);
  }
}

void directory::forget(const std::string& sandbox) {
  const auto at = placements_.find(sandbox);
  if (at == placements_.end())
    return;
  const auto asked = requests_.find({at->second.owner, at->second.request_id});
  if (asked != requests_.end() && asked->second == sandbox)
    requests_.erase(asked);
  placements_.erase(at);
}

/// Those of sandboxes that are there are found by their placements.
void directory::apply_request(const record& what, bool erased) {
  auto read = decode_gone_request(erased ? std::string_view{} : what.value);
  const std::lock_guard guard{mutex_};
  if (erased || read || is_valid_id(what.value))
    bad_.erase(what.key);
  else
    bad_[what.key] = true;
  if (read)
    gone_[what.key] = {what.key, what.revision, std::move(*read)};
  else
    gone_.erase(what.key);
}

void directory::apply_node(std::string_view rest, const record& what,
                           bool erased) {
  const auto slash = rest.find('/');
  if (slash == rest.npos || slash == 0)
    return;
  const std::string id{rest.substr(0, slash)};
  const auto part = rest.substr(slash + 1);
  liveness tell;
  {
    const std::lock_guard guard{mutex_};
    auto& mine = nodes_[id];
    bool good = true;
    if (part == "info") {
      auto read = decode_node(id, what.value);
      good = erased || read;
      if (mine.info) // another node may have that key by now
        if (const auto at = keys_.find(mine.info->public_key);
            at != keys_.end() && at->second == id)
          keys_.erase(at);
      mine.info =
          !erased && read ? std::optional{std::move(*read)} : std::nullopt;
      if (mine.info && !mine.info->public_key.empty())
        keys_[mine.info->public_key] = id;
    } else if (part == "reserved") {
      auto read = decode_reserved(what.value);
      good = erased || read;
      mine.unreadable = !good;
      mine.reserved = {!erased && read ? *read : reserved_record{},
                       erased ? 0 : what.revision};
    } else if (part == "live") {
      if (mine.live == erased)
        tell = tell_;
      mine.live = !erased;
      mine.silent_since_ms = erased ? wall_clock_ms() : 0;
      if (erased)
        mine.heard_ms = mine.silent_since_ms;
    } else if (part == "offers") {
      auto read = decode_offers(what.value);
      good = erased || read;
      mine.offers = !erased && read ? std::move(*read) : offers_record{};
    } else if (part == "cordon" && what.revision >= mine.cordon_revision) {
      mine.cordoned = !erased;
      mine.cordoned_by = erased ? std::string{} : what.value;
      mine.cordon_revision = what.revision;
    }
    if (good)
      bad_.erase(what.key);
    else
      bad_[what.key] = true;
    if (mine.empty())
      nodes_.erase(id);
  }
  if (tell)
    tell(id, !erased);
}

node_view directory::view_of(const entry& from) {
  node_view out;
  out.node = *from.info;
  out.reserved = from.reserved;
  out.unreadable = from.unreadable;
  out.live = from.live;
  out.cordoned = from.cordoned;
  out.silent_since_ms = from.silent_since_ms;
  out.heard_ms = from.heard_ms;
  out.cordoned_by = from.cordoned_by;
  out.templates = from.offers.templates;
  out.ready = from.offers.ready;
  return out;
}

void directory::loaded() {
  const std::lock_guard guard{mutex_};
  loaded_ = true;
}

bool directory::ready() const {
  const std::lock_guard guard{mutex_};
  return loaded_;
}

std::optional<std::string>
directory::node_with_key(std::string_view public_key) const {
  const std::lock_guard guard{mutex_};
  const auto at = keys_.find(public_key);
  return at == keys_.end() ? std::nullopt : std::optional{at->second};
}

std::optional<placement_record>
directory::of_request(const std::string& owner, const std::string& id) const {
  const std::lock_guard guard{mutex_};
  const auto at = requests_.find({owner, id});
  return at == requests_.end() ? std::nullopt
                               : std::optional{placements_.at(at->second)};
}

std::optional<gone_request> directory::gone(const std::string& owner,
                                            const std::string& id) const {
  const std::lock_guard guard{mutex_};
  const auto at = gone_.find(request_key(owner, id));
  return at == gone_.end() ? std::nullopt : std::optional{at->second.what};
}

std::vector<directory::kept_request> directory::gone_requests() const {
  std::vector<kept_request> out;
  const std::lock_guard guard{mutex_};
  for (const auto& [_, each] : gone_)
    out.push_back(each);
  return out;
}

std::vector<node_view> directory::nodes() const {
  std::vector<node_view> out;
  {
    const std::lock_guard guard{mutex_};
    for (const auto& [_, each] : nodes_)
      if (each.info)
        out.push_back(view_of(each));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return std::tie(a.node.name, a.node.id) < std::tie(b.node.name, b.node.id);
  });
  return out;
}

result<node_view> directory::node(std::string_view reference) const {
  const std::lock_guard guard{mutex_};
  if (const auto at = nodes_.find(reference);
      at != nodes_.end() && at->second.info)
    return view_of(at->second);
  const entry* found = nullptr;
  for (const auto& [id, each] : nodes_) {
    if (!each.info || each.info->name != reference)
      continue;
    if (found != nullptr)
      return fail(ec::ambiguous,
                  "several nodes are called " + caged::quoted(reference),
                  "name it by its id; caged node list shows them");
    found = &each;
  }
  if (found != nullptr)
    return view_of(*found);
  return fail(ec::not_found, "there is no node " + caged::quoted(reference),
              "caged node list shows them");
}

std::optional<placement_record>
directory::placement(const std::string& sandbox) const {
  const std::lock_guard guard{mutex_};
  const auto at = placements_.find(sandbox);
  return at == placements_.end() ? std::nullopt : std::optional{at->second};
}

std::vector<placement_record> directory::placements() const {
  std::vector<placement_record> out;
  const std::lock_guard guard{mutex_};
  out.reserve(placements_.size());
  for (const auto& [_, each] : placements_)
    out.push_back(each);
  return out;
}

std::map<std::string, std::uint32_t> directory::placed() const {
  std::map<std::string, std::uint32_t> out;
  const std::lock_guard guard{mutex_};
  for (const auto& [_, each] : placements_)
    ++out[each.node];
  return out;
}

result<placement_record> directory::find(std::string_view reference,
                                         std::string_view owner,
                                         bool admin) const {
  const std::lock_guard guard{mutex_};
  std::vector<std::pair<std::string, std::string>> known;
  for (const auto& [id, each] : placements_)
    if (admin || each.owner == owner)
      known.emplace_back(id, each.name);
  const auto id = resolve_reference(reference, known);
  if (!id)
    return tl::unexpected<failure>(id.error());
  return placements_.at(*id);
}

std::size_t directory::unreadable() const {
  const std::lock_guard guard{mutex_};
  return bad_.size() + bad_histories_;
}

void directory::unreadable_histories(std::size_t count) {
  const std::lock_guard guard{mutex_};
  bad_histories_ = count;
}

} // namespace caged
