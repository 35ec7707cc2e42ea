#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <caf/response_promise.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/node_context.hpp"
#include "actors/permissions.hpp"
#include "actors/placements.hpp"
#include "actors/sandbox.hpp"
#include "messages/fwd.hpp"

namespace caged {

/// What the journal and the store knew when the daemon started.
struct node_memory {
  std::vector<sandbox_record> sandboxes;    ///< not destroyed
  std::vector<sandbox_record> destroyed;    ///< history only
  std::map<std::string, cause> last_causes; ///< by id
  std::vector<exec_record> execs;
  /// Nothing: the store was away.
  std::optional<stored_placements> stored;
};

/// A placement decides existence, the journal everything else (DESIGN.md,
/// section 8). Sandboxes without placement come back as stopping, and so do
/// members of the pool, which have no owner; `erase` is what the store has of
/// sandboxes that are not in the journal. While the store is away every sandbox
/// counts as placed.
struct reconciled {
  std::vector<sandbox_record> adopt;
  strays erase;
};
reconciled reconcile(const node_memory& memory);

/// One sandbox as the entrypoint needs it.
struct found_sandbox {
  std::string id;
  std::string owner;
  sandbox_info info;
  sandbox_actor handle; ///< invalid when it is destroyed
};

struct stop_request {
  bool destroy_all = false;
  std::string who;
};

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::found_sandbox)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::stop_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::api::list_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::api::node_status_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::api::audit_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::api::shutdown_reply)

namespace caged {

/// The node's capacity and its set of sandboxes. Extends sandbox_owner_actor.
using supervisor_actor = caf::typed_actor<
    caf::reacts_to<sandbox_changed>,
    // Re-adopts what an earlier daemon left. Once, first.
    caf::reacts_to<atom::start>,
    // `up`. Answers go to the client sink: progress, then up_reply or an error
    // (bad_request, unsupported, conflict, no_capacity, shutting_down, ...).
    caf::reacts_to<atom::run, request_ptr>,
    // A reference (id, name, prefix) among what the caller may see; the flag
    // admits destroyed ones. Errors: not_found, ambiguous.
    caf::replies_to<atom::lookup, std::string, request_ptr,
                    bool>::with<found_sandbox>,
    caf::replies_to<atom::list, request_ptr>::with<api::list_reply>,
    caf::replies_to<atom::status>::with<api::node_status_reply>,
    // `events`: answers go to the client sink, until its route is gone.
    caf::reacts_to<atom::changed, request_ptr>,
    caf::reacts_to<atom::gone, std::string>,
    // The journal held against the kernel. Errors: of journal and driver.
    // With the flag, orphans whose sandbox is not this node's any more are
    // freed.
    caf::replies_to<atom::audit, bool>::with<api::audit_reply>,
    // Takes no new sandbox; with destroy_all every one is destroyed first. The
    // entrypoint ends the daemon when it has passed the answer on.
    caf::replies_to<stop_request>::with<api::shutdown_reply>,
    // A token is revoked: the MCP servers of this key end, in every sandbox.
    caf::reacts_to<atom::revoke, std::string>,
    // Timer: what the store has not told or taken yet.
    caf::reacts_to<atom::recheck>,
    // Timer: the pool may be filled up.
    caf::reacts_to<atom::pool>,
    // From the driver's thread.
    caf::reacts_to<exit_report>,
    caf::reacts_to<atom::oom, std::string, std::uint64_t>,
    // Ends the actors; the sandboxes live on.
    caf::reacts_to<atom::stop>>;

class supervisor_state {
public:
  using pointer = supervisor_actor::stateful_pointer<supervisor_state>;
  static constexpr const char* name = "supervisor";

  explicit supervisor_state(pointer hdl) : self{hdl} {}

  void start();
  void up(const request_ptr& request);
  void changed(const sandbox_changed& what);
  caf::result<found_sandbox> lookup(const std::string& reference,
                                    const request_ptr& request,
                                    bool destroyed_too);
  api::list_reply list(const request_ptr& request) const;
  api::node_status_reply status() const;
  caf::result<api::audit_reply> audit_node(bool fix);
  caf::result<api::shutdown_reply> shut_down(const stop_request& what);
  void revoke(const std::string& key);
  void recheck();
  void pool_due();
  void follow(const request_ptr& request);
  void unfollow(const std::string& route);
  void forward_exit(const exit_report& report);
  void forward_oom(const std::string& id, std::uint64_t kills);
  void child_down(const caf::actor_addr& who);
  void stop_all();

