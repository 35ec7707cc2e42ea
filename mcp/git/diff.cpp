#include <algorithm>
#include <array>
#include <optional>

#include <sys/stat.h>

#include "mcp/git/changed.hpp"
#include "mcp/git/ops.hpp"
#include "mcp/git/revisions.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

/// Larger files are compared by name only: both sides are held in memory, and
/// some 140 bytes for each changed line.
constexpr git_off_t file_most = 4 << 20;
constexpr std::size_t listed_files = 1000;
constexpr std::size_t renamed_files = 400;

struct options_set {
  git_diff_options raw{};
  path_list paths;

  options_set(const worker_state& state, const json& request)
      : paths{state, request} {
    git_diff_options_init(&raw, GIT_DIFF_OPTIONS_VERSION);
    raw.flags = GIT_DIFF_INDENT_HEURISTIC;
    if (paths.literal())
      raw.flags |= GIT_DIFF_DISABLE_PATHSPEC_MATCH;
    raw.pathspec = paths.raw();
    raw.context_lines = request.value("context", 3U);
    raw.max_size = file_most;
    if (!state.confined)
      raw.ignore_submodules = GIT_SUBMODULE_IGNORE_ALL;
  }
};

result<tree_ptr> head_tree(git_repository* repository) {
  auto commit = head_commit(repository);
  if (!commit)
    return tl::unexpected(commit.error());
  tree_ptr tree;
  if (*commit)
    if (const int rc = git_commit_tree(tree.put(), commit->get()); rc != 0)
      return git_failure("read the files of HEAD", rc);
  return tree;
}

/// The index and the worktree, by way of what may have changed where nobody
/// asked for certain paths.
int to_worktree(worker_state& state, diff_ptr& diff, git_index* index,
                const std::optional<timespec>& written,
                const options_set& options) {
  constexpr std::size_t most = 1000;
  auto* repository = state.repository.get();
  auto few = written && options.paths.empty()
                 ? maybe_changed(state, index, *written, most)
                 : std::nullopt;
  if (!few)
    return git_diff_index_to_workdir(diff.put(), repository, index,
                                     &options.raw);
  if (few->empty()) // no path at all would mean every one
    return git_diff_index_to_index(diff.put(), repository, index, index,
                                   &options.raw);
  std::vector<char*> names;
  for (auto& path : *few)
    names.push_back(path.data());
  auto narrow = options.raw;
  narrow.flags |= GIT_DIFF_DISABLE_PATHSPEC_MATCH;
  narrow.pathspec = {names.data(), names.size()};
  return git_diff_index_to_workdir(diff.put(), repository, index, &narrow);
}

/// The two sides that a request names, compared.
result<diff_ptr> compare(worker_state& state, git_repository* repository,
                         const json& request) {
  const options_set options{state, request};
  const bool staged = request.value("staged", false);
  const auto range = request.value("range", std::string{});
  index_ptr index;
  int rc = git_repository_index(index.put(), repository);
  const auto written = rc == 0 ? write_time(index.get()) : std::nullopt;
  if (rc == 0)
    rc = git_index_read(index.get(), 0);
  if (rc != 0)
    return git_failure("read the index", rc);
  diff_ptr diff;
  if (range.empty()) {
    if (!staged) {
      rc = to_worktree(state, diff, index.get(), written, options);
    } else {
      auto tree = head_tree(repository);
      if (!tree)
        return tl::unexpected(tree.error());
      rc = git_diff_tree_to_index(diff.put(), repository, tree->get(),
                                  index.get(), &options.raw);
    }
    if (rc != 0)
      return git_failure("compare", rc);
    return diff;
  }
  auto found = parse_revisions(repository, range);
  if (!found)
    return tl::unexpected(found.error());
  auto to = tree_of(found->to, range);
  if (!to)
    return tl::unexpected(to.error());
  if (!found->from) {
    rc = staged ? git_diff_tree_to_index(diff.put(), repository, to->get(),
                                         index.get(), &options.raw)
                : git_diff_tree_to_workdir_with_index(diff.put(), repository,
                                                      to->get(), &options.raw);
  } else {
    if (staged)
      return fail(ec::bad_request,
                  "a range compares two commits, staged does not apply",
                  "leave out staged, or name one revision");
    result<tree_ptr> from = tree_ptr{};
    if (found->merge_base) {
      git_oid base{};
      rc = git_merge_base(&base, repository, git_object_id(found->from.get()),
                          git_object_id(found->to.get()));
      if (rc != 0)
        return git_failure("find where " + caged::quoted(range) + " forked",
                           rc);
      object_ptr object;
      rc =
          git_object_lookup(object.put(), repository, &base, GIT_OBJECT_COMMIT);
      if (rc != 0)
        return git_failure("read where " + caged::quoted(range) + " forked",
                           rc);
      from = tree_of(object, range);
    } else {
      from = tree_of(found->from, range);
    }
    if (!from)
      return tl::unexpected(from.error());
    rc = git_diff_tree_to_tree(diff.put(), repository, from->get(), to->get(),
                               &options.raw);
  }
  if (rc != 0)
    return git_failure("compare", rc);
  return diff;
}

