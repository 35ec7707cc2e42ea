#pragma once

#include <string>

#include "mcp/git/repository.hpp"
#include "mcp/tool.hpp"

namespace caged::mcp::git {

/// What an operation gives back, on its way to a tool_result.
struct answer {
  json structured = json::object();
  std::string text;
};

// The operations of a worker. Requests come from mcp/tools/git.cpp, which has
// checked the types; members that are absent have their defaults. One thread.

/// {repository, untracked: "normal"|"all"|"no", ignored, renames, paths,
/// limit}
result<answer> status(worker_state& state, const json& request);
/// {repository, staged, paths, context, stat_only, range}
result<answer> diff(worker_state& state, const json& request);
/// {repository, count, skip, paths, ref, oneline}
result<answer> log(worker_state& state, const json& request);
/// {repository, message, paths, all, author, committer, phase}. phase: "whole",
/// or "stage" and then "finish" when hooks run in between; "stage" answers
/// {worktree, git_dir, hooks_path}.
result<answer> commit(worker_state& state, const json& request);

/// The paths of a request for libgit2. Literal ones where that will do, so that
/// `[x].txt` is a name; patterns when one has * ? or [ and is no file.
class path_list {
public:
  path_list(const worker_state& state, const json& request);
  const git_strarray& raw() const { return raw_; }
  bool literal() const { return literal_; }
  bool empty() const { return paths_.empty(); }
  const std::vector<std::string>& all() const { return paths_; }

private:
  std::vector<std::string> paths_;
  std::vector<char*> pointers_;
  git_strarray raw_{};
  bool literal_ = true;
};

/// A path for structured content: as it is, or quoted when it is not UTF-8.
std::string json_path(std::string_view path);
/// Cuts a text to at most `most` bytes behind a line's end.
void cut_at_line(std::string& text, std::size_t most);
/// " 2 files changed, 3 insertions(+), 1 deletion(-)", as git ends a stat.
std::string stat_summary(std::size_t files, std::size_t insertions,
                         std::size_t deletions);
/// "3 files", "1 file".
std::string counted(std::size_t n, const char* one);

} // namespace caged::mcp::git
