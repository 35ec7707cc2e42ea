#include "mcp/git/preflight.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <climits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mcp/open_beneath.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

constexpr std::size_t pointer_bytes = 64U << 10U; ///< gitdir, alternates
constexpr std::size_t config_bytes = 1U << 20U;
constexpr std::size_t walked_entries = 500'000;
constexpr int walked_depth = 64;

owned_fd open2(int at, const std::string& path, int flags,
               std::uint64_t also = 0) {
  return owned_fd{open_beneath(at, path.c_str(), flags, 0, also)};
}

tl::unexpected<failure> leads_out(const std::string& what) {
  return fail(ec::denied, what + " leads out of the workspace",
              "the git tools use only what lies in the workspace: clone or "
              "copy the repository into it");
}

tl::unexpected<failure> unconfined(const std::string& what) {
  return fail(ec::denied,
              "the repository has " + what
                  + ", which this server refuses on a kernel without Landlock",
              "use a plain clone without it, or run the server on Linux 5.13 "
              "or newer with Landlock enabled");
}

/// The absolute path of an open folder. By getcwd(2): /proc may be missing.
result<std::string> path_of(const owned_fd& folder) {
  std::array<char, PATH_MAX> name{};
  if (::fchdir(folder.get()) != 0
      || ::getcwd(name.data(), name.size()) == nullptr || name[0] != '/')
    return fail_errno(ec::io, "cannot enter the repository's folder", errno);
  return std::string{name.data()};
}