/// As git does by default: renames by similarity. It reads every file that was
/// added or deleted, so only while they are few.
void find_renames(git_diff* diff) {
  std::size_t added = 0, deleted = 0;
  const auto n = git_diff_num_deltas(diff);
  for (std::size_t i = 0; i < n; ++i) {
    const auto status = git_diff_get_delta(diff, i)->status;
    added += status == GIT_DELTA_ADDED ? 1 : 0;
    deleted += status == GIT_DELTA_DELETED ? 1 : 0;
  }
  if (added == 0 || deleted == 0 || added + deleted > renamed_files)
    return;
  git_diff_find_options options{};
  git_diff_find_options_init(&options, GIT_DIFF_FIND_OPTIONS_VERSION);
  options.flags = GIT_DIFF_FIND_RENAMES;
  git_diff_find_similar(diff, &options); // without it, they are not renames
}

/// All but the files that a sparse checkout leaves out of the worktree.
std::vector<std::size_t> shown_deltas(const worker_state& state, git_diff* diff,
                                      bool worktree) {
  std::vector<std::size_t> shown;
  index_ptr index;
  git_repository_index(index.put(), state.repository.get());
  const auto n = git_diff_num_deltas(diff);
  for (std::size_t i = 0; i < n; ++i) {
    const auto* delta = git_diff_get_delta(diff, i);
    if (worktree && delta->status == GIT_DELTA_DELETED && index
        && may_be_absent(index.get(), delta->old_file.path))
      continue;
    shown.push_back(i);
  }
  return shown;
}

const char* status_name(git_delta_t status) {
  switch (status) {
  case GIT_DELTA_ADDED:
    return "added";
  case GIT_DELTA_DELETED:
    return "deleted";
  case GIT_DELTA_RENAMED:
    return "renamed";
  case GIT_DELTA_COPIED:
    return "copied";
  case GIT_DELTA_TYPECHANGE:
    return "type changed";
  case GIT_DELTA_CONFLICTED:
    return "unmerged";
  default:
    return "modified";
  }
}

/// Where lines of a patch go, up to a size.
struct sink {
  std::string& text;
  std::size_t most;
  bool full = false;
};

/// As git: a tab behind names with a space, for patch(1).
std::string with_tabs(std::string_view header) {
  std::string text;
  while (!header.empty()) {
    const auto end = std::min(header.find('\n'), header.size());
    const auto one = header.substr(0, end);
    text += one;
    if ((one.substr(0, 4) == "--- " || one.substr(0, 4) == "+++ ")
        && one.find(' ', 4) != std::string_view::npos && one.back() != '"')
      text += '\t';
    if (end < header.size())
      text += '\n';
    header.remove_prefix(std::min(end + 1, header.size()));
  }
  return text;
}

