#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/response_promise.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "messages/fwd.hpp"

namespace caged {

/// Something that blocks: a driver call, a commit.
struct job {
  std::function<void()> run;
};

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::job)

namespace caged {

/// Runs jobs one after another, so that no other actor ever blocks. Answers
/// when the job has run. An exception of the job is ec::internal.
using worker_actor = caf::typed_actor<caf::replies_to<job>::with<bool>,
                                      caf::reacts_to<atom::stop>>;

/// Spawn detached: it blocks its thread.
worker_actor::behavior_type worker(worker_actor::pointer self);

struct worker_pool_state {
  static constexpr const char* name = "worker_pool";
  struct waiting {
    job what;
    caf::response_promise answer;
  };
  std::vector<worker_actor> all;
  std::vector<worker_actor> idle;
  std::deque<waiting> queue;
};

/// Hands jobs to `workers` in the order they came: never more threads than
/// workers, however many sandboxes start at once.
worker_actor::behavior_type
worker_pool(worker_actor::stateful_pointer<worker_pool_state> self,
            std::vector<worker_actor> workers);

/// How long a blocking call may take before its actor gives up on it.
inline constexpr auto job_timeout = std::chrono::minutes(2);

/// Runs `work` (which returns a result<T>) on a worker and hands what it
/// returned to `done`, in the actor's own context.
template <class Self, class Work, class Done>
void offload(Self* self, const worker_actor& to, Work work, Done done) {
  using outcome = std::invoke_result_t<Work>;
  auto slot = std::make_shared<std::optional<outcome>>();
  auto callback = std::make_shared<Done>(std::move(done));
  self->request(to, job_timeout, job{[slot, work = std::move(work)]() mutable {
                  slot->emplace(work());
                }})
      .then([slot, callback](bool) { (*callback)(std::move(**slot)); },
            [callback](caf::error& why) {
              (*callback)(outcome{tl::unexpect, to_failure(why)});
            });
}

} // namespace caged
