#include "actors/metrics_stream.hpp"

namespace caged {

metrics_stream_state::~metrics_stream_state() {
  remove();
}

void metrics_stream_state::remove() {
  if (context && context->metrics)
    context->metrics->remove(id);
  context.reset();
}

metrics_stream_actor::behavior_type metrics_stream(
    metrics_stream_actor::stateful_pointer<metrics_stream_state> self,
    context_ptr context, std::string id, sandbox_spec spec) {
  auto& st = self->state;
  st.context = std::move(context);
  st.id = std::move(id);
  st.spec = std::move(spec);
  st.context->metrics->info(st.id, st.spec);
  return {
      [self](const agent_metrics& sample) {
        auto& s = self->state;
        constexpr std::uint64_t mega = 1024 * 1024;
        if (!is_plausible(sample, s.spec.cpus, s.spec.memory_mb * mega,
                          s.spec.disk_gb * 1024 * mega, s.spec.pids)) {
          s.context->metrics->refused_sample(s.id);
          return false;
        }
        s.last.agent = sample;
        s.context->metrics->agent(s.id, sample);
        return true;
      },
      [self](const host_stats& stats) {
        self->state.last.host = stats;
        self->state.context->metrics->host(self->state.id, stats);
      },
      [self](atom::beat) {
        self->state.context->metrics->heartbeat(self->state.id);
      },
      [self](atom::get) { return self->state.last; },
      [self](atom::gone) {
        self->state.remove();
        self->quit(); // nothing that waits in the mailbox adds them again
        return true;
      },
      [self](atom::stop) { self->quit(); },
  };
}

} // namespace caged