int put_line(const git_diff_delta*, const git_diff_hunk*,
             const git_diff_line* line, void* payload) {
  auto& to = *static_cast<sink*>(payload);
  if (line->origin == GIT_DIFF_LINE_FILE_HDR) {
    const auto text = with_tabs({line->content, line->content_len});
    to.full = to.text.size() + text.size() > to.most;
    if (to.full)
      return GIT_EUSER;
    to.text += text;
    return 0;
  }
  if (to.text.size() + line->content_len > to.most) {
    // The part that fits, so that one endless line shows its beginning.
    if (to.most > to.text.size())
      to.text.append(line->content, to.most - to.text.size());
    to.full = true;
    return GIT_EUSER;
  }
  if (line->origin == GIT_DIFF_LINE_CONTEXT
      || line->origin == GIT_DIFF_LINE_ADDITION
      || line->origin == GIT_DIFF_LINE_DELETION)
    to.text += line->origin;
  to.text.append(line->content, line->content_len);
  return 0;
}

/// One file of a diff, counted and perhaps printed.
struct changed_file {
  std::string path, from;
  const char* status = "";
  std::size_t insertions = 0, deletions = 0;
  bool binary = false;
  std::string skipped; ///< Why its lines were not compared.
};

bool out_of_memory() {
  const auto* last = git_error_last();
  return last != nullptr && last->klass == GIT_ERROR_NOMEMORY;
}

result<changed_file> one_file(git_diff* diff, std::size_t at, sink* print) {
  const auto delta = *git_diff_get_delta(diff, at);
  changed_file file;
  file.path = delta.new_file.path != nullptr ? delta.new_file.path
                                             : delta.old_file.path;
  file.status = status_name(delta.status);
  if (delta.status == GIT_DELTA_RENAMED || delta.status == GIT_DELTA_COPIED)
    file.from = delta.old_file.path;
  const auto announce = [&](const std::string& text) {
    if (print != nullptr && print->text.size() + text.size() <= print->most)
      print->text += text;
  };
  if (delta.status == GIT_DELTA_CONFLICTED) {
    announce("* Unmerged path " + quoted_path(file.path) + "\n");
    return file;
  }
  patch_ptr patch;
  git_error_clear();
  const int rc = git_patch_from_diff(patch.put(), diff, at);
  if (rc != 0 && out_of_memory()) {
    file.skipped = "comparing it needs too much memory";
    announce("diff --git a/" + quoted_path(file.path) + " b/"
             + quoted_path(file.path) + "\n# not shown: " + file.skipped
             + "\n");
    return file;
  }
  if (rc != 0)
    return git_failure("compare " + caged::quoted(file.path), rc);
  if (!patch)
    return file;
  // Only now libgit2 knows sizes and whether it is text.
  const auto& now = *git_patch_get_delta(patch.get());
  file.binary = (now.flags & GIT_DIFF_FLAG_BINARY) != 0;
  const auto size =
      static_cast<git_off_t>(std::max(now.old_file.size, now.new_file.size));
  if (file.binary && size > file_most)
    file.skipped = "it has " + format_bytes(static_cast<double>(size))
                   + ", files above 4 MiB are not compared by line";
  std::size_t context = 0;
  git_patch_line_stats(&context, &file.insertions, &file.deletions,
                       patch.get());
  if (print != nullptr) {
    const int end = git_patch_print(patch.get(), put_line, print);
    if (end != 0 && !print->full)
      return git_failure("print the diff of " + caged::quoted(file.path), end);
    if (!file.skipped.empty() && !print->full)
      announce("# not shown: " + file.skipped + "\n");
  }
  return file;
}

/// " path | 12 ++++----", as `git diff --stat`.
std::string stat_line(const changed_file& file, std::size_t most_changes,
                      std::size_t path_width) {
  std::string name = quoted_path(file.path);
  if (!file.from.empty())
    name = quoted_path(file.from) + " => " + name;
  std::string text = " " + name;
  if (name.size() < path_width)
    text.append(path_width - name.size(), ' ');
  text += " | ";
  if (!file.skipped.empty())
    return text + "(" + file.skipped + ")\n";
  if (file.binary)
    return text + "Bin\n";
  const auto number = std::to_string(file.insertions + file.deletions);
  const auto width = std::to_string(most_changes).size();
  text.append(width - std::min(width, number.size()), ' ');
  text += number;
  constexpr std::size_t graph = 40;
  const auto scaled = [&](std::size_t n) {
    return most_changes <= graph || n == 0 ? n
                                           : 1 + n * (graph - 1) / most_changes;
  };
  if (file.insertions + file.deletions > 0)
    text += " " + std::string(scaled(file.insertions), '+')
            + std::string(scaled(file.deletions), '-');
  return text + "\n";
}

} // namespace

