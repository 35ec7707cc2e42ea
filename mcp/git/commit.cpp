#include <algorithm>
#include <array>

#include <sys/stat.h>

#include "mcp/git/ops.hpp"
#include "mcp/git/revisions.hpp"
#include "mcp/git/staging.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

constexpr git_off_t counted_file_most = 4 << 20;
constexpr std::size_t counted_files = 1000;

/// A commit is for a quiet repository: others need git's own bookkeeping.
result<void> check_state(const worker_state& state, git_repository* repository,
                         git_index* index) {
  const auto refuse = [](const char* what, const char* how) {
    return fail(ec::wrong_state,
                std::string{"a "} + what + " is in progress in this repository",
                std::string{"finish it with `git "} + how
                    + "` through terminal_exec, or abort it");
  };
  switch (git_repository_state(repository)) {
  case GIT_REPOSITORY_STATE_NONE:
  case GIT_REPOSITORY_STATE_BISECT:
    break;
  case GIT_REPOSITORY_STATE_MERGE:
    return refuse("merge", "merge --continue");
  case GIT_REPOSITORY_STATE_REVERT:
  case GIT_REPOSITORY_STATE_REVERT_SEQUENCE:
    return refuse("revert", "revert --continue");
  case GIT_REPOSITORY_STATE_CHERRYPICK:
  case GIT_REPOSITORY_STATE_CHERRYPICK_SEQUENCE:
    return refuse("cherry-pick", "cherry-pick --continue");
  case GIT_REPOSITORY_STATE_APPLY_MAILBOX:
    return refuse("git am", "am --continue");
  default:
    return refuse("rebase", "rebase --continue");
  }
  if (git_index_has_conflicts(index) != 0)
    return fail(ec::wrong_state, "the index has unmerged files",
                "git_status shows them (UU, AA, ...): resolve them, then name "
                "them in files");
  struct stat seen {};
  if (::lstat((state.place.git_dir + "/index.lock").c_str(), &seen) == 0)
    return fail(ec::conflict, "another git process holds .git/index.lock",
                "wait for it; when none runs, delete .git/index.lock");
  return {};
}

/// "Name <mail>", now. Error: bad_request.
result<signature_ptr> signature_from(const std::string& text,
                                     std::string_view what) {
  const auto open = text.find('<');
  const auto close = text.find('>');
  std::string name = text.substr(0, open), mail;
  if (open != std::string::npos && close == text.size() - 1 && open < close)
    mail = text.substr(open + 1, close - open - 1);
  while (!name.empty() && name.back() == ' ')
    name.pop_back();
  signature_ptr made;
  if (name.empty() || mail.empty()
      || text.find_first_of("\n\r") != std::string::npos
      || git_signature_now(made.put(), name.c_str(), mail.c_str()) != 0)
    return fail(ec::bad_request,
                std::string{what} + " " + caged::quoted(text)
                    + " is not of the form \"Name <mail>\"",
                "for example \"Ada <ada@example.org>\"");
  return made;
}

struct people {
  signature_ptr author, committer;
};

result<people> people_of(git_repository* repository, const json& request) {
  people who;
  const auto author = request.value("author", std::string{});
  auto committer = request.value("committer", std::string{});
  if (committer.empty()) {
    const auto name = config_text(repository, "user.name");
    const auto mail = config_text(repository, "user.email");
    if (name && mail)
      committer = *name + " <" + *mail + ">";
  }
  if (committer.empty())
    committer = author;
  if (committer.empty())
    return fail(ec::bad_request, "nobody is named as the author",
                "pass author \"Name <mail>\", set user.name and user.email in "
                "the repository's configuration, or start the server with "
                "--git-author; the user's own configuration is not read");
  auto made = signature_from(committer, "the committer");
  if (!made)
    return tl::unexpected(made.error());
  who.committer = std::move(*made);
  made = signature_from(author.empty() ? committer : author, "the author");
  if (!made)
    return tl::unexpected(made.error());
  who.author = std::move(*made);
  return who;
}

/// What a commit changed; nothing is read of files above 4 MiB.
void count_changes(git_repository* repository, git_tree* before,
                   git_tree* after, answer& to) {
  git_diff_options options{};
  git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
  options.max_size = counted_file_most;
  diff_ptr diff;
  if (git_diff_tree_to_tree(diff.put(), repository, before, after, &options)
      != 0)
    return;
  const auto n = git_diff_num_deltas(diff.get());
  std::size_t insertions = 0, deletions = 0;
  for (std::size_t i = 0; i < std::min(n, counted_files); ++i) {
    patch_ptr patch;
    if (git_patch_from_diff(patch.put(), diff.get(), i) != 0 || !patch)
      continue;
    std::size_t context = 0, more = 0, fewer = 0;
    git_patch_line_stats(&context, &more, &fewer, patch.get());
    insertions += more;
    deletions += fewer;
  }
  to.structured["files_changed"] = n;
  if (n > counted_files) {
    to.text += " " + counted(n, "file") + " changed\n";
    return;
  }
  to.structured["insertions"] = insertions;
  to.structured["deletions"] = deletions;
  to.text += stat_summary(n, insertions, deletions);
}

