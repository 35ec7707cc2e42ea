#include "actors/booking.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "messages/text.hpp"

namespace caged {

namespace {

constexpr std::string_view placements_prefix = "placements/";

/// Every race that is lost was won by another booking of the same node: more in
/// a row than entrypoints that want this node at one moment.
constexpr int most_races = 64;
/// A store that is away keeps each call waiting for seconds.
constexpr int most_doubts = 3;

/// How often one goes on after a commit that was not, or perhaps not, done.
class patience {
public:
  bool again(const failure& why) {
    if (why.code == ec::conflict)
      return ++races_ < most_races;
    return why.code == ec::unavailable && ++doubts_ < most_doubts;
  }
  tl::unexpected<failure> ended(failure why, std::string_view node) const {
    if (why.code == ec::conflict)
      return busy(node);
    return tl::unexpected<failure>(std::move(why));
  }
  static tl::unexpected<failure> busy(std::string_view node) {
    return fail(ec::unavailable,
                "what is booked on node " + quoted(node)
                    + " changes faster than it can be read",
                "try again");
  }

private:
  int races_ = 0, doubts_ = 0;
};

template <class T>
void add(T& to, T more) {
  to = more > std::numeric_limits<T>::max() - to ? std::numeric_limits<T>::max()
                                                 : to + more;
}
template <class T>
void take(T& from, T less) {
  from -= std::min(from, less);
}

void add(capacity& to, const capacity& more) {
  add(to.cpus, more.cpus);
  add(to.memory_mb, more.memory_mb);
  add(to.disk_gb, more.disk_gb);
}

void take(capacity& from, const capacity& less) {
  take(from.cpus, less.cpus);
  take(from.memory_mb, less.memory_mb);
  take(from.disk_gb, less.disk_gb);
}

sandbox_spec asking_for(const capacity& what) {
  sandbox_spec out;
  out.cpus = what.cpus;
  out.memory_mb = what.memory_mb;
  out.disk_gb = what.disk_gb;
  return out;
}

operation put(std::string key, std::string value) {
  return {operation::kind::put, std::move(key), std::move(value)};
}
operation erase(std::string key) {
  return {operation::kind::erase, std::move(key), {}};
}

struct stored_placement {
  placement_record what;
  std::int64_t revision = 0;
};

result<std::optional<stored_placement>> read_placement(store& from,
                                                       std::string_view id) {
  auto got = from.get(placement_key(id));
  if (!got)
    return tl::unexpected<failure>(std::move(got.error()));
  if (!*got)
    return std::nullopt;
  auto what = decode_placement(id, (*got)->value);
  if (!what)
    return tl::unexpected<failure>(std::move(what.error()));
  return stored_placement{std::move(*what), (*got)->revision};
}

/// Whether it is booked already. Error: conflict (another one has its id).
result<bool> is_booked(store& in, const placement_record& what) {
  auto there = read_placement(in, what.sandbox);
  if (!there)
    return tl::unexpected<failure>(std::move(there.error()));
  if (!*there)
    return false;
  const auto& found = (*there)->what;
  if (found.request_id == what.request_id && found.digest == what.digest
      && found.node == what.node)
    return true;
  return fail(ec::conflict, "the id " + what.sandbox + " is in use",
              "ask for another sandbox");
}

/// After a commit that was refused. False: what was in its way was `seen`, or
/// is gone.
result<bool> why_not(store& in, const placement_record& what,
                     reserved_view& seen) {
  // First what is in the way nearly always.
  auto now = read_reserved(in, what.node);
  if (!now)
    return tl::unexpected<failure>(std::move(now.error()));
  if (now->revision != seen.revision) {
    seen = *now;
    return false;
  }
  if (auto booked = is_booked(in, what); !booked || *booked)
    return booked;
  if (!what.name.empty()) {
    const auto named = in.get(name_key(what.owner, what.name));
    if (!named)
      return tl::unexpected<failure>(named.error());
    // Its own: this booking was carried out a moment ago, after all.
    if (*named && (*named)->value != what.sandbox)
      return fail(ec::conflict,
                  "the name " + quoted(what.name) + " is in use by "
                      + escape_text((*named)->value, 64),
                  "choose another name, or destroy it: caged destroy "
                      + what.name);
  }
  if (!what.request_id.empty()) {
    const auto asked = in.get(request_key(what.owner, what.request_id));
    if (!asked)
      return tl::unexpected<failure>(asked.error());
    if (*asked && (*asked)->value != what.sandbox) {
      if (const auto before = decode_gone_request((*asked)->value))
        return tl::unexpected<failure>(
            repeat_of_gone(what.request_id, what.digest, *before));
      return fail(ec::conflict,
                  "request id " + escape_text(what.request_id, 64)
                      + " has made " + escape_text((*asked)->value, 64),
                  "make a new request id");
    }
  }
  const auto cordon = in.get(node_key(what.node, "cordon"));
  if (!cordon)
    return tl::unexpected<failure>(cordon.error());
  if (*cordon)
    return fail(ec::no_capacity,
                "node " + quoted(what.node)
                    + " is cordoned: it takes no new sandboxes",
                "choose another node");
  return false;
}

} // namespace

result<reserved_view> read_reserved(store& from, std::string_view node) {
  auto got = from.get(node_key(node, "reserved"));
  if (!got)
    return tl::unexpected<failure>(std::move(got.error()));
  if (!*got)
    return reserved_view{};
  auto what = decode_reserved((*got)->value);
  if (!what)
    return tl::unexpected<failure>(std::move(what.error()));
  return reserved_view{*what, (*got)->revision};
}

result<bool> book_once(store& in, const placement_record& what,
                       const capacity& total, reserved_view& seen) {
  if (auto room = fits(total, seen.what.used, asking_for(what.takes)); !room) {
    // It may be this very sandbox that fills the node.
    auto booked = is_booked(in, what);
    if (!booked || *booked)
      return booked;
    return tl::unexpected<failure>(std::move(room.error()));
  }
  auto after = seen.what;
  add(after.used, what.takes);
  add(after.sandboxes, 1U);
  const auto placement = placement_key(what.sandbox);
  const auto reserved = node_key(what.node, "reserved");
  std::vector<compare> compares = {{placement, 0},
                                   {reserved, seen.revision},
                                   {node_key(what.node, "cordon"), 0}};
  std::vector<operation> operations = {put(placement, encode(what)),
                                       put(reserved, encode(after))};
  if (!what.name.empty()) {
    auto name = name_key(what.owner, what.name);
    compares.push_back({name, 0});
    operations.push_back(put(std::move(name), what.sandbox));
  }
  if (!what.request_id.empty()) {
    auto request = request_key(what.owner, what.request_id);
    compares.push_back({request, 0});
    operations.push_back(put(std::move(request), what.sandbox));
  }
  for (int doubts = 0;;) {
    auto done = in.commit(compares, operations);
    if (done) {
      seen = {after, *done};
      return true;
    }
    if (done.error().code == ec::conflict)
      return why_not(in, what, seen);
    if (done.error().code != ec::unavailable)
      return tl::unexpected<failure>(std::move(done.error()));
    auto booked = is_booked(in, what);
    if (!booked || *booked)
      return booked;
    // Not done yet. The same compares again: both can never be done.
    if (++doubts >= most_doubts)
      return tl::unexpected<failure>(std::move(done.error()));
  }
}

result<void> book(store& in, const placement_record& what,
                  const capacity& total) {
  auto seen = read_reserved(in, what.node);
  if (!seen)
    return tl::unexpected<failure>(std::move(seen.error()));
  for (int races = 0; races < most_races; ++races) {
    auto done = book_once(in, what, total, *seen);
    if (!done)
      return tl::unexpected<failure>(std::move(done.error()));
    if (*done)
      return {};
  }
  return patience::busy(what.node);
}

result<std::optional<placement_record>>
find_request(store& from, const std::string& owner,
             const std::string& request_id) {
  const auto asked = from.get(request_key(owner, request_id));
  if (!asked)
    return tl::unexpected<failure>(asked.error());
  if (!*asked || !is_valid_id((*asked)->value)) // the latter: it is destroyed
    return std::nullopt;
  auto placed = read_placement(from, (*asked)->value);
  if (!placed)
    return tl::unexpected<failure>(std::move(placed.error()));
  if (!*placed)
    return std::nullopt;
  return std::move((*placed)->what);
}

result<std::optional<gone_request>>
find_gone_request(store& from, const std::string& owner,
                  const std::string& request_id) {
  const auto asked = from.get(request_key(owner, request_id));
  if (!asked)
    return tl::unexpected<failure>(asked.error());
  if (!*asked)
    return std::nullopt;
  auto read = decode_gone_request((*asked)->value);
  return read ? std::optional{std::move(*read)} : std::nullopt;
}

failure repeat_of_gone(const std::string& request_id, std::uint64_t digest,
                       const gone_request& before) {
  if (digest != before.digest)
    return {ec::conflict,
            "request id " + request_id + " was used before with another body",
            "make a new request id"};
  return {ec::wrong_state,
          before.sandbox + " was made by this request and is destroyed: "
              + escape_text(before.cause),
          "caged why " + before.sandbox + " shows its history"};
}

result<void> unbook(store& in, std::string_view sandbox,
                    std::string_view expected_node,
                    const gone_request* remember) {
  for (patience left;;) {
    auto there = read_placement(in, sandbox);
    if (!there)
      return tl::unexpected<failure>(std::move(there.error()));
    if (!*there)
      return {};
    const auto& [what, revision] = **there;
    if (what.node != expected_node)
      return fail(ec::conflict, what.sandbox + " is placed on node "
                                    + quoted(what.node) + ", not on "
                                    + quoted(expected_node));
    auto seen = read_reserved(in, what.node);
    if (!seen)
      return tl::unexpected<failure>(std::move(seen.error()));
    take(seen->what.used, what.takes);
    take(seen->what.sandboxes, 1U);
    const auto placement = placement_key(sandbox);
    const auto reserved = node_key(what.node, "reserved");
    std::vector<compare> compares = {{placement, revision},
                                     {reserved, seen->revision}};
    std::vector<operation> operations = {erase(placement),
                                         put(reserved, encode(seen->what))};
    if (!what.name.empty()) {
      auto name = name_key(what.owner, what.name);
      const auto named = in.get(name);
      if (!named)
        return tl::unexpected<failure>(named.error());
      if (*named && (*named)->value == sandbox) {
        compares.push_back({name, (*named)->revision});
        operations.push_back(erase(std::move(name)));
      }
    }
    // Its own as long as the placement is there.
    if (!what.request_id.empty()) {
      auto request = request_key(what.owner, what.request_id);
      if (remember) {
        auto kept = *remember;
        kept.digest = what.digest;
        operations.push_back(put(std::move(request), encode(kept)));
      } else {
        operations.push_back(erase(std::move(request)));
      }
    }
    auto done = in.commit(compares, operations);
    if (done)
      return {};
    if (!left.again(done.error()))
      return left.ended(std::move(done.error()), expected_node);
  }
}

result<void> rebook(store& in, std::string_view sandbox,
                    const capacity& takes) {
  for (patience left;;) {
    auto there = read_placement(in, sandbox);
    if (!there)
      return tl::unexpected<failure>(std::move(there.error()));
    if (!*there)
      return fail(ec::not_found, quoted(sandbox) + " is placed on no node");
    auto& [what, revision] = **there;
    if (what.takes == takes)
      return {};
    if (takes.cpus > what.takes.cpus || takes.memory_mb > what.takes.memory_mb
        || takes.disk_gb > what.takes.disk_gb)
      return fail(ec::bad_request,
                  what.sandbox + " cannot take more of its node than before");
    auto seen = read_reserved(in, what.node);
    if (!seen)
      return tl::unexpected<failure>(std::move(seen.error()));
    take(seen->what.used, what.takes);
    add(seen->what.used, takes);
    what.takes = takes;
    const auto placement = placement_key(sandbox);
    const auto reserved = node_key(what.node, "reserved");
    auto done = in.commit(
        {{placement, revision}, {reserved, seen->revision}},
        {put(placement, encode(what)), put(reserved, encode(seen->what))});
    if (done)
      return {};
    if (!left.again(done.error()))
      return left.ended(std::move(done.error()), what.node);
  }
}

result<recounted> recount(store& in, std::string_view node) {
  const auto key = node_key(node, "reserved");
  bool perhaps = false; ///< an earlier round may have changed it
  for (patience left;;) {
    // Before the placements: each change of one also moves this revision on.
    const auto was = in.get(key);
    if (!was)
      return tl::unexpected<failure>(was.error());
    const auto revision = *was ? (*was)->revision : 0;
    const auto placed = in.list(std::string{placements_prefix});
    if (!placed)
      return tl::unexpected<failure>(placed.error());
    recounted out;
    for (const auto& each : *placed) {
      const auto id =
          std::string_view{each.key}.substr(placements_prefix.size());
      const auto what = decode_placement(id, each.value);
      if (!what) {
        out.unreadable.push_back(each.key);
      } else if (what->node == node) {
        add(out.reserved.used, what->takes);
        add(out.reserved.sandboxes, 1U);
      }
    }
    const auto had = *was ? decode_reserved((*was)->value) : reserved_record{};
    out.changed = perhaps || !had || *had != out.reserved;
    if (had && *had == out.reserved) {
      // A wrong sum and a booking in between can look right together.
      const auto now = in.get(key);
      if (!now)
        return tl::unexpected<failure>(now.error());
      if ((*now ? (*now)->revision : 0) == revision)
        return out;
      if (!left.again({ec::conflict, {}, {}}))
        return patience::busy(node);
      continue;
    }
    auto done = in.commit({{key, revision}}, {put(key, encode(out.reserved))});
    if (done)
      return out;
    perhaps = perhaps || done.error().code == ec::unavailable;
    if (!left.again(done.error()))
      return left.ended(std::move(done.error()), node);
  }
}

} // namespace caged
