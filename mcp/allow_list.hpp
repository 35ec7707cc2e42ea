#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "messages/error.hpp"

namespace caged::mcp {

/// Splits a command as a POSIX shell would, if it can be run without one: the
/// result is exactly the argv of sh. Quotes and backslashes work; whatever a
/// shell would expand or act on (; & | < > $ ` ( ) newline * ? [ ~ #, an
/// assignment in front) is refused unless it is quoted. Error: bad_request,
/// which names the character and the remedy.
result<std::vector<std::string>> split_command(std::string_view text);

/// --allowed-commands: which programs terminal_exec may run. With it no shell
/// is involved and the environment cannot be changed by a call.
///
/// A name without a slash stands for the program that PATH had at the start,
/// whatever PATH finds later; folders of PATH that are relative or beneath the
/// workspace, where files of that name could be written, are passed over. A
/// path is that very file. Names are compared, not files: /bin/busybox is not
/// allowed because ls is a link to it.
///
/// What it cannot promise: an allowed program does whatever its arguments and
/// the files of the workspace tell it. An interpreter or a program that runs
/// others (sh, python, node, make, npm, find, xargs, env, git with aliases or
/// hooks) is as good as every program, and a path beneath the workspace names a
/// file that may be written. Immutable, any thread.
class allow_list {
public:
  /// `path` as PATH has it; `workspace`: its real path.
  allow_list(const std::vector<std::string>& entries, std::string_view path,
             std::string_view workspace);

  struct program {
    std::string path;
    std::vector<std::string> argv;
  };
  /// Errors: bad_request (split_command), denied (not allowed), not_found
  /// (allowed, but not in PATH at the start).
  result<program> check(std::string_view command) const;
  result<program> check(std::vector<std::string> argv) const;

  /// "git, ls": for descriptions.
  const std::string& names() const { return names_; }
  /// PATH without relative folders and those beneath the workspace.
  const std::string& path() const { return path_; }

private:
  /// What a first word may be, and the program that it stands for; empty: not
  /// found at the start.
  std::map<std::string, std::string, std::less<>> programs_;
  std::string names_, path_;
};

} // namespace caged::mcp
