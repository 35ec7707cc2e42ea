#include "mcp/walk.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "mcp/beneath.hpp"

namespace caged::mcp {

namespace {

// A full buffer holds some two thousand names: folders that fit one are
// listed with two calls. Larger ones are not faster (measured).
constexpr std::size_t buffer_bytes = 64U << 10U;

/// struct linux_dirent64 of getdents64(2).
struct raw_entry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t length;
  std::uint8_t type;
  char name[1]; // NOLINT: as the kernel writes it
};
constexpr std::size_t name_offset = offsetof(raw_entry, name);

/// Folders that wait: the ones of one listing share what is the same for them.
struct batch {
  std::string folder; ///< With its slash, beneath the folder that is walked.
  std::string names;  ///< Each with a NUL behind it.
  std::size_t next = 0;
  ignore_rules rules;
  unsigned depth = 0;
};

/// One folder to list.
struct job {
  std::string path; ///< Beneath the folder that is walked; "" for itself.
  ignore_rules rules;
  unsigned depth = 0;
};

class walker {
public:
  walker(int folder, const walk_options& options, const cancellation& cancel,
         const std::function<void(const walk_entry&)>& visit)
      : folder_{folder}, options_{options}, cancel_{cancel}, visit_{visit} {}

  walk_stats run(const std::function<void(std::uint64_t)>& tick);

private:
  struct worker {
    unsigned number = 0;
    walk_stats stats;
    std::unique_ptr<std::array<char, buffer_bytes>> buffer =
        std::make_unique<std::array<char, buffer_bytes>>();
    std::string path; ///< Prefix, folder and name of the entry at hand.
    job at;
  };

  bool take(job& to);
  void finished();
  void give(batch&& folders);
  void work(worker& w, const std::function<void(std::uint64_t)>& tick);
  void list(worker& w);
  bool entries(worker& w, int fd, std::size_t bytes, std::size_t below_at,
               batch& folders);
  static entry_type type_of(int fd, const raw_entry& entry, const char* name);
  static void unreadable(worker& w);

  const int folder_;
  const walk_options& options_;
  const cancellation& cancel_;
  const std::function<void(const walk_entry&)>& visit_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<batch> waiting_; ///< A stack: depth first keeps it short.
  std::size_t waiting_folders_ = 0;
  unsigned busy_ = 0;
  std::atomic<std::uint64_t> done_ = 0;
  unsigned started_ = 1;
  std::vector<std::unique_ptr<worker>> workers_;
  std::vector<std::thread> threads_;
};

walk_stats walker::run(const std::function<void(std::uint64_t)>& tick) {
  batch first;
  first.names.push_back('\0');
  first.rules = options_.rules;
  waiting_.push_back(std::move(first));
  waiting_folders_ = 1;
  for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
    workers_.push_back(std::make_unique<worker>());
    workers_.back()->number = i;
  }
  work(*workers_[0], tick);
  for (auto& thread : threads_)
    thread.join();
  walk_stats out;
  for (auto& w : workers_) {
    out.folders += w->stats.folders;
    out.entries += w->stats.entries;
    out.hidden += w->stats.hidden;
    out.ignored += w->stats.ignored;
    out.too_deep += w->stats.too_deep;
    out.unreadable += w->stats.unreadable;
    for (auto& each : w->stats.unreadable_first)
      if (out.unreadable_first.size() < 3)
        out.unreadable_first.push_back(std::move(each));
  }
  out.cancelled = cancel_.cancelled();
  return out;
}

/// The next folder; false once there will be none.
bool walker::take(job& to) {
  std::unique_lock lock{mutex_};
  while (waiting_.empty() && busy_ > 0 && !cancel_.cancelled())
    changed_.wait(lock);
  if (waiting_.empty() || cancel_.cancelled()) {
    lock.unlock();
    changed_.notify_all();
    return false;
  }
  auto& last = waiting_.back();
  const auto end = last.names.find('\0', last.next);
  to.path.assign(last.folder);
  to.path.append(last.names, last.next, end - last.next);
  to.rules = last.rules;
  to.depth = last.depth;
  last.next = end + 1;
  if (last.next == last.names.size())
    waiting_.pop_back();
  --waiting_folders_;
  ++busy_;
  return true;
}

void walker::finished() {
  done_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock{mutex_};
  if (--busy_ == 0 || cancel_.cancelled())
    changed_.notify_all();
}

void walker::give(batch&& folders) {
  std::size_t count = 0;
  for (const auto c : folders.names)
    count += c == '\0' ? 1 : 0;
  if (count == 0)
    return;
  const std::lock_guard lock{mutex_};
  waiting_.push_back(std::move(folders));
  waiting_folders_ += count;
  changed_.notify_all();
  // A thread costs some 50 us: small trees are done before it has begun.
  if (waiting_folders_ < 8 || started_ >= workers_.size())
    return;
  auto* next = workers_[started_].get();
  try {
    threads_.emplace_back([this, next] { work(*next, {}); });
    ++started_;
  } catch (const std::system_error&) {
    started_ = static_cast<unsigned>(workers_.size()); // Alone, then.
  }
}

void walker::work(worker& w, const std::function<void(std::uint64_t)>& tick) {
  while (take(w.at)) {
    list(w);
    finished();
    if (tick)
      tick(done_.load(std::memory_order_relaxed));
  }
}

