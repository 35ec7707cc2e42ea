#pragma once

#include <string>

#include "mcp/workspace.hpp"
#include "messages/error.hpp"

namespace caged::mcp::git {

/// A repository whose files are where they seem to be.
struct repository_place {
  std::string worktree; ///< Absolute, real, without a slash at the end.
  std::string git_dir;  ///< Likewise.
};

/// Looks at the repository in the folder `path` (relative; "." is the
/// workspace itself) before libgit2 does: that it is one, that what libgit2
/// opens first is a regular file or folder, and that nothing on the way leads
/// out of the workspace: .git, a gitdir file, commondir, alternates, links in
/// the place of any of them. Everything is looked up by descriptors beneath
/// `root_fd` (openat2(2), RESOLVE_BENEATH).
///
/// Under Landlock this gives the sentences; the kernel gives the safety, also
/// while somebody changes the files meanwhile. Without Landlock (`confined`
/// false) it is all there is, and stricter: every such indirection is refused
/// wherever it leads, also includes and file names in the configuration, links
/// anywhere in .git, and linked .gitignore, .gitattributes and .gitmodules
/// files. What remains then: somebody who may write in the workspace swaps a
/// file for a link between this check and libgit2's open; the worker then
/// reads one file of its user's, and part of it may show in a diff.
/// Changes the working directory of the process. Errors: not_found (no
/// repository), denied (leads out), malformed, too_large.
result<repository_place> check_repository(int root_fd, const std::string& path,
                                          bool confined);

} // namespace caged::mcp::git
