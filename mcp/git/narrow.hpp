#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mcp/git/repository.hpp"

namespace caged::mcp::git {

/// The paths that git_status has to ask libgit2 about, each once: where HEAD,
/// index and worktree may differ, and with `untracked` what is in no entry.
/// Nothing: all of them, since they are many or it cannot be told. `written` as
/// for maybe_changed. How HEAD and index differ is kept in the state for as
/// long as both are what they were.
std::optional<std::vector<std::string>> paths_of_status(worker_state& state,
                                                        git_index* index,
                                                        const timespec& written,
                                                        bool untracked);

} // namespace caged::mcp::git