void walker::unreadable(worker& w) {
  ++w.stats.unreadable;
  if (w.stats.unreadable_first.size() < 3)
    w.stats.unreadable_first.push_back(w.path);
}

void walker::list(worker& w) {
  w.path = options_.prefix;
  if (!w.at.path.empty()) {
    if (!w.path.empty())
      w.path += '/';
    w.path += w.at.path;
  }
  const auto* path = w.at.path.empty() ? "." : w.at.path.c_str();
  const auto fd = open_unlinked(folder_, path, O_RDONLY | O_DIRECTORY);
  const auto open = fd.get();
  if (open < 0) {
    // Gone, or swapped for something else since it was seen: no folder now.
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
      unreadable(w);
    return;
  }
  ++w.stats.folders;
  batch folders;
  folders.depth = w.at.depth + 1;
  auto first = true;
  std::size_t below_at = 0;
  for (;;) {
    // As much as fits, so that the marks of a repository are mostly seen
    // before the entries that they decide on.
    std::size_t used = 0;
    auto end = false;
    while (buffer_bytes - used > name_offset + NAME_MAX + 16) {
      const auto n = ::syscall(SYS_getdents64, open, w.buffer->data() + used,
                               buffer_bytes - used);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0 && errno == EINVAL && used > 0)
        break;                      // The next one does not fit what is left.
      if (n < 0 && errno != ENOENT) // ENOENT: removed meanwhile.
        unreadable(w);
      if (n <= 0) {
        end = true;
        break;
      }
      used += static_cast<std::size_t>(n);
    }
    if (first) {
      auto git = !end, gitignore = !end;
      for (std::size_t at = 0; at < used;) {
        raw_entry entry{};
        std::memcpy(&entry, w.buffer->data() + at, name_offset);
        const char* name = w.buffer->data() + at + name_offset;
        at += entry.length;
        if (name[0] != '.' || name[1] != 'g')
          continue;
        git = git || std::strcmp(name, ".git") == 0;
        gitignore = gitignore || std::strcmp(name, ".gitignore") == 0;
      }
      // The folder where the walk begins has its rules already.
      if (options_.respect_ignore && w.at.depth > 0 && (git || gitignore))
        w.at.rules = w.at.rules.enter(open, w.path, gitignore, git);
      folders.rules = w.at.rules;
      if (!w.at.path.empty())
        folders.folder = w.at.path + '/';
      if (!w.path.empty())
        w.path += '/';
      below_at = options_.prefix.empty() ? 0 : options_.prefix.size() + 1;
      first = false;
    }
    if (!entries(w, open, used, below_at, folders) || end)
      break;
  }
  give(std::move(folders));
}

/// One buffer of entries; false once cancelled.
bool walker::entries(worker& w, int fd, std::size_t bytes, std::size_t below_at,
                     batch& folders) {
  const auto stem = w.path.size();
  auto count = 0U;
  for (std::size_t at = 0; at < bytes;) {
    if ((++count & 255U) == 0 && cancel_.cancelled())
      return false;
    raw_entry entry{};
    std::memcpy(&entry, w.buffer->data() + at, name_offset);
    const char* name = w.buffer->data() + at + name_offset;
    at += entry.length;
    if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == 0)))
      continue;
    ++w.stats.entries;
    if (name[0] == '.') {
      if (std::strcmp(name, ".git") == 0)
        continue;
      if (!options_.hidden) {
        ++w.stats.hidden;
        continue;
      }
    }
    w.path.resize(stem);
    w.path += name;
    const auto type = type_of(fd, entry, name);
    const auto is_folder = type == entry_type::folder;
    if (options_.respect_ignore && w.at.rules.ignored(w.path, is_folder)) {
      ++w.stats.ignored;
      continue;
    }
    visit_({w.path, stem, below_at, type, w.number});
    if (!is_folder)
      continue;
    if (options_.enter
        && !options_.enter(std::string_view{w.path}.substr(below_at)))
      continue;
    if (folders.depth > options_.max_depth || w.path.size() >= PATH_MAX) {
      ++w.stats.too_deep;
      continue;
    }
    folders.names += name;
    folders.names += '\0';
  }
  w.path.resize(stem);
  return !cancel_.cancelled();
}

entry_type walker::type_of(int fd, const raw_entry& entry, const char* name) {
  switch (entry.type) {
  case DT_REG:
    return entry_type::file;
  case DT_DIR:
    return entry_type::folder;
  case DT_LNK:
    return entry_type::link;
  case DT_UNKNOWN:
    break;
  default:
    return entry_type::special;
  }
  struct stat about {};
  if (::fstatat(fd, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
    return entry_type::special;
  if (S_ISREG(about.st_mode))
    return entry_type::file;
  if (S_ISDIR(about.st_mode))
    return entry_type::folder;
  return S_ISLNK(about.st_mode) ? entry_type::link : entry_type::special;
}

} // namespace

walk_stats walk(int folder, const walk_options& options,
                const cancellation& cancel,
                const std::function<void(const walk_entry&)>& visit,
                const std::function<void(std::uint64_t folders)>& tick) {
  return walker{folder, options, cancel, visit}.run(tick);
}

} // namespace caged::mcp
