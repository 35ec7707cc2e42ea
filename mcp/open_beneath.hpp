#pragma once

#include <cstdint>

#include <sys/types.h>

namespace caged::mcp {

/// openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS and `also`
/// (RESOLVE_* of linux/openat2.h), O_CLOEXEC added. -1 and errno on failure.
/// EINTR, and EAGAIN of a rename that raced with "..", are tried again a
/// bounded number of times; with RESOLVE_CACHED, EAGAIN is an answer.
/// Any thread.
int open_beneath(int root, const char* path, int flags, mode_t mode = 0,
                 std::uint64_t also = 0) noexcept;

} // namespace caged::mcp
