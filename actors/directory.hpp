#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/fleet_records.hpp"
#include "actors/scheduler.hpp"
#include "actors/store.hpp"
#include "messages/sandbox.hpp"

namespace caged {

/// The fleet as this node last saw it: nodes, and where sandboxes are. Fed by
/// what the store tells of "nodes/", "placements/" and "requests/", in any
/// order; a record that cannot be read is as if it were not there, and counted.
/// It may be old: only the owner of a sandbox knows better. Thread-safe;
/// nothing blocks.
class directory {
public:
  /// A change of the store (nodes/store_follower.hpp). Keys that are of no
  /// concern are passed over.
  void apply(const record& what, bool erased);

  /// A node that came (true) or went silent: called by whoever calls apply,
  /// when its lease's key appears or goes. Set it before the first apply.
  using liveness = std::function<void(const std::string& id, bool live)>;
  void on_liveness(liveness tell);

  /// All nodes that were there have been applied.
  void loaded();
  /// Until then nobody knows which nodes there are.
  bool ready() const;

  /// Those that have said what they are, in the order of their names.
  std::vector<node_view> nodes() const;
  /// By id, then by name. Errors: not_found; ambiguous (a name of several).
  result<node_view> node(std::string_view reference) const;
  /// The id of the node with this key (CURVE, Z85); nothing: none has it.
  std::optional<std::string> node_with_key(std::string_view public_key) const;
  std::optional<placement_record> placement(const std::string& sandbox) const;
  /// The sandbox that this `up` made.
  std::optional<placement_record> of_request(const std::string& owner,
                                             const std::string& id) const;
  /// The `up` whose sandbox was destroyed a short while ago.
  std::optional<gone_request> gone(const std::string& owner,
                                   const std::string& id) const;
  struct kept_request {
    std::string key;
    std::int64_t revision = 0;
    gone_request what;
  };
  /// All of those.
  std::vector<kept_request> gone_requests() const;
  std::vector<placement_record> placements() const;
  /// How many sandboxes are placed on each node, by its id.
  std::map<std::string, std::uint32_t> placed() const;
  /// As a user names it: id, name, unique prefix, among what `owner` owns
  /// (everybody's: an admin's). Errors: not_found, ambiguous.
  result<placement_record> find(std::string_view reference,
                                std::string_view owner, bool admin) const;
  /// Records that cannot be read.
  std::size_t unreadable() const;
  /// So many of those that no view is fed with (actors/histories.hpp).
  void unreadable_histories(std::size_t count);

private:
  struct entry {
    std::optional<node_record> info;
    reserved_view reserved;
    bool unreadable = false; ///< its "reserved"
    bool live = false;
    bool cordoned = false;
    std::int64_t silent_since_ms = 0, heard_ms = 0;
    std::string cordoned_by;
    offers_record offers;
    /// Of that: what this node did itself, and told before the store did, is
    /// not undone by older news.
    std::int64_t cordon_revision = 0;

    bool empty() const {
      return !info && reserved.revision == 0 && !unreadable && !live
             && !cordoned && offers == offers_record{};
    }
  };
  void forget(const std::string& sandbox);
  void apply_node(std::string_view rest, const record& what, bool erased);
  void apply_request(const record& what, bool erased);
  static node_view view_of(const entry& from);

  mutable std::mutex mutex_;
  std::map<std::string, entry, std::less<>> nodes_; ///< by id
  std::map<std::string, placement_record, std::less<>> placements_;
  std::map<std::string, bool, std::less<>> bad_;         ///< keys
  std::map<std::string, std::string, std::less<>> keys_; ///< key -> node
  /// (owner, request id) -> sandbox
  std::map<std::pair<std::string, std::string>, std::string> requests_;
  std::map<std::string, kept_request, std::less<>> gone_; ///< by key
  std::size_t bad_histories_ = 0;
  bool loaded_ = false;
  liveness tell_;
};

/// What can be said of a sandbox whose node does not answer: where it is, what
/// it takes, and that it is lost.
sandbox_info lost_info(const placement_record& placed, const node_view& of);

} // namespace caged
