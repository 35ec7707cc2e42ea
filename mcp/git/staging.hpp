#pragma once

#include "mcp/git/ops.hpp"

namespace caged::mcp::git {

/// Puts the paths of a commit's request ("paths", or everything with "all")
/// into the index, as `git add` would, and writes it. Refuses, before anything
/// is written, paths that do not exist or are ignored and files whose
/// attributes name a filter program or an encoding: libgit2 would store them
/// unfiltered. Errors: not_found, denied, unsupported, conflict (locked).
result<void> stage(worker_state& state, git_repository* repository,
                   git_index* index, const json& request);

} // namespace caged::mcp::git
