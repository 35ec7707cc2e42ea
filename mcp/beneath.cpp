#include "mcp/beneath.hpp"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include "mcp/open_beneath.hpp"

namespace caged::mcp {

owned_fd open_unlinked(int folder, const char* path, int flags) {
  return owned_fd{open_beneath(folder, path,
                               flags | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK, 0,
                               RESOLVE_NO_SYMLINKS)};
}

bool read_regular(int fd, std::size_t most, std::string& to) {
  to.clear();
  struct stat about {};
  if (::fstat(fd, &about) != 0)
    return false;
  if (!S_ISREG(about.st_mode)) {
    errno = EINVAL;
    return false;
  }
  if (static_cast<std::uint64_t>(about.st_size) > most) {
    errno = EFBIG;
    return false;
  }
  // One byte more than it should have, to see that this was all; files of
  // /proc say 0 and grow.
  auto room = static_cast<std::size_t>(about.st_size) + 1;
  std::size_t used = 0;
  for (;;) {
    to.resize(used + room);
    const auto n = ::read(fd, to.data() + used, room);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      to.clear();
      return false;
    }
    used += static_cast<std::size_t>(n);
    if (used > most) {
      to.clear();
      errno = EFBIG;
      return false;
    }
    if (n == 0)
      break;
    room -= static_cast<std::size_t>(n);
    if (room == 0)
      room = std::min<std::size_t>(most + 1 - used, 64U << 10U);
  }
  to.resize(used);
  return true;
}

} // namespace caged::mcp
