#include "mcp/tools/git_schemas.hpp"

namespace caged::mcp::git {

namespace {

json text(const char* description) {
  return {{"type", "string"}, {"description", description}};
}

json flag(const char* description) {
  return {
      {"type", "boolean"}, {"description", description}, {"default", false}};
}

json number(const char* description, int least, int most, int fallback) {
  return {{"type", "integer"},
          {"description", description},
          {"minimum", least},
          {"maximum", most},
          {"default", fallback}};
}

json paths(const char* description) {
  return {{"description", description},
          {"anyOf", json::array({{{"type", "string"}},
                                 {{"type", "array"},
                                  {"items", {{"type", "string"}}}}})}};
}

json of_type(const char* type) {
  return {{"type", type}};
}

json object(json properties, std::vector<std::string> required = {}) {
  json schema{{"type", "object"},
              {"properties", std::move(properties)},
              {"additionalProperties", false}};
  if (!required.empty())
    schema["required"] = std::move(required);
  return schema;
}

json list(json items) {
  return {{"type", "array"}, {"items", std::move(items)}};
}

json repository() {
  return text("Folder of the repository, relative to the workspace. Default: "
              "the workspace itself. Repositories above it are never used.");
}

} // namespace

tool status_tool() {
  tool t;
  t.name = "git_status";
  t.title = "Git status";
  t.description =
      "Shows the branch and which files changed, as `git status --porcelain "
      "--branch`: a line \"## branch...upstream\", then \"XY path\" for each "
      "path, X for what is staged, Y for the worktree (M modified, A added, D "
      "deleted, R renamed, T type changed, ?? untracked, UU and the like "
      "unmerged). Clean: only the first line.";
  t.input_schema = [] {
    return object(
        {{"path", paths("Only files at or below these paths, relative to the "
                        "repository.")},
         {"untracked",
          {{"type", "string"},
           {"enum", {"normal", "all", "no"}},
           {"default", "normal"},
           {"description",
            "Untracked files: folders as one line (normal), each "
            "file (all), or none (no)."}}},
         {"ignored", flag("Also list ignored files (!!).")},
         {"renames", flag("Pair staged deletions and additions with similar "
                          "content as renames; slower.")},
         {"limit", number("Most paths to list.", 1, 10'000, 1000)},
         {"repository", repository()}});
  };
  t.output_schema = [] {
    return object(
        {{"branch", of_type("string")},
         {"detached", of_type("boolean")},
         {"head", text("Commit id; absent before the first commit.")},
         {"upstream", of_type("string")},
         {"ahead", of_type("integer")},
         {"behind", of_type("integer")},
         {"state",
          text("none, merge, rebase, cherry-pick, revert, bisect, am")},
         {"clean", of_type("boolean")},
         {"staged", of_type("integer")},
         {"unstaged", of_type("integer")},
         {"untracked", of_type("integer")},
         {"conflicted", of_type("integer")},
         {"entries", list(object({{"path", of_type("string")},
                                  {"from", of_type("string")},
                                  {"index", of_type("string")},
                                  {"worktree", of_type("string")}},
                                 {"path", "index", "worktree"}))},
         {"left_out",
          {{"type", "integer"}, {"description", "Paths beyond limit."}}}},
        {"detached", "state", "clean", "staged", "unstaged", "untracked",
         "conflicted", "entries", "left_out"});
  };
  t.annotations.read_only = true;
  t.annotations.idempotent = true;
  return t;
}

tool diff_tool() {
  tool t;
  t.name = "git_diff";
  t.title = "Git diff";
  t.description =
      "Shows changes as a unified diff: by default what is not staged "
      "(worktree against index), with staged: true what the next commit would "
      "contain (index against HEAD), with range what differs between commits. "
      "Untracked files are not part of it: git_status lists them. Long diffs "
      "are cut; begin with stat_only: true, then name files with path.";
  t.input_schema = [] {
    return object(
        {{"staged", flag("Compare the index with HEAD instead of the worktree "
                         "with the index.")},
         {"path", paths("Only files at or below these paths, relative to the "
                        "repository; * ? [ are patterns.")},
         {"context", number("Lines around each change.", 0, 1000, 3)},
         {"stat_only", flag("Only files and numbers of changed lines, as `git "
                            "diff --stat`.")},
         {"range", text("A..B: what changed from A to B. A...B: what B changed "
                        "since it forked from A. A alone: from A to the "
                        "worktree, or to the index with staged.")},
         {"repository", repository()}});
  };
  t.output_schema = [] {
    return object({{"diff", text("The text block.")},
                   {"files_changed", of_type("integer")},
                   {"insertions", of_type("integer")},
                   {"deletions", of_type("integer")},
                   {"files", list(object({{"path", of_type("string")},
                                          {"from", of_type("string")},
                                          {"status", of_type("string")},
                                          {"insertions", of_type("integer")},
                                          {"deletions", of_type("integer")},
                                          {"binary", of_type("boolean")},
                                          {"skipped", of_type("string")}},
                                         {"path", "status", "insertions",
                                          "deletions", "binary"}))},
                   {"files_left_out", of_type("integer")},
                   {"truncated", of_type("boolean")}},
                  {"diff", "files_changed", "insertions", "deletions", "files",
                   "files_left_out", "truncated"});
  };
  t.annotations.read_only = true;
  t.annotations.idempotent = true;
  return t;
}

tool log_tool() {
  tool t;
  t.name = "git_log";
  t.title = "Git log";
  t.description =
      "Shows commits, newest first, as `git log`. When there are more, the "
      "last line says which skip continues.";
  t.input_schema = [] {
    return object(
        {{"count", number("Most commits to show.", 1, 1000, 10)},
         {"skip", number("Commits to leave out first.", 0, 1'000'000, 0)},
         {"path", paths("Only commits that changed these files or folders, "
                        "relative to the repository.")},
         {"ref", text("Where to begin: a branch, tag or commit; or a range "
                      "A..B. Default: HEAD.")},
         {"oneline", flag("One line for each commit: short id and subject.")},
         {"repository", repository()}});
  };
  t.output_schema = [] {
    return object(
        {{"commits", list(object({{"id", of_type("string")},
                                  {"short_id", of_type("string")},
                                  {"subject", of_type("string")},
                                  {"message", of_type("string")},
                                  {"author", of_type("string")},
                                  {"email", of_type("string")},
                                  {"date", text("ISO 8601, the author's.")},
                                  {"parents", list(of_type("string"))}},
                                 {"id", "short_id", "subject", "parents"}))},
         {"more", of_type("boolean")},
         {"next_skip", of_type("integer")}},
        {"commits", "more"});
  };
  t.annotations.read_only = true;
  t.annotations.idempotent = true;
  return t;
}

tool commit_tool(bool hooks) {
  tool t;
  t.name = "git_commit";
  t.title = "Git commit";
  t.description =
      std::string{
          "Makes a commit of what is staged. Pass files to stage paths first, "
          "or all: true to stage every change, new files included. Refuses an "
          "empty commit, and while a merge or rebase is in progress. "}
      + (hooks ? "The repository's hooks pre-commit and commit-msg run."
               : "The repository's hooks do not run, nothing is signed.");
  t.input_schema = [] {
    return object(
        {{"message", text("The commit message: a subject line, then perhaps an "
                          "empty line and more.")},
         {"files", paths("Paths to stage first (new, changed or deleted files, "
                         "or folders), relative to the repository.")},
         {"all", flag("Stage all changes first, as `git add -A`.")},
         {"author", text("\"Name <mail>\". Default: the server's --git-author, "
                         "else the repository's user.name and user.email.")},
         {"repository", repository()}},
        {"message"});
  };
  t.output_schema = [] {
    return object({{"id", of_type("string")},
                   {"short_id", of_type("string")},
                   {"branch", of_type("string")},
                   {"subject", of_type("string")},
                   {"root", of_type("boolean")},
                   {"files_changed", of_type("integer")},
                   {"insertions", of_type("integer")},
                   {"deletions", of_type("integer")}},
                  {"id", "short_id", "branch", "subject", "root"});
  };
  t.writes = true;
  return t;
}

} // namespace caged::mcp::git
