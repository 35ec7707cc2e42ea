#pragma once

#include <filesystem>
#include <string_view>

#include <sys/types.h>

#include "messages/error.hpp"

namespace caged {

enum class if_there { replace, refuse };

/// Writes a file with that mode, whole or not at all: nobody ever reads half of
/// it, and a full disk leaves the old one. Errors: conflict (it is there), io.
result<void> write_whole_file(const std::filesystem::path& path,
                              std::string_view text, mode_t mode,
                              if_there then);

} // namespace caged
