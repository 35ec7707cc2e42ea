#include "nodes/data_directory.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/sandbox.hpp"
#include "messages/text.hpp"
#include "nodes/oci/sys.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

constexpr const char* remedy =
    "is it read-only or full? choose another with --data-dir";
/// Less than this and SQLite cannot make its files.
constexpr std::size_t probe_bytes = 256 * 1024;

/// Makes it with that mode. One that exists keeps its mode (it may be /tmp),
/// but must not be writable by the `others` (mode bits).
result<void> make_directory(const fs::path& path, mode_t mode, mode_t others) {
  std::error_code code;
  bool made = fs::create_directories(path, code);
  if (code)
    return fail(ec::io,
                "the directory " + path.string()
                    + " cannot be made: " + code.message(),
                remedy);
  if (made && ::chmod(path.c_str(), mode) != 0)
    return fail_errno(ec::io, "the mode of " + path.string() + " cannot be set",
                      errno);
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0)
    return fail_errno(ec::io, path.string() + " cannot be looked at", errno);
  if ((found.st_mode & others) != 0)
    return fail(ec::denied,
                "others can write into the directory " + path.string(),
                "take the right away from them (chmod), or choose another "
                "directory");
  return {};
}

/// Members of the group may connect. Only where the directory is for nobody
/// else anyway: /run, say, stays as it is.
result<void> give_to_group(const fs::path& path) {
  struct stat found {};
  const auto* group = ::getgrnam("caged");
  if (!group || ::stat(path.c_str(), &found) != 0 || (found.st_mode & 0007) != 0
      || found.st_gid == group->gr_gid)
    return {};
  if (::chown(path.c_str(), ::geteuid(), group->gr_gid) != 0)
    return fail_errno(
        ec::io, path.string() + " cannot be given to the group caged", errno);
  return {};
}

void sync_directory(const fs::path& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return;
  ::fsync(fd); // best effort: not every file system can
  ::close(fd);
}

/// Writes a file and renames it into place.
result<void> write_whole(const fs::path& path, std::string_view text) {
  auto temporary = path;
  temporary += ".new";
  int fd =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool good = fd >= 0;
  while (good && !text.empty()) {
    auto n = ::write(fd, text.data(), text.size());
    if (n > 0)
      text.remove_prefix(static_cast<std::size_t>(n));
    else if (errno != EINTR)
      good = false;
  }
  good = good && ::fsync(fd) == 0;
  int error = errno;
  if (fd >= 0)
    ::close(fd);
  if (good && ::rename(temporary.c_str(), path.c_str()) == 0)
    return {};
  if (good)
    error = errno;
  ::unlink(temporary.c_str());
  auto why = fail_errno(ec::io, path.string() + " cannot be written", error);
  why.value().hint = remedy;
  return why;
}

std::string slurp(const fs::path& path) {
  std::ifstream in{path};
  std::string text;
  in >> text;
  return text;
}

} // namespace

data_directory::~data_directory() {
  if (lock_ >= 0)
    ::close(lock_);
}

result<std::unique_ptr<data_directory>>
data_directory::open(const fs::path& data, const fs::path& run) {
  if (auto made = make_directory(data, 0700, 0022); !made)
    return tl::unexpected<failure>(made.error());
  std::unique_ptr<data_directory> out{new data_directory};
  auto file = data / "lock";
  out->lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (out->lock_ < 0) {
    auto why = fail_errno(ec::io, file.string() + " cannot be opened", errno);
    why.value().hint = remedy;
    return why;
  }
  // A daemon that was killed in the middle of a start leaves a child that holds
  // the lock for the moments until it ends or becomes crun.
  constexpr auto moments = std::chrono::seconds(1);
  if (!sys::wait_until(moments, [&] {
        return ::flock(out->lock_, LOCK_EX | LOCK_NB) == 0;
      })) {
    auto holder = slurp(file);
    return fail(ec::conflict,
                "the data directory " + data.string()
                    + " is in use by another caged-node"
                    + (holder.empty() ? std::string{} : ", process " + holder),
                "stop that one first, or choose another --data-dir");
  }
  auto pid = std::to_string(::getpid());
  if (::ftruncate(out->lock_, 0) != 0
      || ::pwrite(out->lock_, pid.data(), pid.size(), 0)
             != static_cast<ssize_t>(pid.size())) {
    auto why = fail_errno(ec::io, file.string() + " cannot be written", errno);
    why.value().hint = remedy;
    return why;
  }
  // A full disk is told now, not by the first sandbox.
  if (auto probed =
          write_whole(data / ".probe", std::string(probe_bytes, '\0'));
      !probed)
    return tl::unexpected<failure>(probed.error());
  ::unlink((data / ".probe").c_str());

  if (auto made = make_directory(run, 0750, 0002); !made)
    return tl::unexpected<failure>(made.error());
  if (auto given = give_to_group(run); !given)
    return tl::unexpected<failure>(given.error());

  out->id_ = slurp(data / "node-id");
  if (out->id_.size() != 8 || !is_valid_name(out->id_)) {
    if (!out->id_.empty())
      return fail(ec::io,
                  (data / "node-id").string()
                      + " does not hold a node id of 8 characters of "
                        "[a-z0-9]",
                  "restore it; without it the node does not know its own "
                  "sandboxes");
    out->id_ = random_name(8);
    if (auto written = write_whole(data / "node-id", out->id_ + "\n"); !written)
      return tl::unexpected<failure>(written.error());
    sync_directory(data);
  }
  return out;
}

} // namespace caged
