#pragma once

#include <filesystem>
#include <memory>

#include "actors/journal.hpp"

namespace caged {

/// The journal in one SQLite file: one connection with synchronous=FULL, one
/// with OFF for execs, which die with the machine anyway. Errors: io,
/// unsupported (a newer schema), each naming the file.
result<std::unique_ptr<journal>>
open_journal(const std::filesystem::path& file);

} // namespace caged
