#pragma once

#include <string>

#include "mcp/git/handles.hpp"
#include "messages/error.hpp"

namespace caged::mcp::git {

/// What a revision expression of a caller means (gitrevisions(7)).
struct revisions {
  object_ptr from;         ///< A of "A..B" and "A...B"; empty for one revision.
  object_ptr to;           ///< B, or the one revision.
  bool merge_base = false; ///< "A...B"
};

/// Error: bad_request or not_found, with how to go on.
result<revisions> parse_revisions(git_repository* repository,
                                  const std::string& text);

/// The commit that an object is or, a tag, points to.
result<commit_ptr> commit_of(const object_ptr& object, const std::string& text);
result<tree_ptr> tree_of(const object_ptr& object, const std::string& text);

/// The commit of HEAD; empty when there is none yet.
result<commit_ptr> head_commit(git_repository* repository);

} // namespace caged::mcp::git
