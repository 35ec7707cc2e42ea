#pragma once

#include <filesystem>
#include <memory>

#include "actors/journal.hpp"

namespace caged {

/// The journal in one SQLite file: commits with synchronous=FULL, those of
/// execs without an fsync, since these die with the machine anyway. A create is
/// one fsync, 0.3 ms on ext4 on a virtio disk: no need to combine several.
/// Errors: io, unsupported (a newer schema), each naming the file.
result<std::unique_ptr<journal>>
open_journal(const std::filesystem::path& file);

} // namespace caged
