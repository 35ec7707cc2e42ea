#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mcp/git/repository.hpp"

namespace caged::mcp::git {

/// Paths of the index whose file may differ from what was added, at most
/// `most`: all that git would look into, and perhaps some more. Nothing: they
/// are too many, or it cannot be told this way. libgit2 lists every folder of
/// the worktree to find them, also files that are in no index; this takes one
/// fstatat(2) for each entry.
///
/// `written` is when the index file was last written, as stat(2) tells before
/// it is read: what is as young as that may have changed unseen.
std::optional<std::vector<std::string>> maybe_changed(const worker_state& state,
                                                      git_index* index,
                                                      const timespec& written,
                                                      std::size_t most);

} // namespace caged::mcp::git
