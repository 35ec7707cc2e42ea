#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "mcp/call.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp::git {

/// Runs a repository's hook, a program that the repository names: only for
/// servers with allow_hooks and write access. `hook` and `worktree` are
/// absolute paths; the hook must lie beneath the workspace and be executable
/// (otherwise nothing happens, as in git). It runs in the worktree, in its own
/// process group, with stdin at /dev/null and an environment of PATH, HOME,
/// USER, LANG, TERM, TMPDIR, TZ and GIT_EDITOR=: alone. Output, both streams,
/// at most 64 KiB, is in the error's message. Errors: wrong_state (it refused),
/// timeout, denied (leads out of the workspace), io.
result<void> run_hook(const workspace& where, const std::string& hook,
                      const std::vector<std::string>& arguments,
                      const std::string& worktree, cancellation& cancel,
                      std::chrono::milliseconds timeout);

} // namespace caged::mcp::git
