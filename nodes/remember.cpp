#include "nodes/remember.hpp"

#include <utility>

#include "actors/histories.hpp"
#include "actors/placements.hpp"
#include "messages/text.hpp"
#include "nodes/logging.hpp"

namespace caged {

result<node_memory> remember(journal& from, store& placements,
                             const std::string& node_id) {
  node_memory out;
  if (auto done = from.expire(wall_clock_ms() - history_kept_ms); !done)
    return tl::unexpected<failure>(done.error());
  auto live = from.sandboxes();
  auto gone = from.destroyed();
  auto execs = from.execs();
  auto stored = read_placements(placements, node_id);
  if (!live)
    return tl::unexpected<failure>(live.error());
  if (!gone)
    return tl::unexpected<failure>(gone.error());
  if (!execs)
    return tl::unexpected<failure>(execs.error());
  if (stored)
    out.stored = std::move(*stored);
  else if (stored.error().code != ec::unavailable)
    return tl::unexpected<failure>(stored.error());
  else
    log_event("the store is away: what is in the journal goes on",
              {{"error", stored.error().message}});
  for (const auto* group : {&*live, &*gone})
    for (const auto& sandbox : *group) {
      auto causes = from.causes(sandbox.id);
      if (causes && !causes->empty())
        out.last_causes[sandbox.id] = causes->back();
    }
  out.sandboxes = std::move(*live);
  out.destroyed = std::move(*gone);
  out.execs = std::move(*execs);
  return out;
}

} // namespace caged