tl::unexpected<failure> nothing(git_repository* repository,
                                const json& request) {
  git_status_options options{};
  git_status_options_init(&options, GIT_STATUS_OPTIONS_VERSION);
  options.show = GIT_STATUS_SHOW_WORKDIR_ONLY;
  options.flags =
      GIT_STATUS_OPT_INCLUDE_UNTRACKED | GIT_STATUS_OPT_EXCLUDE_SUBMODULES;
  status_list_ptr list;
  std::size_t changed = 0;
  if (git_status_list_new(list.put(), repository, &options) == 0)
    changed = git_status_list_entrycount(list.get());
  if (changed == 0)
    return fail(ec::wrong_state, "there is nothing to commit",
                "the worktree is as the last commit: change files first");
  if (request.contains("paths") && !request["paths"].empty())
    return fail(ec::wrong_state,
                "there is nothing to commit: the named files did not change",
                "git_status shows what did");
  return fail(ec::wrong_state,
              "there is nothing to commit: nothing is staged, "
                  + counted(changed, "path") + " changed",
              "name them in files, or pass all: true");
}

struct prepared {
  index_ptr index;
  commit_ptr parent;
  tree_ptr before, after;
};

/// The index as a tree, and that it differs from HEAD.
result<prepared> prepare(worker_state& state, git_repository* repository,
                         const json& request, bool staging) {
  prepared p;
  int rc = git_repository_index(p.index.put(), repository);
  if (rc == 0)
    rc = git_index_read(p.index.get(), 0);
  if (rc != 0)
    return git_failure("read the index", rc);
  if (auto good = check_state(state, repository, p.index.get()); !good)
    return tl::unexpected(good.error());
  if (staging)
    if (auto good = stage(state, repository, p.index.get(), request); !good)
      return tl::unexpected(good.error());
  git_oid tree{};
  rc = git_index_write_tree(&tree, p.index.get());
  if (rc == 0)
    rc = git_tree_lookup(p.after.put(), repository, &tree);
  if (rc != 0)
    return git_failure("write the tree", rc);
  auto parent = head_commit(repository);
  if (!parent)
    return tl::unexpected(parent.error());
  p.parent = std::move(*parent);
  if (p.parent) {
    rc = git_commit_tree(p.before.put(), p.parent.get());
    if (rc != 0)
      return git_failure("read the files of HEAD", rc);
    if (git_oid_equal(git_tree_id(p.before.get()), &tree) != 0)
      return nothing(repository, request);
  } else if (git_index_entrycount(p.index.get()) == 0) {
    return nothing(repository, request);
  }
  return p;
}

std::string branch_name(git_repository* repository) {
  reference_ptr head;
  if (git_reference_lookup(head.put(), repository, "HEAD") != 0)
    return "HEAD";
  const auto* target = git_reference_symbolic_target(head.get());
  if (target == nullptr)
    return "detached HEAD";
  std::string_view name = target;
  constexpr std::string_view heads = "refs/heads/";
  if (name.substr(0, heads.size()) == heads)
    name.remove_prefix(heads.size());
  return std::string{name};
}

} // namespace

result<answer> commit(worker_state& state, const json& request) {
  if (!state.writable)
    return fail(ec::denied, "this server is read-only",
                "start it without --read-only");
  auto opened =
      open_repository(state, request.value("repository", std::string{"."}));
  if (!opened)
    return tl::unexpected(opened.error());
  auto* repository = *opened;
  const auto phase = request.value("phase", std::string{"whole"});
  buffer message;
  const auto raw = request.value("message", std::string{});
  if (git_message_prettify(&message.raw, raw.c_str(), 0, '#') != 0
      || message.raw.size == 0)
    return fail(ec::bad_request, "the commit message is empty",
                "say in message what changed and why");
  auto who = people_of(repository, request);
  if (!who)
    return tl::unexpected(who.error());
  auto p = prepare(state, repository, request, phase != "finish");
  if (!p)
    return tl::unexpected(p.error());
  answer to;
  if (phase == "stage") {
    to.structured = {
        {"worktree", json_path(state.place.worktree)},
        {"git_dir", json_path(state.place.git_dir)},
        {"hooks_path",
         json_path(config_text(repository, "core.hooksPath").value_or(""))}};
    return to;
  }
  // The reflog's line.
  git_repository_set_ident(repository, who->committer.get()->name,
                           who->committer.get()->email);
  std::array<const git_commit*, 1> parents{p->parent.get()};
  git_oid id{};
  const int rc = git_commit_create(
      &id, repository, "HEAD", who->author.get(), who->committer.get(), nullptr,
      message.raw.ptr, p->after.get(), p->parent ? 1 : 0,
      p->parent ? parents.data() : nullptr);
  if (rc != 0)
    return git_failure("commit", rc);
  commit_ptr made;
  if (const int read = git_commit_lookup(made.put(), repository, &id);
      read != 0)
    return git_failure("read the new commit", read);
  const auto branch = branch_name(repository);
  const auto brief = short_id(reinterpret_cast<git_object*>(made.get()));
  const std::string subject = git_commit_summary(made.get());
  to.structured = {{"id", full_id(id)},
                   {"short_id", brief},
                   {"branch", json_path(branch)},
                   {"subject", subject},
                   {"root", !p->parent}};
  to.text = "[" + branch + (p->parent ? " " : " (root-commit) ") + brief + "] "
            + subject + "\n";
  count_changes(repository, p->before.get(), p->after.get(), to);
  if (config_flag(repository, "commit.gpgsign", false))
    to.text += "# not signed: commit.gpgSign is set, but the git tools run no "
               "programs\n";
  return to;
}

} // namespace caged::mcp::git
