#include "actors/scheduler.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "messages/text.hpp"

namespace caged {

namespace {

/// Loads nearer to each other than this part of a node are equal: the spread
/// stays this even, and fewer entrypoints want the same node.
constexpr std::uint64_t load_steps = 64;
/// Of the same unit. Thawing takes 1 ms, booting 40 ms (DESIGN.md, section 10):
/// worth a little unevenness, and not more.
constexpr std::uint64_t without_member = 4;
/// A node without the template has to fetch it from another first.
constexpr std::uint64_t without_template = 1024;

std::uint64_t hash(std::uint64_t from, std::string_view text) {
  // FNV-1a, 64 bits.
  for (const auto c : text)
    from = (from ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return from;
}

/// splitmix64's finalizer: every bit of the input moves every bit.
std::uint64_t mixed(std::uint64_t of) {
  of = (of ^ (of >> 30)) * 0xbf58476d1ce4e5b9U;
  of = (of ^ (of >> 27)) * 0x94d049bb133111ebU;
  return of ^ (of >> 31);
}

/// How many nodes have too little of a resource, and the most that one of them
/// has.
struct shortage {
  std::size_t nodes = 0;
  std::uint64_t most = 0;
};

/// Why nodes were passed over.
struct tally {
  std::size_t named = 0; ///< that the wish allows
  std::size_t runtime = 0, network = 0, labels = 0, lost = 0, cordoned = 0,
              unreadable = 0;
  shortage memory, cpus, disk;
};

/// Counts what is missing, as fits() judges it; no text: of a thousand nodes
/// most are full when one is asked for.
class room {
public:
  room(tally& count, const node_view& of)
      : count_{count}, total_{of.node.total}, used_{of.reserved.what.used} {}

  /// The load that the node would have; nothing: it has no room.
  std::optional<std::uint64_t> load_with(const sandbox_spec& more) {
    check(count_.memory, total_.memory_mb, used_.memory_mb, more.memory_mb);
    check(count_.cpus, total_.cpus, used_.cpus, more.cpus);
    check(count_.disk, total_.disk_gb, used_.disk_gb, more.disk_gb);
    return fits_ ? std::optional{load_} : std::nullopt;
  }

private:
  void check(shortage& count, std::uint64_t all, std::uint64_t used,
             std::uint64_t asked) {
    const auto free = all > used ? all - used : 0;
    if (asked > free) {
      ++count.nodes;
      count.most = std::max(count.most, free);
      fits_ = false;
    } else if (all > 0) {
      load_ = std::max(load_, (used + asked) * load_steps / all);
    }
  }

  tally& count_;
  const capacity& total_;
  const capacity& used_;
  bool fits_ = true;
  std::uint64_t load_ = 0;
};

bool is_named(const node_view& each, const wish& wanted) {
  return wanted.node.empty() || each.node.name == wanted.node
         || each.node.id == wanted.node;
}

bool has_labels(const node_record& node, const wish& wanted) {
  return std::all_of(
      wanted.require.begin(), wanted.require.end(), [&](const auto& label) {
        const auto at = node.labels.find(label.first);
        return at != node.labels.end() && at->second == label.second;
      });
}

/// The lower the better; nothing: not this one, and `count` says why.
std::optional<std::uint64_t> cost_of(const node_view& each, const wish& wanted,
                                     tally& count) {
  const auto& node = each.node;
  const auto& spec = wanted.spec;
  auto refuse = [](std::size_t& why) {
    ++why;
    return std::nullopt;
  };
  if (node.runtime != spec.runtime)
    return refuse(count.runtime);
  if (std::find(node.networks.begin(), node.networks.end(),
                to_string(spec.network))
      == node.networks.end())
    return refuse(count.network);
  if (!has_labels(node, wanted))
    return refuse(count.labels);
  if (!each.live)
    return refuse(count.lost);
  if (each.cordoned)
    return refuse(count.cordoned);
  if (each.unreadable)
    return refuse(count.unreadable);
  auto cost = room{count, each}.load_with(spec);
  if (!cost)
    return std::nullopt;
  if (each.templates.count(spec.template_name) == 0)
    *cost += without_template;
  const auto members = each.ready.find(spec.template_name);
  if (members == each.ready.end() || members->second == 0)
    *cost += without_member;
  return cost;
}

/// "2 have too little memory (...), 1 is lost"; of one that was named without
/// the number: "it is lost".
class reasons {
public:
  explicit reasons(bool one) : one_{one} {}

  void add(std::size_t nodes, std::string_view singular,
           std::string_view plural, const std::string& rest) {
    if (nodes == 0)
      return;
    if (!text_.empty())
      text_ += ", ";
    text_ += one_ ? "it" : std::to_string(nodes);
    text_ += ' ';
    text_ += nodes == 1 ? singular : plural;
    text_ += rest;
  }

  void add(const shortage& of, std::string_view what, std::uint64_t asked,
           const std::string& unit) {
    add(of.nodes, "has too ", "have too ",
        std::string{what} + " (asked for " + std::to_string(asked) + unit
            + ", the most that is free is " + std::to_string(of.most) + unit
            + ")");
  }

  const std::string& text() const { return text_; }

private:
  bool one_;
  std::string text_;
};

tl::unexpected<failure> unknown_node(const std::vector<node_view>& nodes,
                                     const std::string& wanted) {
  std::vector<std::string> names;
  names.reserve(nodes.size());
  for (const auto& each : nodes)
    names.push_back(each.node.name);
  return fail(ec::not_found, "there is no node " + quoted(wanted),
              names.empty()
                  ? "the fleet has no node yet"
                  : "did you mean " + quoted(nearest(wanted, names)) + "?");
}

/// What would help first, of all that stands in the way.
std::string remedy(const tally& count, bool full) {
  if (full)
    return "destroy sandboxes that are not needed, ask for less, or add a node";
  if (count.cordoned > 0)
    return "caged node uncordon lets a node take sandboxes again; or add one";
  if (count.lost > 0)
    return "caged node list shows when it was last heard of; wait for it, or "
           "add a node";
  if (count.labels > 0)
    return "ask for other labels: caged node get shows a node's; or start one "
           "with --labels";
  if (count.runtime + count.network > 0)
    return "caged node get shows what a node offers; ask for that, or add a "
           "node";
  return "add a node: caged-node join";
}

tl::unexpected<failure> no_room(const tally& count, const wish& wanted) {
  const auto& spec = wanted.spec;
  const bool one = !wanted.node.empty() && count.named == 1;
  reasons why{one};
  why.add(count.memory, "little memory", spec.memory_mb, " MB");
  why.add(count.cpus, "few cpus", spec.cpus, "");
  why.add(count.disk, "little disk", spec.disk_gb, " GB");
  const bool full = !why.text().empty();
  why.add(count.cordoned, "is", "are", " cordoned");
  why.add(count.lost, "is", "are", " lost");
  why.add(count.unreadable, "has", "have", " an unreadable reservation");
  why.add(count.runtime, "runs", "run",
          " another runtime than " + quoted(spec.runtime));
  why.add(count.network, "does", "do",
          " not offer network mode \"" + std::string{to_string(spec.network)}
              + "\"");
  if (count.labels > 0) {
    std::string labels;
    for (const auto& [key, value] : wanted.require) {
      if (labels.size() > 128) // escape_text says that there are more
        break;
      labels += (labels.empty() ? "" : ", ") + key + "=" + value;
    }
    why.add(count.labels, "lacks", "lack",
            wanted.require.size() == 1
                ? " the label " + escape_text(labels, 128)
                : " one of the labels " + escape_text(labels, 128));
  }
  return fail(
      ec::no_capacity,
      (one ? "node " + quoted(wanted.node) + " has no room: "
           : std::string{"no node has room: "})
          + (why.text().empty() ? "the fleet has no node yet" : why.text()),
      remedy(count, full));
}

} // namespace

result<std::vector<std::size_t>> order(const std::vector<node_view>& nodes,
                                       const wish& wanted,
                                       std::string_view sandbox,
                                       std::uint64_t seed) {
  // One number decides: the cost, and below it the hash.
  struct candidate {
    std::uint64_t rank = 0;
    std::size_t index = 0;
  };
  constexpr int cost_bits = 12;
  static_assert(without_template + without_member + load_steps
                < (1U << cost_bits));
  std::vector<candidate> found;
  found.reserve(nodes.size());
  tally count;
  const auto salt = hash(mixed(seed + 0x9e3779b97f4a7c15U), sandbox);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto& each = nodes[i];
    if (!is_named(each, wanted))
      continue;
    ++count.named;
    if (const auto cost = cost_of(each, wanted, count))
      found.push_back({*cost << (64 - cost_bits)
                           | mixed(hash(salt, each.node.id)) >> cost_bits,
                       i});
  }
  if (found.empty())
    return !wanted.node.empty() && count.named == 0
               ? unknown_node(nodes, wanted.node)
               : no_room(count, wanted);
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.index < b.index;
  });
  std::vector<std::size_t> out(found.size());
  std::transform(found.begin(), found.end(), out.begin(),
                 [](const auto& each) { return each.index; });
  return out;
}

