#pragma once

#include <cstddef>
#include <functional>

#include "messages/error.hpp"

namespace caged::mcp::git {

/// What a git worker may still do after confine(). Nothing of it can be taken
/// back by the process.
struct confinement {
  int root_fd = -1; ///< The workspace (O_PATH).
  bool writable = false;
  /// False only in tests: as on a kernel without Landlock.
  bool use_landlock = true;
  /// Private memory (RLIMIT_DATA), bytes; mapped files come on top.
  std::size_t memory = 40U << 20U;
};

/// Gives up, for the calling process and for ever:
///  - files outside the workspace (Landlock, kernel 5.13; reading beneath it
///    stays, writing only when writable; no execution at all),
///  - programs, threads, sockets, other processes (seccomp),
///  - memory above the limit, core files, privileges by execve.
/// One thread only, before any file of the workspace is opened. `threads` is
/// called when files are confined and may make the last threads of the process:
/// all of the above is theirs, too. Gives whether Landlock is in force. What it
/// cannot stop: Landlock governs opening, not stat(2) or readlink(2), so names
/// and sizes outside stay visible to code that asks for them; repository.cpp
/// refuses what would make libgit2 ask. Error: host_setup, when a step that
/// every kernel offers fails.
result<bool> confine(const confinement& how,
                     const std::function<void()>& threads = {});

} // namespace caged::mcp::git
