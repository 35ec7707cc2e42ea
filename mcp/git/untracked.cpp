#include "mcp/git/untracked.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <new>
#include <string_view>
#include <unordered_map>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "mcp/git/changed.hpp"

namespace caged::mcp::git {

namespace {

/// What is held of the index takes memory; larger ones are libgit2's.
constexpr std::size_t entries_most = 200'000;

/// A folder that the index has something in. Names are the index's own.
struct folder {
  std::string_view path;
  std::string_view first; ///< the path of an entry in it, or further below
  std::vector<std::string_view> files, folders;
  std::vector<std::string> others; ///< what else is in it
};

/// Every folder of an index, in the order of their first entries.
class folders_of {
public:
  explicit folders_of(git_index* index) {
    add({}, {});
    const auto count = git_index_entrycount(index);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string_view path{git_index_get_byindex(index, i)->path};
      const auto slash = path.rfind('/');
      const bool top = slash == std::string_view::npos;
      const auto at =
          find(top ? std::string_view{} : path.substr(0, slash), path);
      all[at].files.push_back(top ? path : path.substr(slash + 1));
    }
    for (auto& each : all) {
      std::sort(each.files.begin(), each.files.end());
      std::sort(each.folders.begin(), each.folders.end());
    }
  }
  std::vector<folder> all;

private:
  std::size_t add(std::string_view path, std::string_view entry) {
    all.push_back({path, entry, {}, {}, {}});
    by_path_.emplace(path, all.size() - 1);
    return all.size() - 1;
  }
  /// Added with those above it when it is new.
  std::size_t find(std::string_view path, std::string_view entry) {
    if (path == all[last_].path)
      return last_;
    if (auto known = by_path_.find(path); known != by_path_.end())
      return last_ = known->second;
    const auto slash = path.rfind('/');
    const bool top = slash == std::string_view::npos;
    const auto above =
        find(top ? std::string_view{} : path.substr(0, slash), entry);
    all[above].folders.push_back(top ? path : path.substr(slash + 1));
    return last_ = add(path, entry);
  }

  std::unordered_map<std::string_view, std::size_t> by_path_;
  std::size_t last_ = 0;
};

bool has(const std::vector<std::string_view>& sorted, std::string_view name) {
  return std::binary_search(sorted.begin(), sorted.end(), name);
}

bool is_folder(int in, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN)
    return entry.d_type == DT_DIR;
  struct stat about {};
  return ::fstatat(in, entry.d_name, &about, AT_SYMLINK_NOFOLLOW) == 0
         && S_ISDIR(about.st_mode);
}

struct close_dir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// False: it cannot be told.
bool look_into(int worktree, folder& of, std::size_t most) {
  auto fd = open_folder(worktree, of.path, O_RDONLY | O_NONBLOCK);
  if (!fd) // gone, or no folder any more: its entries differ
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
  const std::unique_ptr<DIR, close_dir> dir{::fdopendir(fd.get())};
  if (!dir)
    return false;
  const int in = fd.release();
  for (;;) {
    errno = 0;
    const auto* entry = ::readdir(dir.get());
    if (entry == nullptr)
      return errno == 0;
    const std::string_view name{entry->d_name};
    if (name == "." || name == "..")
      continue;
    if (name == ".git") {
      if (of.path.empty())
        continue;
      return false; // a repository in a folder of this one's files
    }
    if (has(of.files, name) || (has(of.folders, name) && is_folder(in, *entry)))
      continue;
    if (of.others.size() == most)
      return false;
    of.others.emplace_back(name);
  }
}

} // namespace

std::optional<std::vector<std::string>>
maybe_untracked(const worker_state& state, git_index* index, std::size_t most) {
  constexpr std::size_t in_turn = 8;
  if (git_index_entrycount(index) > entries_most)
    return std::nullopt;
  const auto worktree = open_worktree(state);
  if (!worktree)
    return std::nullopt;
  folders_of folders{index};
  std::atomic<bool> told{true};
  each_range(state.helper, folders.all.size(), in_turn,
             [&](std::size_t from, std::size_t to) {
               try {
                 for (; from < to && told; ++from)
                   if (!look_into(worktree.get(), folders.all[from], most))
                     told = false;
               } catch (const std::bad_alloc&) {
                 told = false;
               }
             });
  if (!told)
    return std::nullopt;
  std::vector<std::string> out;
  for (const auto& each : folders.all) {
    if (each.others.empty())
      continue;
    if (out.size() + each.others.size() >= most)
      return std::nullopt;
    if (!each.path.empty()) // or the whole folder would pass for untracked
      out.emplace_back(each.first);
    for (const auto& name : each.others)
      out.push_back(each.path.empty() ? name
                                      : std::string{each.path} + "/" + name);
  }
  return out;
}

} // namespace caged::mcp::git
