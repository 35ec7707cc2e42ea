#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mcp/git/repository.hpp"

namespace caged::mcp::git {

/// Paths of the worktree that are in no entry of the index, at most `most`,
/// those that are ignored among them; a folder without any entry is one path,
/// and one with some comes with one of them.
/// Nothing: they are too many, or it cannot be told this way. libgit2 asks
/// stat(2) about each file to find them; this reads folders alone.
std::optional<std::vector<std::string>>
maybe_untracked(const worker_state& state, git_index* index, std::size_t most);

} // namespace caged::mcp::git
