#include "actors/sandbox.hpp"

#include "actors/placements.hpp"
#include "messages/text.hpp"

// A member of the pool: made like any sandbox, but for nobody. It is frozen as
// soon as its agent has answered, and thawed for its first and only tenant. The
// journal knows it as a sandbox without owner; no placement speaks of it.
namespace caged {

using namespace std::chrono_literals;

bool sandbox_state::is_member() const {
  return record_.owner.empty();
}

/// Its agent has answered: journal first, freezer after, as for any pause.
void sandbox_state::park() {
  ++generation_; // the agent's deadline is met
  if (link)
    self->send(link, atom::pause::value);
  change(phase::paused, "pool", "booted and frozen until it is handed out",
         [this](const result<void>& written) {
           if (!written) {
             fail_with("node", "that it is in the pool could not be recorded: "
                                   + written.error().message);
             return;
           }
           drive([this] {
             offload(
                 self, context->driver_workers,
                 [driver = context->driver, id = record_.id] {
                   return driver->pause(id);
                 },
                 [this](const result<void>& frozen) {
                   if (record_.state == phase::paused) {
                     parked_ = frozen.has_value();
                     if (frozen)
                       publish();
                     else
                       fail_with("node", "it could not be frozen: "
                                             + frozen.error().message);
                   }
                   driven();
                 });
           });
         });
}

/// Handed out: from here on it is the tenant's, whatever goes wrong. Records
/// are written while it is thawed and its agent told; `up` is answered when all
/// of it is done.
void sandbox_state::assign(const sandbox_record& as) {
  auto member = std::exchange(record_, as);
  record_.process = member.process;
  record_.agent_boot = member.agent_boot;
  record_.agent_version = member.agent_version;
  record_.slot = member.slot;
  record_.state = phase::paused;
  // Journalled with the rest: a daemon that dies before it was run knows that
  // it has to.
  record_.init_state = record_.spec.init_script.empty() ? -1 : 0;
  parked_ = false;
  handing_out_ = true;
  counted_ = false;
  started_ = self->home_system().clock().now();
  self->delayed_send(self, context->agent_deadline, atom::expire::value,
                     ++generation_);
  watch_ttl();
  metrics = self->spawn(metrics_stream, context, record_.id, record_.spec);
  auto why = note(phase::running, record_.owner,
                  "up was asked for; handed out from the pool");
  context->metrics->state(record_.id, phase::running);
  auto recorded = [this](const result<void>& done) {
    if (record_.state != phase::running)
      return;    // destroyed or failed meanwhile
    if (!done) { // its tenant never learns of it, nobody else gets it
      start_error_ = done.error();
      end("node");
      return;
    }
    written_ = true;
    publish();
  };
  offload(
      self, context->store_calls,
      [store = context->store, record = record_, node = context->node_id,
       total = context->total] { return place(*store, record, node, total); },
      [this, why, recorded](const result<void>& placed) {
        if (!placed || record_.state != phase::running)
          return recorded(placed);
        // Behind whatever of this sandbox is on its way to the journal.
        offload(
            self, context->records,
            [journal = context->journal, record = record_, why] {
              return journal->transition(record, why);
            },
            recorded);
      });
  drive([this] {
    offload(
        self, context->driver_workers,
        [driver = context->driver, what = launch(),
         process = record_.process]() -> result<void> {
          if (auto tuned = driver->tune(what, process); !tuned)
            return tuned;
          return driver->resume(what.id);
        },
        [this](const result<void>& thawed) {
          if (record_.state == phase::running) {
            if (thawed)
              self->send(link,
                         link_assigned{agent_setup{record_.spec}, metrics});
            else
              fail_with("node", "it could not be handed out: "
                                    + thawed.error().message);
          }
          driven();
        });
  });
  tick();
}

/// Its agent has the tenant's setup.
void sandbox_state::handed_out() {
  handing_out_ = false;
  ++generation_;
  became_idle();
  if (record_.init_state == 0) {
    self->send(link, atom::inject::value, record_.spec.init_script);
    publish("running its init script");
  }
  counted_ = true;
  context->metrics->created(self->home_system().clock().now() - started_);
  publish();
}

} // namespace caged
