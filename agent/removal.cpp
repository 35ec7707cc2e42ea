#include "agent/removal.hpp"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::agent {

namespace {

/// Descriptors that one removal may hold: a directory that lies deeper is
/// moved up into the first level and dealt with there.
constexpr std::size_t depth_most = 32;
/// A tenant may go on making files in what is being removed.
constexpr int repeats_most = 1000;

} // namespace

removal::removal(std::string path) : path_{std::move(path)} {
  enter(AT_FDCWD, path_);
}

removal::~removal() {
  for (auto& item : levels_)
    ::closedir(item.dir);
}

void removal::stop(const std::string& name, int error) {
  auto code =
      error == EACCES || error == EPERM || error == EROFS ? ec::denied : ec::io;
  error_ =
      fail_errno(code,
                 "cannot remove all of " + quoted(path_) + ": " + quoted(name),
                 error)
          .value();
  done_ = true;
}

void removal::enter(int parent, const std::string& name) {
  int fd = ::openat(parent, name.c_str(),
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* dir = fd >= 0 ? ::fdopendir(fd) : nullptr;
  if (dir) {
    levels_.push_back({dir, name});
    return;
  }
  int error = errno;
  if (fd >= 0)
    ::close(fd);
  if (error != ENOENT || levels_.empty())
    stop(name, error);
}

/// The directory on top has been read to its end.
void removal::leave() {
  auto& top = levels_.back();
  int above =
      levels_.size() > 1 ? ::dirfd(levels_[levels_.size() - 2].dir) : AT_FDCWD;
  if (::unlinkat(above, top.name.c_str(), AT_REMOVEDIR) == 0) {
    ++removed_;
  } else if ((errno == ENOTEMPTY || errno == EEXIST)
             && ++repeats_ < repeats_most) {
    // Something came in, or was moved up from below: once more.
    ::rewinddir(top.dir);
    return;
  } else if (errno != ENOENT) {
    return stop(top.name, errno);
  }
  ::closedir(top.dir);
  levels_.pop_back();
  done_ = done_ || levels_.empty();
}

bool removal::step(std::chrono::steady_clock::time_point deadline) {
  for (int turn = 1; !done_; ++turn) {
    if (turn % 64 == 0 && std::chrono::steady_clock::now() >= deadline)
      return false;
    auto* dir = levels_.back().dir;
    auto* entry = ::readdir(dir);
    if (!entry) {
      leave();
      continue;
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..")
      continue;
    if (entry->d_type != DT_DIR) {
      if (::unlinkat(::dirfd(dir), name.c_str(), 0) == 0) {
        ++removed_;
        continue;
      }
      if (errno == ENOENT)
        continue;
      if (errno != EISDIR) {
        stop(name, errno);
        continue;
      }
    }
    if (levels_.size() < depth_most) {
      enter(::dirfd(dir), name);
      continue;
    }
    if (::renameat(::dirfd(dir), name.c_str(), ::dirfd(levels_.front().dir),
                   (".caged-" + random_name(12)).c_str())
        != 0)
      stop(name, errno);
    else
      repeats_ = 0; // progress
  }
  return true;
}

} // namespace caged::agent
