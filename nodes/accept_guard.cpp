#include "nodes/accept_guard.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
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
/// By descriptor: never more than this process may have.
std::map<int, sockaddr_storage> peers;

/// Others (HTTP) come over sockets whose owners ask for no address.
void remember(int fd, const sockaddr* address, const socklen_t* size) {
  if (!address || !size || *size > sizeof(sockaddr_storage)
      || (address->sa_family != AF_INET && address->sa_family != AF_INET6))
    return;
  std::lock_guard guard{mutex};
  std::memcpy(&peers[fd], address, *size);
}

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

std::string accepted_from(int fd) {
  sockaddr_storage peer{};
  {
    std::lock_guard guard{mutex};
    const auto it = peers.find(fd);
    if (it == peers.end())
      return {};
    peer = it->second;
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  const bool six = peer.ss_family == AF_INET6;
  if (::getnameinfo(reinterpret_cast<sockaddr*>(&peer),
                    six ? sizeof(sockaddr_in6) : sizeof(sockaddr_in),
                    host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV)
      != 0)
    return {};
  return (six ? "[" + std::string{host.data()} + "]" : host.data())
         + std::string{":"} + port.data();
}

} // namespace caged

extern "C" __attribute__((visibility("default"))) int
accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  auto got = caged::accept_now(fd, address, size, flags);
  if (got >= 0)
    caged::remember(got, address, size);
  if (got >= 0 || (errno != EMFILE && errno != ENFILE))
    return got;
  return caged::turn_away(fd, errno);
}