std::string stat_summary(std::size_t files, std::size_t insertions,
                         std::size_t deletions) {
  std::string text = " " + counted(files, "file") + " changed";
  if (insertions > 0 || deletions == 0)
    text += ", " + counted(insertions, "insertion") + "(+)";
  if (deletions > 0 || insertions == 0)
    text += ", " + counted(deletions, "deletion") + "(-)";
  return text + "\n";
}

result<answer> diff(worker_state& state, const json& request) {
  auto repository =
      open_repository(state, request.value("repository", std::string{"."}));
  if (!repository)
    return tl::unexpected(repository.error());
  auto compared = compare(state, *repository, request);
  if (!compared)
    return tl::unexpected(compared.error());
  auto* deltas = compared->get();
  find_renames(deltas);
  const bool stat_only = request.value("stat_only", false);
  const bool worktree =
      !request.value("staged", false)
      && request.value("range", std::string{}).find("..") == std::string::npos;
  const auto shown = shown_deltas(state, deltas, worktree);
  const auto n = shown.size();
  answer to;
  constexpr std::size_t last_line = 512;
  sink print{to.text,
             state.output_bytes - std::min(state.output_bytes / 2, last_line)};
  std::vector<changed_file> files;
  std::size_t insertions = 0, deletions = 0, done = 0, listed_bytes = 0;
  for (; done < n && !print.full; ++done) {
    // What is full here is full for the next file also, even a small one.
    if (!stat_only && to.text.size() + 256 > print.most)
      break;
    auto file = one_file(deltas, shown[done], stat_only ? nullptr : &print);
    if (!file)
      return tl::unexpected(file.error());
    insertions += file->insertions;
    deletions += file->deletions;
    listed_bytes += file->path.size();
    if (files.size() < listed_files && listed_bytes < state.output_bytes / 2)
      files.push_back(std::move(*file));
  }
  auto list = json::array();
  std::size_t most_changes = 0, width = 0;
  for (const auto& file : files) {
    json item{{"path", json_path(file.path)},
              {"status", file.status},
              {"insertions", file.insertions},
              {"deletions", file.deletions},
              {"binary", file.binary}};
    if (!file.from.empty())
      item["from"] = json_path(file.from);
    if (!file.skipped.empty())
      item["skipped"] = file.skipped;
    list.push_back(std::move(item));
    most_changes = std::max(most_changes, file.insertions + file.deletions);
    width = std::max(width, std::min<std::size_t>(60, file.path.size()));
  }
  if (stat_only && n > 0) {
    for (const auto& file : files)
      if (to.text.size() + 256 < print.most)
        to.text += stat_line(file, most_changes, width);
    if (files.size() < done)
      to.text += " ... " + counted(done - files.size(), "more file") + "\n";
    to.text += stat_summary(done, insertions, deletions);
  }
  const auto left_out = n - done;
  if (print.full || left_out > 0) {
    if (!to.text.empty() && to.text.back() != '\n')
      to.text += '\n';
    to.text += "# cut at " + std::to_string(print.most) + " bytes";
    if (left_out > 0)
      to.text += ", " + counted(left_out, "more changed file") + " not shown";
    to.text += ": name files with path, or see all of them with stat_only\n";
  }
  to.structured = {
      {"files_changed", n},         {"insertions", insertions},
      {"deletions", deletions},     {"files", std::move(list)},
      {"files_left_out", left_out}, {"truncated", print.full || left_out > 0}};
  return to;
}

} // namespace caged::mcp::git
