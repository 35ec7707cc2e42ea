#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "mcp/workspace.hpp"

namespace caged::mcp {

/// Which files of a workspace its .gitignore files leave out, as gitignore(5)
/// says: nested files, negation, anchoring, folders only, "**", escapes. A
/// value: copying is cheap (the rules are shared and never change), any thread.
///
/// Differences from git, on purpose: .gitignore counts without a repository
/// too; a file that git tracks is left out all the same when a rule says so
/// (the index is not read); core.excludesFile and what lies above the workspace
/// is outside of it and not read. .git/info/exclude is. A folder with a .git of
/// its own is another repository: rules from above end there, as in git.
/// .ignore (ripgrep) is not read: one file format, the one that users expect.
///
/// A walk starts with of_folder() and calls enter() for each folder below:
///
///   auto rules = ignore_rules::of_folder(where, "src");
///   if (!rules.ignored("src/build", true)) {
///     auto inner = rules.enter(fd_of_build, "src/build");
///     inner.ignored("src/build/a.o", false);
///   }
///
/// Paths are relative to the workspace, without "./" and without a slash at
/// either end; "" (and ".") is the workspace itself.
class ignore_rules {
public:
  /// No rules: only .git itself is left out.
  ignore_rules() = default;

  /// The rules for what lies in `folder`: of the workspace's own .gitignore,
  /// of each folder on the way, and of `folder`. What cannot be read has none.
  static ignore_rules of_folder(const workspace& where,
                                std::string_view folder);

  /// These rules and those of an open folder, for what lies in it. `fd` may
  /// be O_PATH. Give false for what its listing
  /// did not show, which saves an open. Links are not followed (nor does git
  /// follow a .gitignore that is one).
  ignore_rules enter(int fd, std::string_view folder, bool has_gitignore = true,
                     bool has_git = true) const;

  /// These rules and those of a .gitignore with this text in `folder`. At most
  /// 1 MiB and 20,000 rules of it count.
  ignore_rules with(std::string_view folder, std::string_view text) const;

  /// Whether a walk leaves this entry out (and, a folder, all beneath). Looks
  /// at this path only: the walk has not entered a folder that is left out.
  /// A link is no folder, whatever it leads to. Allocates nothing.
  bool ignored(std::string_view path, bool is_folder) const;

  /// The same for a path out of the blue: also true when one of its folders is
  /// left out. Knows only the rules of *this.
  bool ignored_with_parents(std::string_view path, bool is_folder) const;

  /// Whether there is any rule beside .git.
  bool empty() const { return top_ == nullptr; }

private:
  struct level;
  std::shared_ptr<const level> top_;
};

} // namespace caged::mcp
