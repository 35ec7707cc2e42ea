#include "mcp/git/changed.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include <fcntl.h>
#include <sys/stat.h>

#include "mcp/beneath.hpp"

namespace caged::mcp::git {

namespace {

bool same_time(const git_index_time& a, const timespec& b) {
  return a.seconds == static_cast<std::int32_t>(b.tv_sec)
         && a.nanoseconds == static_cast<std::uint32_t>(b.tv_nsec);
}

bool not_before(const git_index_time& a, const timespec& b) {
  return a.seconds > b.tv_sec
         || (a.seconds == b.tv_sec
             && static_cast<long>(a.nanoseconds) >= b.tv_nsec);
}

/// As git's ie_match_stat: whatever is not exactly as it was is to be compared.
bool as_added(const git_index_entry& entry, const struct stat& now,
              const timespec& written) {
  constexpr unsigned special = GIT_INDEX_ENTRY_EXTENDED_FLAGS;
  if (git_index_entry_is_conflict(&entry) != 0
      || (entry.flags_extended & special) != 0 || entry.mode == 0160000)
    return false;
  const mode_t wanted = entry.mode == 0120000 ? S_IFLNK : S_IFREG;
  if ((now.st_mode & S_IFMT) != wanted)
    return false;
  if (wanted == S_IFREG && ((entry.mode ^ now.st_mode) & 0100U) != 0)
    return false;
  return entry.file_size == static_cast<std::uint32_t>(now.st_size)
         && same_time(entry.mtime, now.st_mtim)
         && same_time(entry.ctime, now.st_ctim)
         && entry.ino == static_cast<std::uint32_t>(now.st_ino)
         && entry.uid == now.st_uid && entry.gid == now.st_gid
         && !not_before(entry.mtime, written);
}

/// Looks at entries from..to; `differs` is told of those that may have changed.
void look(git_index* index, int worktree, const timespec& written,
          std::size_t from, std::size_t to, std::vector<char>& differs) {
  owned_fd folder;
  std::string_view folder_path{"\n"}; // no folder is called so at first
  for (auto i = from; i < to; ++i) {
    const auto* entry = git_index_get_byindex(index, i);
    const std::string_view path{entry->path};
    const auto slash = path.rfind('/');
    const auto above = slash == std::string_view::npos ? std::string_view{}
                                                       : path.substr(0, slash);
    if (above != folder_path) {
      // Not over links: what lies behind one is not in this worktree.
      folder_path = above;
      folder = open_folder(worktree, above, O_PATH);
    }
    const auto* name =
        entry->path + (slash == std::string_view::npos ? 0 : slash + 1);
    struct stat now {};
    if (!folder || ::fstatat(folder.get(), name, &now, AT_SYMLINK_NOFOLLOW) != 0
        || !as_added(*entry, now, written))
      differs[i] = 1;
  }
}

} // namespace

std::optional<timespec> write_time(git_index* index) {
  struct stat about {};
  const auto* path = git_index_path(index);
  if (path == nullptr || ::stat(path, &about) != 0)
    return std::nullopt;
  return about.st_mtim;
}

owned_fd open_worktree(const worker_state& state) {
  return owned_fd{
      ::open(state.place.worktree.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
}

owned_fd open_folder(int worktree, std::string_view below, int flags) {
  std::array<char, PATH_MAX> path{};
  if (below.empty())
    below = ".";
  if (below.size() >= path.size()) {
    errno = ENAMETOOLONG;
    return {};
  }
  std::copy(below.begin(), below.end(), path.begin());
  return open_unlinked(worktree, path.data(), flags | O_DIRECTORY);
}

std::optional<std::vector<std::string>> maybe_changed(const worker_state& state,
                                                      git_index* index,
                                                      const timespec& written,
                                                      std::size_t most) {
  constexpr std::size_t in_turn = 64;
  const auto worktree = open_worktree(state);
  if (!worktree)
    return std::nullopt;
  const auto count = git_index_entrycount(index);
  std::vector<char> differs(count);
  each_range(state.helper, count, in_turn,
             [&](std::size_t from, std::size_t to) {
               look(index, worktree.get(), written, from, to, differs);
             });
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) {
    if (differs[i] == 0)
      continue;
    const auto* path = git_index_get_byindex(index, i)->path;
    if (!out.empty() && out.back() == path)
      continue; // the next side of a conflict
    if (out.size() == most)
      return std::nullopt;
    out.emplace_back(path);
  }
  return out;
}

} // namespace caged::mcp::git
