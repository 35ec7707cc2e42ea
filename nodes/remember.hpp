#pragma once

#include <string>

#include "actors/journal.hpp"
#include "actors/store.hpp"
#include "actors/supervisor.hpp"
#include "messages/error.hpp"

namespace caged {

/// What an earlier daemon has left in the journal and, where that answers, in
/// the store; what has been over for history_kept_ms leaves the journal.
/// Blocks. Errors: of the journal; of the store, but that it is away, which is
/// logged.
result<node_memory> remember(journal& from, store& placements,
                             const std::string& node_id);

} // namespace caged
