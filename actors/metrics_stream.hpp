#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/node_context.hpp"
#include "messages/fwd.hpp"
#include "messages/samples.hpp"

namespace caged {

/// The last samples of one sandbox.
struct sample_pair {
  std::optional<agent_metrics> agent;
  std::optional<host_stats> host;
};

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::sample_pair)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::agent_metrics)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::host_stats)

namespace caged {

/// The last sample of one sandbox, checked, and its series in the exposer:
/// they leave when this actor ends.
using metrics_stream_actor = caf::typed_actor<
    // What the agent claims; an implausible sample is counted and dropped, and
    // the answer is false.
    caf::replies_to<agent_metrics>::with<bool>,
    // The host's own reading.
    caf::reacts_to<host_stats>, caf::reacts_to<atom::beat>,
    caf::replies_to<atom::get>::with<sample_pair>,
    // Ends; when it answers, its series have left.
    caf::replies_to<atom::gone>::with<bool>, caf::reacts_to<atom::stop>>;

struct metrics_stream_state {
  static constexpr const char* name = "metrics_stream";
  ~metrics_stream_state();
  void remove(); ///< once
  context_ptr context;
  std::string id;
  sandbox_spec spec;
  sample_pair last;
};

metrics_stream_actor::behavior_type metrics_stream(
    metrics_stream_actor::stateful_pointer<metrics_stream_state> self,
    context_ptr context, std::string id, sandbox_spec spec);

} // namespace caged
