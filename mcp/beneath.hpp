#pragma once

#include <string>

#include "mcp/workspace.hpp"

namespace caged::mcp {

/// open_beneath without following any link on the way or at the end
/// (RESOLVE_NO_SYMLINKS): a folder that somebody swaps for a link is refused
/// (ELOOP), not followed. O_NOCTTY, O_NOFOLLOW and O_NONBLOCK are added.
/// Nothing, and errno, on failure. Any thread.
owned_fd open_unlinked(int folder, const char* path, int flags);

/// What an open regular file holds, when that is at most `most` bytes; false
/// for anything else (errno: EFBIG, EINVAL for what is no regular file, ...).
/// `to` keeps its capacity.
bool read_regular(int fd, std::size_t most, std::string& to);

} // namespace caged::mcp
