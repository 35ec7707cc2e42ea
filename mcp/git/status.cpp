#include <algorithm>
#include <array>

#include "mcp/git/changed.hpp"
#include "mcp/git/narrow.hpp"
#include "mcp/git/ops.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

struct line {
  char index = ' ';
  char worktree = ' ';
  std::string path;
  std::string from; ///< Where a renamed file was.
};

char index_letter(unsigned flags) {
  if ((flags & GIT_STATUS_INDEX_RENAMED) != 0)
    return 'R';
  if ((flags & GIT_STATUS_INDEX_NEW) != 0)
    return 'A';
  if ((flags & GIT_STATUS_INDEX_DELETED) != 0)
    return 'D';
  if ((flags & GIT_STATUS_INDEX_TYPECHANGE) != 0)
    return 'T';
  return (flags & GIT_STATUS_INDEX_MODIFIED) != 0 ? 'M' : ' ';
}

char worktree_letter(unsigned flags) {
  if ((flags & GIT_STATUS_WT_RENAMED) != 0)
    return 'R';
  if ((flags & GIT_STATUS_WT_DELETED) != 0)
    return 'D';
  if ((flags & GIT_STATUS_WT_TYPECHANGE) != 0)
    return 'T';
  return (flags & GIT_STATUS_WT_MODIFIED) != 0 ? 'M' : ' ';
}

/// The two letters of an unmerged path (git-status(1), "Short Format") by which
/// of the three stages it has.
std::array<char, 2> conflict_letters(git_index* index, const char* path) {
  const git_index_entry *base = nullptr, *ours = nullptr, *theirs = nullptr;
  if (git_index_conflict_get(&base, &ours, &theirs, index, path) != 0)
    return {'U', 'U'};
  if (base == nullptr)
    return {ours != nullptr ? 'A' : 'U', theirs != nullptr ? 'A' : 'U'};
  return {ours != nullptr ? 'U' : 'D', theirs != nullptr ? 'U' : 'D'};
}

const char* state_name(git_repository* repository) {
  switch (git_repository_state(repository)) {
  case GIT_REPOSITORY_STATE_NONE:
    return "";
  case GIT_REPOSITORY_STATE_MERGE:
    return "merge";
  case GIT_REPOSITORY_STATE_REVERT:
  case GIT_REPOSITORY_STATE_REVERT_SEQUENCE:
    return "revert";
  case GIT_REPOSITORY_STATE_CHERRYPICK:
  case GIT_REPOSITORY_STATE_CHERRYPICK_SEQUENCE:
    return "cherry-pick";
  case GIT_REPOSITORY_STATE_BISECT:
    return "bisect";
  case GIT_REPOSITORY_STATE_APPLY_MAILBOX:
    return "am";
  default:
    return "rebase";
  }
}

/// "## main...origin/main [ahead 1]" and what it says for programs.
result<std::string> branch_line(git_repository* repository, json& to) {
  reference_ptr head;
  if (const int rc = git_reference_lookup(head.put(), repository, "HEAD");
      rc != 0)
    return git_failure("read HEAD", rc);
  to["detached"] = false;
  const auto* target = git_reference_symbolic_target(head.get());
  if (target == nullptr) {
    to["detached"] = true;
    if (const auto* id = git_reference_target(head.get()))
      to["head"] = full_id(*id);
    return std::string{"## HEAD (no branch)"};
  }
  std::string_view name = target;
  constexpr std::string_view heads = "refs/heads/";
  if (name.substr(0, heads.size()) == heads)
    name.remove_prefix(heads.size());
  to["branch"] = json_path(name);
  git_oid id{};
  const int rc = git_reference_name_to_id(&id, repository, "HEAD");
  if (rc == GIT_ENOTFOUND)
    return "## No commits yet on " + quoted_path(name);
  if (rc != 0)
    return git_failure("read the branch", rc);
  to["head"] = full_id(id);
  std::string text = "## " + quoted_path(name);
  reference_ptr branch, upstream;
  if (git_reference_lookup(branch.put(), repository, target) != 0
      || git_branch_upstream(upstream.put(), branch.get()) != 0)
    return text;
  const std::string theirs = git_reference_shorthand(upstream.get());
  to["upstream"] = json_path(theirs);
  text += "..." + quoted_path(theirs);
  std::size_t ahead = 0, behind = 0;
  const auto* other = git_reference_target(upstream.get());
  if (other == nullptr
      || git_graph_ahead_behind(&ahead, &behind, repository, &id, other) != 0)
    return text;
  to["ahead"] = ahead;
  to["behind"] = behind;
  if (ahead > 0 && behind > 0)
    text += " [ahead " + std::to_string(ahead) + ", behind "
            + std::to_string(behind) + "]";
  else if (ahead > 0)
    text += " [ahead " + std::to_string(ahead) + "]";
  else if (behind > 0)
    text += " [behind " + std::to_string(behind) + "]";
  return text;
}

