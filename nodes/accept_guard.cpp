#include "nodes/accept_guard.hpp"

#include <cerrno>
#include <chrono>
#include <mutex>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nodes/logging.hpp"
#include "nodes/oci/sys.hpp"

namespace caged {

namespace {

using steady = std::chrono::steady_clock;
constexpr auto log_interval = std::chrono::seconds(10);

std::mutex mutex;
int spare = -1;
steady::time_point last_said;

/// Under the mutex.
void keep_spare() {
  if (spare < 0)
    spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int accept_now(int fd, sockaddr* address, socklen_t* size, int flags) {
  return static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
}

int turn_away(int fd, int error) {
  std::lock_guard guard{mutex};
  auto now = steady::now();
  if (last_said == steady::time_point{} || now - last_said > log_interval) {
    last_said = now;
    log_event("client_turned_away", {{"why", "no descriptor is left for it"},
                                     {"hint", sys::remedy(error)}});
  }
  if (spare >= 0)
    ::close(spare);
  spare = -1;
  if (auto got = accept_now(fd, nullptr, nullptr, SOCK_CLOEXEC); got >= 0)
    ::close(got);
  keep_spare();
  errno = ECONNABORTED;
  return -1;
}

} // namespace

void guard_accept() {
  std::lock_guard guard{mutex};
  keep_spare();
}

} // namespace caged

extern "C" __attribute__((visibility("default"))) int
accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  auto got = caged::accept_now(fd, address, size, flags);
  if (got >= 0 || (errno != EMFILE && errno != ENFILE))
    return got;
  return caged::turn_away(fd, errno);
}
