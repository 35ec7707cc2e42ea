#pragma once

#include <memory>

#include "actors/store.hpp"
#include "messages/client_api.hpp"
#include "nodes/config.hpp"

namespace caged {

/// Whether the settings name a store that could be opened: the form of the URL,
/// which options go together, modes of the files. Nothing is sent. Errors:
/// bad_request, denied, io.
result<void> check_store(const node_config& config);

/// SQLite in the data directory, or an etcd, which may be away: that shows at
/// the first call. Errors: of check_store, io.
result<std::unique_ptr<store>> open_store(const node_config& config);

/// What another node needs to open the same store: the etcd's URL, and what is
/// in the files now. Error: io.
result<api::store_access> read_access(const node_config& config);

} // namespace caged