git_status_options options_of(const worker_state& state, const json& request,
                              const path_list& paths) {
  git_status_options options{};
  git_status_options_init(&options, GIT_STATUS_OPTIONS_VERSION);
  options.show = GIT_STATUS_SHOW_INDEX_AND_WORKDIR;
  options.flags = GIT_STATUS_OPT_SORT_CASE_SENSITIVELY;
  const auto untracked = request.value("untracked", std::string{"normal"});
  if (untracked != "no")
    options.flags |= GIT_STATUS_OPT_INCLUDE_UNTRACKED;
  if (untracked == "all")
    options.flags |= GIT_STATUS_OPT_RECURSE_UNTRACKED_DIRS;
  if (request.value("ignored", false))
    options.flags |= GIT_STATUS_OPT_INCLUDE_IGNORED;
  if (request.value("renames", false))
    options.flags |= GIT_STATUS_OPT_RENAMES_HEAD_TO_INDEX;
  // Each submodule is a repository that nobody has checked.
  if (!state.confined)
    options.flags |= GIT_STATUS_OPT_EXCLUDE_SUBMODULES;
  if (paths.literal())
    options.flags |= GIT_STATUS_OPT_DISABLE_PATHSPEC_MATCH;
  options.pathspec = paths.raw();
  return options;
}

/// `few`: the only paths that can differ, if that is known; with none of them
/// there is no list.
int compare(worker_state& state, git_status_options options,
            std::optional<std::vector<std::string>>& few,
            status_list_ptr& list) {
  auto* repository = state.repository.get();
  std::vector<char*> names;
  if (few) {
    if (few->empty())
      return 0;
    for (auto& path : *few)
      names.push_back(path.data());
    options.flags |= GIT_STATUS_OPT_DISABLE_PATHSPEC_MATCH;
    options.pathspec = {names.data(), names.size()};
  }
  // Files whose time stamps changed but not their contents are hashed each time
  // until the index knows the new stamps. That it could not be written (locked,
  // a read-only file system) is no reason to fail.
  int rc = -1;
  if (state.writable) {
    options.flags |= GIT_STATUS_OPT_UPDATE_INDEX;
    rc = git_status_list_new(list.put(), repository, &options);
    options.flags &= ~unsigned{GIT_STATUS_OPT_UPDATE_INDEX};
  }
  if (rc != 0)
    rc = git_status_list_new(list.put(), repository, &options);
  return rc;
}

void add_lines(git_status_list* list, git_index* index,
               std::vector<line>& tracked, std::vector<line>& others) {
  const auto n = git_status_list_entrycount(list);
  for (std::size_t i = 0; i < n; ++i) {
    const auto* entry = git_status_byindex(list, i);
    const auto* delta = entry->index_to_workdir != nullptr
                            ? entry->index_to_workdir
                            : entry->head_to_index;
    if (delta == nullptr)
      continue;
    const auto flags = static_cast<unsigned>(entry->status);
    line l;
    l.path = delta->new_file.path != nullptr ? delta->new_file.path
                                             : delta->old_file.path;
    if ((flags & GIT_STATUS_CONFLICTED) != 0) {
      const auto letters = conflict_letters(index, l.path.c_str());
      l.index = letters[0];
      l.worktree = letters[1];
      tracked.push_back(std::move(l));
      continue;
    }
    if ((flags & GIT_STATUS_IGNORED) != 0) {
      l.index = l.worktree = '!';
      others.push_back(std::move(l));
      continue;
    }
    l.index = index_letter(flags);
    l.worktree = worktree_letter(flags);
    if (l.worktree == 'D' && may_be_absent(index, l.path.c_str()))
      l.worktree = ' ';
    if (l.index == 'R' && entry->head_to_index != nullptr)
      l.from = entry->head_to_index->old_file.path;
    const bool untracked = (flags & GIT_STATUS_WT_NEW) != 0;
    // Taken out of the index and still there: git shows both lines.
    if (l.index != ' ' || l.worktree != ' ')
      tracked.push_back(l);
    if (untracked)
      others.push_back({'?', '?', l.path, {}});
  }
  // git lists what is untracked, then what is ignored, behind the rest.
  std::stable_sort(others.begin(), others.end(),
                   [](const line& a, const line& b) {
                     return a.index == '?' && b.index == '!';
                   });
}

} // namespace

