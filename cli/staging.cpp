#include "cli/staging.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::cli {

namespace fs = std::filesystem;

namespace {

constexpr mode_t mode_bits = 07777;

/// Gives the owner every right on each directory, so that it can be emptied.
void open_up(const std::string& path) {
  ::chmod(path.c_str(), S_IRWXU);
  std::error_code error;
  for (fs::directory_iterator items{path, error};
       !error && items != fs::directory_iterator{}; items.increment(error)) {
    std::error_code none;
    if (fs::is_directory(items->symlink_status(none)))
      open_up(items->path().string());
  }
}

tl::unexpected<failure> in_the_way(const std::string& to, int error) {
  return fail_errno(ec::io, caged::quoted(to) + " cannot be put in place",
                    error);
}

/// Mode and times as the copy came with them.
void dress(const std::string& to, const struct stat& as) {
  std::array<timespec, 2> times{as.st_atim, as.st_mtim};
  ::chmod(to.c_str(), as.st_mode & mode_bits);
  ::utimensat(AT_FDCWD, to.c_str(), times.data(), 0);
}

} // namespace

result<staging> staging::make(const std::string& directory) {
  auto path = directory + "/.caged-cp-XXXXXX";
  if (!::mkdtemp(path.data())) {
    int error = errno;
    return fail_errno(error == ENOENT   ? ec::not_found
                      : error == EACCES ? ec::denied
                                        : ec::io,
                      "nothing can be written to " + caged::quoted(directory),
                      error);
  }
  return staging{std::move(path)};
}

staging::staging(staging&& other) noexcept : path_{std::move(other.path_)} {
  other.path_.clear();
}

staging::~staging() {
  if (path_.empty())
    return;
  std::error_code ignored;
  open_up(path_);
  fs::remove_all(path_, ignored);
}

result<void> move_into(const std::string& from, const std::string& to) {
  struct stat comes {
  }, is{};
  if (::lstat(from.c_str(), &comes) != 0)
    return in_the_way(to, errno);
  bool taken = ::lstat(to.c_str(), &is) == 0;
  if (!S_ISDIR(comes.st_mode)) {
    if (::rename(from.c_str(), to.c_str()) != 0)
      return in_the_way(to, errno);
    return {};
  }
  if (taken && !S_ISDIR(is.st_mode))
    return in_the_way(to, ENOTDIR);
  // Its ".." is rewritten by a move, which takes the right to write to it.
  ::chmod(from.c_str(), (comes.st_mode & mode_bits) | S_IRWXU);
  if (taken) {
    if (auto moved = move_contents(from, to); !moved)
      return moved;
  } else if (::rename(from.c_str(), to.c_str()) != 0) {
    return in_the_way(to, errno);
  }
  dress(to, comes);
  return {};
}

result<void> move_contents(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::directory_iterator items{from, error};
  while (!error && items != fs::directory_iterator{}) {
    auto name = items->path().filename().string();
    if (auto moved = move_into(from + "/" + name, to + "/" + name); !moved)
      return moved;
    items.increment(error);
  }
  if (error)
    return fail(ec::io,
                caged::quoted(from) + " cannot be read: " + error.message());
  return {};
}

} // namespace caged::cli
