#include "mcp/open_beneath.hpp"

#include <cerrno>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace caged::mcp {

namespace {

/// A rename anywhere in the system makes a look-up with ".." answer EAGAIN
/// (openat2(2)): somebody who renames all the time must not keep us for ever.
constexpr int tries = 128;

} // namespace

int open_beneath(int root, const char* path, int flags, mode_t mode,
                 std::uint64_t also) noexcept {
  open_how how{};
  // openat2 refuses what open ignores: other flags beside O_PATH, a mode
  // without a file to be made.
  if ((flags & O_PATH) != 0)
    flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
  const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = makes ? mode & 07777U : 0U;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | also;
  for (int turn = 1;; ++turn) {
    const auto fd =
        static_cast<int>(::syscall(SYS_openat2, root, path, &how, sizeof how));
    if (fd >= 0 || turn == tries)
      return fd;
    const bool again =
        errno == EINTR || (errno == EAGAIN && (also & RESOLVE_CACHED) == 0);
    if (!again)
      return fd;
  }
}

} // namespace caged::mcp
