#include "actors/supervisor.hpp"

// What the store could not tell or take while it was away.
namespace caged {

using namespace std::chrono_literals;

namespace {

/// Until the next try.
constexpr auto recheck_interval = 2s;
/// A destroy may wait behind other driver calls.
constexpr auto destroy_patience = std::chrono::minutes(2);

} // namespace

void supervisor_state::recheck_later() {
  if (recheck_timer_ || stopping_)
    return;
  recheck_timer_ = true;
  self->delayed_send(self, recheck_interval, atom::recheck::value);
}

void supervisor_state::recheck() {
  recheck_timer_ = false;
  if (stopping_ || (unconfirmed_.empty() && doubtful_.empty()))
    return;
  offload(
      self, context->store_calls,
      [store = context->store, node = context->node_id,
       doubtful = doubtful_]() -> result<stored_placements> {
        // First: a commit also ends what is left of one that was in doubt.
        for (const auto& each : doubtful)
          if (auto gone = unplace(*store, each, node); !gone)
            return tl::unexpected<failure>(gone.error());
        return read_placements(*store, node);
      },
      [this, done = doubtful_.size()](const result<stored_placements>& stored) {
        if (stored)
          doubtful_.erase(doubtful_.begin(),
                          doubtful_.begin()
                              + static_cast<std::ptrdiff_t>(done));
        rechecked(stored);
        if (!stored || !doubtful_.empty())
          recheck_later();
      });
}

/// Judges those that were adopted unseen. What was made since is in the store
/// by its own commit, and may be younger than the answer.
void supervisor_state::rechecked(const result<stored_placements>& stored) {
  if (!stored || unconfirmed_.empty() || stopping_)
    return;
  std::set<std::string> owned;
  for (const auto& [id, item] : sandboxes_) {
    owned.insert(id);
    if (unconfirmed_.count(id) != 0 && stored->here.count(id) == 0
        && item.handle)
      self->request(item.handle, destroy_patience, atom::destroy::value,
                    std::string{"store"})
          .then([](bool) {}, [](const caf::error&) {}); // it tries on itself
  }
  unconfirmed_.clear();
  auto erase = find_strays(*stored, owned);
  if (erase.empty())
    return;
  offload(
      self, context->store_calls,
      [store = context->store, erase = std::move(erase),
       node = context->node_id] { return erase_strays(*store, erase, node); },
      [](const result<void>&) {});
}

} // namespace caged
