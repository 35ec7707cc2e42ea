#include "mcp/git/narrow.hpp"

#include <algorithm>
#include <iterator>

#include "mcp/git/changed.hpp"
#include "mcp/git/untracked.hpp"

namespace caged::mcp::git {

namespace {

/// With more, libgit2 looks at everything once instead of at each of them.
constexpr std::size_t paths_most = 1000;

bool none(const git_oid& id) {
  return git_oid_is_zero(&id) != 0;
}

/// The tree of HEAD; the zero id before the first commit.
std::optional<git_oid> id_of_head(git_repository* repository, tree_ptr& tree) {
  object_ptr found;
  const int rc = git_revparse_single(found.put(), repository, "HEAD^{tree}");
  if (rc == GIT_ENOTFOUND && git_repository_head_unborn(repository) == 1)
    return git_oid{};
  if (rc != 0)
    return std::nullopt;
  const auto id = *git_object_id(found.get());
  if (git_tree_lookup(tree.put(), repository, &id) != 0)
    return std::nullopt;
  return id;
}

/// False: they are too many, or cannot be told.
bool find_staged(worker_state& state, git_index* index) {
  auto* repository = state.repository.get();
  tree_ptr tree;
  const auto head = id_of_head(repository, tree);
  if (!head)
    return false;
  // Zero where git was told not to compute it (index.skipHash).
  const auto* sum = git_index_checksum(index);
  if (state.staged && sum != nullptr && !none(*sum)
      && git_oid_equal(&state.staged->tree, &*head) != 0
      && git_oid_equal(&state.staged->index, sum) != 0)
    return true;
  state.staged.reset();
  git_diff_options options{};
  git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
  options.flags = GIT_DIFF_INCLUDE_TYPECHANGE;
  diff_ptr diff;
  if (git_diff_tree_to_index(diff.put(), repository, tree.get(), index,
                             &options)
      != 0)
    return false;
  const auto n = git_diff_num_deltas(diff.get());
  if (n > paths_most)
    return false;
  staged_paths found;
  found.tree = *head;
  if (sum != nullptr)
    found.index = *sum;
  for (std::size_t i = 0; i < n; ++i) {
    const auto* delta = git_diff_get_delta(diff.get(), i);
    for (const auto* path : {delta->old_file.path, delta->new_file.path})
      if (path != nullptr)
        found.paths.emplace_back(path);
  }
  state.staged = std::move(found);
  return true;
}

} // namespace

std::optional<std::vector<std::string>> paths_of_status(worker_state& state,
                                                        git_index* index,
                                                        const timespec& written,
                                                        bool untracked) {
  if ((git_index_caps(index) & GIT_INDEX_CAPABILITY_IGNORE_CASE) != 0
      || !find_staged(state, index))
    return std::nullopt;
  auto out = state.staged->paths;
  auto add = [&](std::optional<std::vector<std::string>> more) {
    if (more)
      std::move(more->begin(), more->end(), std::back_inserter(out));
    return more.has_value();
  };
  if (!add(maybe_changed(state, index, written, paths_most))
      || (untracked && !add(maybe_untracked(state, index, paths_most))))
    return std::nullopt;
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

} // namespace caged::mcp::git
