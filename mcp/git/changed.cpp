#include "mcp/git/changed.hpp"

#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>

#include "mcp/beneath.hpp"
#include "mcp/workspace.hpp"

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

} // namespace

std::optional<std::vector<std::string>> maybe_changed(const worker_state& state,
                                                      git_index* index,
                                                      const timespec& written,
                                                      std::size_t most) {
  const owned_fd worktree{
      ::open(state.place.worktree.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!worktree)
    return std::nullopt;
  std::vector<std::string> out;
  owned_fd folder;
  std::string_view folder_path{"\n"}; // no folder is called so at first
  const auto count = git_index_entrycount(index);
  for (std::size_t i = 0; i < count; ++i) {
    const auto* entry = git_index_get_byindex(index, i);
    const std::string_view path{entry->path};
    const auto slash = path.rfind('/');
    const auto above = slash == std::string_view::npos ? std::string_view{}
                                                       : path.substr(0, slash);
    if (above != folder_path) {
      // Not over links: what lies behind one is not in this worktree.
      folder_path = above;
      folder = open_unlinked(worktree.get(),
                             above.empty() ? "." : std::string{above}.c_str(),
                             O_PATH | O_DIRECTORY);
    }
    const auto* name =
        entry->path + (slash == std::string_view::npos ? 0 : slash + 1);
    struct stat now {};
    if (folder && ::fstatat(folder.get(), name, &now, AT_SYMLINK_NOFOLLOW) == 0
        && as_added(*entry, now, written))
      continue;
    if (!out.empty() && out.back() == path)
      continue; // the next side of a conflict
    if (out.size() == most)
      return std::nullopt;
    out.emplace_back(path);
  }
  return out;
}

} // namespace caged::mcp::git
