#pragma once

#include <filesystem>
#include <memory>

#include "actors/store.hpp"

namespace caged {

/// The embedded store of a single host: one SQLite file, WAL, synchronous=FULL.
/// Watchers: store_watchers.hpp. Errors: io, unsupported (a
/// newer schema), each naming the file.
result<std::unique_ptr<store>>
open_sqlite_store(const std::filesystem::path& file);

} // namespace caged