result<answer> status(worker_state& state, const json& request) {
  auto repository =
      open_repository(state, request.value("repository", std::string{"."}));
  if (!repository)
    return tl::unexpected(repository.error());
  answer to;
  auto head = branch_line(*repository, to.structured);
  if (!head)
    return tl::unexpected(head.error());
  index_ptr index;
  int rc = git_repository_index(index.put(), *repository);
  const auto written = rc == 0 ? write_time(index.get()) : std::nullopt;
  if (rc == 0)
    rc = git_index_read(index.get(), 0);
  if (rc != 0)
    return git_failure("read the index", rc);
  const path_list paths{state, request};
  auto options = options_of(state, request, paths);
  std::optional<std::vector<std::string>> few;
  constexpr unsigned untracked_too =
      GIT_STATUS_OPT_INCLUDE_UNTRACKED | GIT_STATUS_OPT_INCLUDE_IGNORED;
  if (written && paths.empty())
    few = paths_of_status(state, index.get(), *written,
                          (options.flags & untracked_too) != 0);
  status_list_ptr list;
  rc = compare(state, options, few, list);
  if (rc != 0)
    return git_failure("compare the worktree", rc);
  std::vector<line> tracked, others;
  if (list)
    add_lines(list.get(), index.get(), tracked, others);
  list.reset();

  const std::string doing = state_name(*repository);
  const auto limit = request.value("limit", std::size_t{1000});
  to.text = *head + "\n";
  if (!doing.empty())
    to.text += "# " + doing + " in progress\n";
  std::size_t staged = 0, unstaged = 0, untracked = 0, conflicted = 0;
  for (const auto& l : tracked) {
    const bool conflict = l.index == 'U' || l.worktree == 'U'
                          || (l.index == 'A' && l.worktree == 'A')
                          || (l.index == 'D' && l.worktree == 'D');
    conflicted += conflict ? 1 : 0;
    staged += !conflict && l.index != ' ' ? 1 : 0;
    unstaged += !conflict && l.worktree != ' ' ? 1 : 0;
  }
  for (const auto& l : others)
    untracked += l.index == '?' ? 1 : 0;
  auto entries = json::array();
  std::size_t left_out = 0;
  // Room for the last line; structured content is about three times the text.
  const auto room = state.output_bytes / 2;
  for (const auto* group : {&tracked, &others})
    for (const auto& l : *group) {
      if (entries.size() >= limit || to.text.size() > room) {
        ++left_out;
        continue;
      }
      to.text += {l.index, l.worktree, ' '};
      if (!l.from.empty())
        to.text += quoted_path(l.from, true) + " -> ";
      to.text += quoted_path(l.path, true) + "\n";
      json entry{{"path", json_path(l.path)},
                 {"index", std::string(1, l.index)},
                 {"worktree", std::string(1, l.worktree)}};
      if (!l.from.empty())
        entry["from"] = json_path(l.from);
      entries.push_back(std::move(entry));
    }
  if (left_out > 0)
    to.text += "# " + counted(left_out, "more path")
               + " not shown: name folders with path, or raise limit\n";
  auto& s = to.structured;
  s["state"] = doing.empty() ? "none" : doing;
  s["clean"] = tracked.empty() && untracked == 0;
  s["staged"] = staged;
  s["unstaged"] = unstaged;
  s["untracked"] = untracked;
  s["conflicted"] = conflicted;
  s["entries"] = std::move(entries);
  s["left_out"] = left_out;
  return to;
}

} // namespace caged::mcp::git
