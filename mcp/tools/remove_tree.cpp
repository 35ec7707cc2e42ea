#include "mcp/tools/remove_tree.hpp"

#include <cerrno>
#include <memory>
#include <optional>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t levels_most = 32;
/// Passes over a folder that did not become empty: somebody makes files in it.
constexpr int repeats_most = 1000;
/// Entries between two messages of progress.
constexpr std::uint64_t report_every = 1000;

struct close_dir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

class removal {
public:
  removal(int parent, std::string name, const std::string& shown, call& in)
      : parent_{parent}, shown_{shown}, call_{in} {
    enter(parent, std::move(name));
  }

  result<std::uint64_t> work() {
    while (!wrong_ && !levels_.empty())
      step();
    if (wrong_)
      return tl::unexpected{*wrong_};
    return removed_;
  }

private:
  struct level {
    std::unique_ptr<DIR, close_dir> dir;
    std::string name; ///< in the level above
  };

  int fd_of(std::size_t depth) const {
    return ::dirfd(levels_[depth].dir.get());
  }

  void stop(const std::string& name, int error) {
    const auto refused = error == EACCES || error == EPERM || error == EROFS;
    wrong_ =
        fail_errno(refused ? ec::denied : ec::io,
                   "cannot delete all of " + caged::quoted(shown_) + ": "
                       + caged::quoted(name) + " (" + std::to_string(removed_)
                       + " entries are deleted already)",
                   error)
            .value();
  }

  /// Counts what was removed, and looks up now and then.
  void count() {
    ++removed_;
    if (removed_ % report_every == 0)
      call_.progress(static_cast<double>(removed_), std::nullopt,
                     "deleting " + shown_);
    if (call_.cancelled())
      wrong_ = failure{ec::unavailable, "the call was cancelled", {}};
  }

  /// A folder becomes a level; what is none (any more) is unlinked.
  void enter(int above, std::string name) {
    const int fd = ::openat(above, name.c_str(),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
      const int error = errno;
      // A link or a file took its place.
      if ((error == ELOOP || error == ENOTDIR)
          && ::unlinkat(above, name.c_str(), 0) == 0)
        return count();
      if (error != ENOENT || levels_.empty())
        stop(name, error);
      return;
    }
    std::unique_ptr<DIR, close_dir> dir{::fdopendir(fd)};
    if (!dir) {
      const int error = errno;
      ::close(fd);
      return stop(name, error);
    }
    levels_.push_back({std::move(dir), std::move(name)});
  }

  /// The folder on top has been read to its end.
  void leave() {
    auto& top = levels_.back();
    const int above = levels_.size() > 1 ? fd_of(levels_.size() - 2) : parent_;
    if (::unlinkat(above, top.name.c_str(), AT_REMOVEDIR) == 0) {
      count();
    } else if ((errno == ENOTEMPTY || errno == EEXIST)
               && ++repeats_ < repeats_most) {
      // Something came in, or was moved up from below: once more.
      ::rewinddir(top.dir.get());
      return;
    } else if (errno == ENOTDIR) {
      // Swapped while we were inside: what is there now goes.
      if (::unlinkat(above, top.name.c_str(), 0) == 0)
        count();
      else if (errno != ENOENT)
        return stop(top.name, errno);
    } else if (errno != ENOENT) {
      return stop(top.name, errno);
    }
    levels_.pop_back();
  }

  void step() {
    errno = 0;
    const auto* entry = ::readdir(levels_.back().dir.get());
    if (entry == nullptr) {
      if (errno != 0)
        return stop(levels_.back().name, errno);
      return leave();
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..")
      return;
    const int here = fd_of(levels_.size() - 1);
    if (entry->d_type != DT_DIR) {
      if (::unlinkat(here, name.c_str(), 0) == 0)
        return count();
      if (errno == ENOENT)
        return;
      // EPERM is what POSIX, EISDIR what Linux says of a folder.
      if (errno != EISDIR)
        return stop(name, errno);
    }
    if (levels_.size() < levels_most)
      return enter(here, std::move(name));
    if (::renameat(here, name.c_str(), fd_of(0),
                   (".caged-" + random_name(12)).c_str())
        == 0)
      repeats_ = 0; // progress
    else if (errno != ENOENT)
      stop(name, errno);
  }

  int parent_;
  const std::string& shown_;
  call& call_;
  std::vector<level> levels_;
  std::uint64_t removed_ = 0;
  int repeats_ = 0;
  std::optional<failure> wrong_;
};

} // namespace

result<std::uint64_t> remove_tree(int parent, const std::string& name,
                                  const std::string& shown, call& in) {
  return removal{parent, name, shown, in}.work();
}

} // namespace caged::mcp
