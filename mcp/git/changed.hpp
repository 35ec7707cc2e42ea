#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/git/repository.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp::git {

/// Paths of the index whose file may differ from what was added, at most
/// `most`: all that git would look into, and perhaps some more. Nothing: they
/// are too many, or it cannot be told this way. libgit2 lists every folder of
/// the worktree to find them, also files that are in no index; this takes one
/// fstatat(2) for each entry.
///
/// `written` is write_time() before the index is read: what is as young as that
/// may have changed unseen.
std::optional<std::vector<std::string>> maybe_changed(const worker_state& state,
                                                      git_index* index,
                                                      const timespec& written,
                                                      std::size_t most);

/// When the index file was last written; nothing: there is none.
std::optional<timespec> write_time(git_index* index);

/// The worktree (O_PATH), and a folder of it, over no link; without a
/// descriptor: errno.
owned_fd open_worktree(const worker_state& state);
owned_fd open_folder(int worktree, std::string_view below, int flags);

} // namespace caged::mcp::git