  pointer self;
  context_ptr context;
  node_memory memory;

private:
  struct entry {
    sandbox_actor handle;
    sandbox_info info;
    std::string request_id;
    std::uint64_t digest = 0;
    std::uint32_t slot = 0;
    phase counted = phase::pending; ///< state the capacity was booked for
    bool ready = false;
    /// A shutdown that waits for the first commit; null: it failed.
    std::function<void(const sandbox_actor*)> when_created;
  };
  /// Booted and frozen for a tenant to come, or on its way to that.
  struct member {
    sandbox_actor handle; ///< invalid until it is in the journal
    sandbox_spec spec;
    std::uint32_t slot = 0;
    bool ready = false;
    bool over = false; ///< will never be handed out
  };
  struct past {
    std::string id, owner, request_id;
  };
  struct taken {
    std::string id;
    member what;
  };
  /// A client that is told what happens.
  struct follower {
    request_ptr request;
    std::string sandbox;           ///< id; empty: all that it may see
    bool live = false;             ///< its history was sent
    std::vector<api::event> early; ///< happened while the history was read
  };
  struct waiter {
    std::string route, id;
  };

  void refuse(const api::request& request, failure why,
              const std::string& sandbox = {});
  void refuse_waiters(std::vector<waiter> whom, failure why,
                      const std::string& sandbox, const std::string& owner,
                      const std::string& request_id);
  bool answered_before(const api::request& request, const api::up& what);
  node_view here() const;
  const sandbox_info* find_destroyed(const std::string& reference,
                                     const api::request& request) const;
  std::string fresh_id() const;
  std::uint32_t free_slot() const;
  void spawn(entry& to, const sandbox_record& record,
             std::vector<exec_record> execs);
  void respawn(const std::string& id);
  void free_member(member& what, const sandbox_record& record);
  void created(const sandbox_record& record, const request_ptr& request,
               const result<void>& written);
  void recheck_later();
  void rechecked(const result<stored_placements>& stored);
  void forget(const std::string& id);
  void keep_history(past what);
  void expire_history();
  void publish_capacity();
  void spread(const sandbox_changed& what);
  void admit();
  void tell_place(const std::string& id, std::size_t place);
  void leave_line(const std::string& id);
  void begin(const std::string& id, entry& item);
  std::optional<taken> take_member(const sandbox_spec& wanted);
  void end_member(const std::string& id);
  void fill_pool();
  void make_member(const sandbox_spec& spec);
  bool member_changed(const sandbox_changed& what);
  void look_at_pool(std::chrono::milliseconds in);
  void publish_pool() const;
  std::vector<api::pool_status> pool_status() const;
  unsigned ready_members(const pool_setting& of) const;
  const sandbox_actor* handle_of(const std::string& id) const;
  /// Whether everything that is leased for it has to be in the kernel.
  bool is_live(const std::string& id) const;

  std::map<std::string, entry> sandboxes_;
  std::map<std::string, sandbox_info> destroyed_;
  std::deque<past> history_; ///< of destroyed_, oldest first
  /// Of what is old in the journal; nothing: nothing has ended yet.
  std::optional<std::chrono::steady_clock::time_point> next_expiry_;
  /// (caller, request id) -> (sandbox, digest), destroyed ones too.
  std::map<std::pair<std::string, std::string>,
           std::pair<std::string, std::uint64_t>>
      requests_;
  std::map<std::pair<std::string, std::string>, std::string> names_;
  std::map<std::string, std::vector<waiter>> waiters_;
  std::set<std::string> starting_; ///< the driver is at work for them
  std::deque<std::string> line_;   ///< wait for one of those, in order
  std::map<std::string, member> members_;
  /// Adopted while the store was away: whether they are placed is not known.
  std::set<std::string> unconfirmed_;
  /// Nobody knows whether their placement was written: it is to go.
  std::vector<sandbox_record> doubtful_;
  bool recheck_timer_ = false;
  bool pool_timer_ = false;
  /// After a member that could not be made: not before this.
  std::chrono::steady_clock::time_point pool_pause_{};
  /// When a member was last handed out.
  std::chrono::steady_clock::time_point taken_at_ =
      std::chrono::steady_clock::time_point::min();
  std::vector<follower> followers_;
  std::set<std::uint32_t> slots_;
  capacity reserved_;
  bool stopping_ = false;
  std::int64_t started_ms_ = 0;
};

supervisor_actor::behavior_type supervisor(supervisor_state::pointer self,
                                           context_ptr context,
                                           node_memory memory);

} // namespace caged
