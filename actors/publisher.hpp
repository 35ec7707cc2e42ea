#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include "actors/histories.hpp"
#include "actors/node_context.hpp"
#include "messages/fwd.hpp"

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::history_record)

namespace caged {

/// Copies what the journal has of this node's sandboxes to a store that is
/// shared, and sweeps what it has copied (docs/adr/0014). Nobody waits for it:
/// what cannot be written yet is written later, also by the next daemon.
using publisher_actor = caf::typed_actor<
    // The journal has something new of this sandbox; the causes are read there.
    caf::reacts_to<history_record>,
    // Once: looks for what an earlier daemon has left undone.
    caf::reacts_to<atom::start>,
    // Timers: what is to be written; journal and store are compared, and swept;
    // requests of destroyed sandboxes have had their time.
    caf::reacts_to<atom::tick>, caf::reacts_to<atom::recheck>,
    caf::reacts_to<atom::expire>,
    // Ends it, when what waits is written or cannot be. Never fails.
    caf::replies_to<atom::stop>::with<bool>>;

class publisher_state {
public:
  using pointer = publisher_actor::stateful_pointer<publisher_state>;
  static constexpr const char* name = "publisher";

  explicit publisher_state(pointer hdl) : self{hdl} {}

  void changed(const history_record& head);
  void start();
  void write();
  void look();
  void sweep_requests();
  caf::result<bool> stop();

  pointer self;
  context_ptr context;
  std::function<std::int64_t()> now_ms;

private:
  void write_in(std::chrono::milliseconds time);
  void look_in(std::chrono::milliseconds time);
  bool store_is_away() const;
  void end();
  void written(const std::vector<history_record>& what,
               const result<void>& done);
  void compare_with(const swept& there,
                    const std::vector<history_record>& heads);

  /// By id: the newest head of each that the store does not have. As many as
  /// the node has sandboxes at most, since nothing is destroyed without the
  /// store.
  std::map<std::string, history_record> waiting_;
  bool write_timer_ = false;
  bool writing_ = false;
  std::optional<caf::typed_response_promise<bool>> stopping_;
};

/// `now_ms` is the wall clock.
publisher_actor::behavior_type publisher(publisher_state::pointer self,
                                         context_ptr context,
                                         std::function<std::int64_t()> now_ms);

/// For what is journalled from now on (told_journal.hpp); any thread.
std::function<void(const sandbox_record&)>
publishing(publisher_actor to, std::string node, std::string node_name);

} // namespace caged
