#include "messages/whole_file.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    auto n = ::write(fd, text.data(), text.size());
    if (n > 0)
      text.remove_prefix(static_cast<std::size_t>(n));
    else if (errno != EINTR)
      return false;
  }
  return ::fsync(fd) == 0;
}

/// link(2) and not rename(2): it refuses what is there, whoever made it and
/// when.
bool put(const fs::path& temporary, const fs::path& path, if_there then) {
  if (then == if_there::replace)
    return ::rename(temporary.c_str(), path.c_str()) == 0;
  if (::link(temporary.c_str(), path.c_str()) != 0)
    return false;
  ::unlink(temporary.c_str());
  return true;
}

} // namespace

result<void> write_whole_file(const fs::path& path, std::string_view text,
                              mode_t mode, if_there then) {
  auto temporary = path;
  temporary += "." + random_name(8);
  const int fd =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  // The umask may have taken bits away that the mode wants.
  bool good = fd >= 0 && ::fchmod(fd, mode) == 0 && write_all(fd, text);
  good = good && put(temporary, path, then);
  const int error = errno;
  if (fd >= 0)
    ::close(fd);
  if (good)
    return {};
  if (fd >= 0)
    ::unlink(temporary.c_str());
  if (error == EEXIST && then == if_there::refuse)
    return fail(ec::conflict, path.string() + " is there already");
  return fail_errno(ec::io, path.string() + " cannot be written", error);
}

} // namespace caged