result<void> placeable(const node_view& here, const wish& wanted) {
  if (!wanted.node.empty() || !wanted.require.empty()) {
    if (const auto found = order({here}, wanted, {}); !found)
      return tl::unexpected<failure>(found.error());
    return {};
  }
  if (!here.cordoned)
    return {};
  return fail(ec::no_capacity,
              "node " + quoted(here.node.name) + " is cordoned"
                  + (here.cordoned_by.empty()
                         ? std::string{}
                         : " by " + escape_text(here.cordoned_by, 64))
                  + ": it takes no new sandboxes",
              "choose another node, or have an admin end that: caged node "
              "uncordon "
                  + escape_text(here.node.name, 64));
}

result<void> obtainable(const std::vector<node_view>& nodes,
                        const std::string& template_name) {
  std::set<std::string> there;
  std::string silent;
  for (const auto& each : nodes) {
    if (each.live)
      there.insert(each.templates.begin(), each.templates.end());
    else if (each.templates.contains(template_name))
      silent += (silent.empty() ? "" : ", ") + quoted(each.node.name);
  }
  if (there.empty() || there.contains(template_name))
    return {};
  if (!silent.empty())
    return fail(ec::lost,
                "template " + quoted(template_name) + " is on no node but on "
                    + silent
                    + (silent.find(", ") == silent.npos ? ", which is silent"
                                                        : ", which are silent"),
                "try again when it is back; caged node list shows the nodes");
  std::string known;
  for (const auto& each : there)
    known += (known.empty() ? "" : ", ") + each;
  constexpr std::size_t hint_max = 512;
  return fail(ec::not_found,
              "there is no template " + quoted(template_name)
                  + " on any node of the fleet",
              "there are: " + escape_text(known, hint_max));
}

} // namespace caged
