#include "mcp/tools/folder_page.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "mcp/helper_thread.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t worth_a_thread = 256;
constexpr std::size_t names_in_turn = 32;

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

void find_sizes(int fd, folder_entry* from, folder_entry* to) {
  for (; from != to; ++from) {
    if (from->type != 0 && from->type != S_IFREG)
      continue;
    struct stat about {};
    if (::fstatat(fd, from->name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0)
      continue; // gone, or not to be told: listed without a size
    from->type = about.st_mode & S_IFMT;
    if (from->type == S_IFREG)
      from->size = about.st_size;
  }
}

/// A large folder is looked at by two threads: a thousand system calls take
/// longer than a thread's start.
void find_sizes(int fd, std::vector<folder_entry>& of) {
  if (of.size() < worth_a_thread)
    return find_sizes(fd, of.data(), of.data() + of.size());
  helper_thread helper;
  const auto caller = std::this_thread::get_id();
  // Of its own: two threads on one descriptor wait for its counter.
  const owned_fd again{::openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  each_range(
      &helper, of.size(), names_in_turn, [&](std::size_t from, std::size_t to) {
        const bool own = std::this_thread::get_id() == caller || !again;
        find_sizes(own ? fd : again.get(), of.data() + from, of.data() + to);
      });
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
  find_sizes(fd, out.entries);
  return true;
}

} // namespace caged::mcp
