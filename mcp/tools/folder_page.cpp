#include "mcp/tools/folder_page.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

namespace caged::mcp {

namespace {

struct close_dir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

bool by_name(const folder_entry& a, const folder_entry& b) {
  return a.name < b.name;
}

/// Keeps the smallest `most` names: a heap whose top is the largest of them.
void keep(folder_page& out, std::size_t most, const dirent& entry) {
  auto& heap = out.entries;
  const bool full = heap.size() == most;
  if (full) {
    out.more = true;
    if (heap.front().name <= entry.d_name)
      return;
    std::pop_heap(heap.begin(), heap.end(), by_name);
    heap.pop_back();
  }
  heap.push_back({entry.d_name, static_cast<mode_t>(DTTOIF(entry.d_type)), -1});
  if (full)
    std::push_heap(heap.begin(), heap.end(), by_name);
  else if (heap.size() == most)
    std::make_heap(heap.begin(), heap.end(), by_name);
}

} // namespace

bool read_page(int fd, const folder_choice& choice, folder_page& out) {
  out = {};
  const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0)
    return false;
  const std::unique_ptr<DIR, close_dir> dir{::fdopendir(own)};
  if (!dir) {
    const int error = errno;
    ::close(own);
    errno = error;
    return false;
  }
  ::rewinddir(dir.get());
  for (;;) {
    errno = 0;
    const auto* entry = ::readdir(dir.get());
    if (entry == nullptr)
      break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || (!choice.hidden && name[0] == '.'))
      continue;
    const auto order = name.compare(choice.behind);
    if (order < 0 || (order == 0 && !choice.inclusive))
      continue;
    keep(out, choice.most, *entry);
  }
  if (errno != 0)
    return false;
  std::sort(out.entries.begin(), out.entries.end(), by_name);
  for (auto& entry : out.entries) {
    if (entry.type != 0 && entry.type != S_IFREG)
      continue;
    struct stat about {};
    if (::fstatat(fd, entry.name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0)
      continue; // gone, or not to be told: listed without a size
    entry.type = about.st_mode & S_IFMT;
    if (entry.type == S_IFREG)
      entry.size = about.st_size;
  }
  return true;
}

} // namespace caged::mcp