/// The whole of a small regular file beneath `at`; nothing when it is absent.
result<std::string> read_small(int at, const std::string& name,
                               const std::string& shown, std::size_t most) {
  auto file = open2(at, name, O_RDONLY | O_NONBLOCK);
  if (!file) {
    if (errno == ENOENT)
      return std::string{};
    if (errno == EXDEV || errno == ELOOP)
      return leads_out(shown);
    return fail_errno(ec::io, "cannot read " + shown, errno);
  }
  std::string text;
  std::array<char, 16384> piece{};
  for (;;) {
    const auto n = ::read(file.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail_errno(ec::io, "cannot read " + shown, errno);
    if (n == 0)
      return text;
    text.append(piece.data(), static_cast<std::size_t>(n));
    if (text.size() > most)
      return fail(ec::too_large,
                  shown + " is larger than " + std::to_string(most) + " bytes",
                  "the repository is damaged or not one: look at it with "
                  "file_read");
  }
}

std::string_view first_line(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  while (!text.empty() && (text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  return text;
}

/// A check of one repository in the workspace.
class checker {
public:
  checker(int root_fd, std::string root, bool confined)
      : root_fd_{root_fd}, root_{std::move(root)}, confined_{confined} {}

  /// A folder that a file names: relative to `base` (absolute), beneath the
  /// workspace.
  result<owned_fd> folder_named(std::string_view name, const std::string& base,
                                const std::string& shown) const {
    std::string path{name};
    if (path.empty() || path.find('\0') != std::string::npos)
      return fail(ec::malformed, shown + " names no folder",
                  "look at it with file_read");
    if (path[0] != '/')
      path = base + "/" + path;
    // Only text: "..", then what is left is looked up by the kernel beneath
    // the workspace. Links in the part taken away make it refuse, not escape.
    auto beneath = within(path);
    if (!beneath)
      return leads_out(shown);
    auto folder = open2(root_fd_, *beneath, O_PATH | O_DIRECTORY);
    if (!folder) {
      if (errno == EXDEV || errno == ELOOP)
        return leads_out(shown);
      return fail_errno(ec::not_found,
                        shown + " names a folder that cannot be opened", errno);
    }
    return folder;
  }

  /// One name in .git: absent, or of this sort and not elsewhere.
  result<void> entry(int git_fd, const std::string& name, bool folder) const {
    const auto shown = ".git/" + name;
    struct stat seen {};
    if (::fstatat(git_fd, name.c_str(), &seen, AT_SYMLINK_NOFOLLOW) != 0)
      return {};
    if (S_ISLNK(seen.st_mode)) {
      if (!confined_)
        return unconfined("a link at " + shown);
      auto target = open2(git_fd, name, O_PATH);
      if (!target || ::fstat(target.get(), &seen) != 0)
        return leads_out(shown);
    }
    if (folder ? !S_ISDIR(seen.st_mode) : !S_ISREG(seen.st_mode))
      return fail(ec::malformed,
                  shown + " is no " + (folder ? "folder" : "regular file"),
                  "the repository is damaged: look at it with file_list");
    return {};
  }

  /// The real folder of .git, which may be a file that names it.
  result<owned_fd> git_dir(const owned_fd& worktree,
                           const std::string& worktree_path) const {
    struct stat seen {};
    if (::fstatat(worktree.get(), ".git", &seen, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT)
        return fail_errno(ec::io, "cannot look at .git", errno);
      return fail(ec::not_found,
                  "there is no git repository in "
                      + caged::quoted(worktree_path),
                  "run `git init` there, or name a folder that has one with "
                  "the argument repository; repositories above the workspace "
                  "are not used");
    }
    if (S_ISLNK(seen.st_mode)) {
      if (!confined_)
        return unconfined("a link at .git");
    } else if (S_ISREG(seen.st_mode)) {
      if (!confined_)
        return unconfined("a .git file that names its folder (gitdir)");
      auto text = read_small(worktree.get(), ".git", ".git", pointer_bytes);
      if (!text)
        return tl::unexpected(text.error());
      constexpr std::string_view key = "gitdir: ";
      const auto line = first_line(*text);
      if (line.substr(0, key.size()) != key)
        return fail(ec::malformed, ".git is a file that names no folder",
                    "look at it with file_read");
      return folder_named(line.substr(key.size()), worktree_path, ".git");
    } else if (!S_ISDIR(seen.st_mode)) {
      return fail(ec::malformed, ".git is neither a folder nor a file",
                  "remove it");
    }
    auto folder = open2(root_fd_, within(worktree_path + "/.git").value_or(""),
                        O_PATH | O_DIRECTORY);
    if (!folder)
      return leads_out(".git");
    return folder;
  }

  result<void> inside(int git_fd, const std::string& git_path) const {
    for (const auto* name :
         {"HEAD", "config", "index", "packed-refs", "shallow", "commondir",
          "info/exclude", "info/attributes", "info/grafts", "config.worktree",
          "MERGE_HEAD", "objects/info/alternates"})
      if (auto good = entry(git_fd, name, false); !good)
        return good;
    for (const auto* name :
         {"objects", "refs", "refs/heads", "objects/pack", "objects/info",
          "info", "logs", "modules", "worktrees"})
      if (auto good = entry(git_fd, name, true); !good)
        return good;
    auto common =
        read_small(git_fd, "commondir", ".git/commondir", pointer_bytes);
    if (!common)
      return tl::unexpected(common.error());
    if (!common->empty()) {
      if (!confined_)
        return unconfined("a .git/commondir");
      auto folder =
          folder_named(first_line(*common), git_path, ".git/commondir");
      if (!folder)
        return tl::unexpected(folder.error());
    }
    return alternates(git_fd, git_path);
  }

  result<void> alternates(int git_fd, const std::string& git_path) const {
    auto lines = read_small(git_fd, "objects/info/alternates",
                            ".git/objects/info/alternates", pointer_bytes);
    if (!lines)
      return tl::unexpected(lines.error());
    if (!lines->empty() && !confined_)
      return unconfined("objects/info/alternates");
    for (std::string_view rest = *lines; !rest.empty();) {
      const auto line = first_line(rest);
      const auto end = rest.find('\n');
      rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
      if (line.empty() || line[0] == '#')
        continue;
      auto folder = folder_named(line, git_path + "/objects",
                                 ".git/objects/info/alternates");
      // One that is gone is no worse than for git itself.
      if (!folder && folder.error().code == ec::denied)
        return tl::unexpected(folder.error());
    }
    return {};
  }

  /// Without Landlock: a configuration that names files.
  static result<void> plain_config(int git_fd) {
    auto text = read_small(git_fd, "config", ".git/config", config_bytes);
    if (!text)
      return tl::unexpected(text.error());
    std::transform(text->begin(), text->end(), text->begin(), [](char c) {
      return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    });
    for (const auto* word : {"[include", "excludesfile", "attributesfile",
                             "worktree", "worktreeconfig"})
      if (text->find(word) != std::string::npos)
        return unconfined(std::string{"\""} + word + "\" in its configuration");
    return {};
  }

  /// Without Landlock: no links in .git, none at names that libgit2 reads in
  /// the worktree.
  static result<void> no_links(owned_fd folder, bool in_git, int depth,
                               std::size_t& left) {
    if (depth > walked_depth)
      return fail(ec::too_large,
                  "the repository's folders are too deep to be "
                  "checked",
                  "a kernel with Landlock needs no such check");
    std::unique_ptr<DIR, int (*)(DIR*)> list{::fdopendir(folder.get()),
                                             ::closedir};
    if (!list)
      return {};
    const int fd = folder.release();
    while (const auto* item = ::readdir(list.get())) {
      const std::string_view name = item->d_name;
      if (name == "." || name == "..")
        continue;
      if (left-- == 0)
        return fail(ec::too_large,
                    "the repository has too many files to be checked",
                    "a kernel with Landlock needs no such check");
      if (item->d_type == DT_DIR) {
        if (!in_git && name == ".git" && depth > 0)
          continue; // another repository; submodules are not entered
        auto next = open2(fd, item->d_name, O_RDONLY | O_DIRECTORY,
                          RESOLVE_NO_SYMLINKS);
        if (!next)
          continue;
        if (auto good = no_links(std::move(next), in_git || name == ".git",
                                 depth + 1, left);
            !good)
          return good;
      } else if (item->d_type != DT_REG
                 && (in_git || name.substr(0, 4) == ".git")) {
        return unconfined("a link or special file " + caged::quoted(name));
      }
    }
    return {};
  }

  result<repository_place> check(const std::string& path) const {
    auto worktree = open2(root_fd_, path, O_PATH | O_DIRECTORY);
    if (!worktree) {
      if (errno == EXDEV || errno == ELOOP)
        return leads_out("the folder " + caged::quoted(path));
      return fail_errno(ec::not_found,
                        "cannot open the folder " + caged::quoted(path), errno);
    }
    repository_place place;
    auto at = path_of(worktree);
    if (!at)
      return tl::unexpected(at.error());
    place.worktree = std::move(*at);
    auto folder = git_dir(worktree, place.worktree);
    if (!folder)
      return tl::unexpected(folder.error());
    at = path_of(*folder);
    if (!at)
      return tl::unexpected(at.error());
    place.git_dir = std::move(*at);
    if (auto good = inside(folder->get(), place.git_dir); !good)
      return tl::unexpected(good.error());
    if (!confined_) {
      if (auto good = plain_config(folder->get()); !good)
        return tl::unexpected(good.error());
      auto left = walked_entries;
      auto list = open2(worktree.get(), ".", O_RDONLY | O_DIRECTORY);
      if (auto good = no_links(std::move(list), false, 0, left); !good)
        return tl::unexpected(good.error());
    }
    return place;
  }

private:
  /// `path` (absolute, may hold "..") relative to the workspace; nothing when
  /// it is not beneath it by its text.
  std::optional<std::string> within(const std::string& path) const {
    std::vector<std::string_view> parts;
    for (std::string_view rest = path; !rest.empty();) {
      const auto end = std::min(rest.find('/'), rest.size());
      const auto part = rest.substr(0, end);
      rest = end == rest.size() ? "" : rest.substr(end + 1);
      if (part == "..") {
        if (!parts.empty())
          parts.pop_back();
      } else if (!part.empty() && part != ".") {
        parts.push_back(part);
      }
    }
    std::string flat;
    for (auto part : parts)
      flat.append("/").append(part);
    const auto base = root_ == "/" ? std::string{} : root_;
    if (flat == base)
      return ".";
    if (flat.compare(0, base.size() + 1, base + "/") != 0)
      return std::nullopt;
    return flat.substr(base.size() + 1);
  }

  int root_fd_;
  std::string root_;
  bool confined_;
};

} // namespace

result<repository_place> check_repository(int root_fd, const std::string& path,
                                          bool confined) {
  auto top = open2(root_fd, ".", O_PATH | O_DIRECTORY);
  if (!top)
    return fail_errno(ec::io, "cannot open the workspace", errno);
  auto root = path_of(top);
  if (!root)
    return tl::unexpected(root.error());
  return checker{root_fd, std::move(*root), confined}.check(path);
}

} // namespace caged::mcp::git
