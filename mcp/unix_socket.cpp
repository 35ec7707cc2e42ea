#include "mcp/unix_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

/// Another server that starts in the same folder is done after a few calls of
/// the system.
constexpr int lock_tries = 100;
constexpr std::chrono::milliseconds lock_pause{10};

tl::unexpected<failure> failed(const std::string& what, int error) {
  const auto code =
      error == EACCES || error == EPERM || error == EROFS ? ec::denied : ec::io;
  auto out = fail_errno(code, what, error);
  out.value().hint = "--socket takes a path in a folder that may be written to";
  return out;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  std::memcpy(out.sun_path, path.data(),
              std::min(path.size(), sizeof out.sun_path - 1));
  return out;
}

result<void> make_folders(const std::string& path) {
  for (auto at = path.find('/', 1); at != std::string::npos;
       at = path.find('/', at + 1)) {
    const auto part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST)
      return failed("cannot make the folder " + quoted(part), errno);
  }
  return {};
}

/// Two servers that start at once must not both find the path stale: the lock
/// of its folder, for as long as this lives. Where there are no such locks
/// (some network file systems) it goes without.
owned_fd lock_folder(const std::string& folder) {
  owned_fd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  for (int i = 0; fd && i < lock_tries; ++i) {
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
      break;
    std::this_thread::sleep_for(lock_pause);
  }
  return fd;
}

/// Makes sure that nothing is at the path.
result<void> clear(const std::string& path, const sockaddr_un& address) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) != 0)
    return errno == ENOENT ? result<void>{}
                           : failed("cannot look at " + quoted(path), errno);
  if (!S_ISSOCK(there.st_mode))
    return fail(ec::conflict, quoted(path) + " is there and is no socket",
                "give another path with --socket, or remove it");
  const owned_fd probe{
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!probe)
    return failed("cannot make a socket", errno);
  // EAGAIN: its queue is full, so it lives.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof address)
          == 0
      || errno == EAGAIN)
    return fail(ec::conflict, "a server listens on " + quoted(path),
                "end it, or give another path with --socket");
  if (errno != ECONNREFUSED && errno != ENOENT)
    return failed("cannot replace " + quoted(path), errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return failed("cannot replace " + quoted(path), errno);
  return {};
}

} // namespace

result<unix_listener> unix_listener::listen(const std::string& path) {
  if (auto made = make_folders(path); !made)
    return tl::unexpected(made.error());
  const auto address = address_of(path);
  const auto lock = lock_folder(path.substr(0, path.rfind('/') + 1));
  if (auto free = clear(path, address); !free)
    return tl::unexpected(free.error());
  unix_listener out;
  out.fd_ = owned_fd{
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!out.fd_)
    return failed("cannot make a socket", errno);
  // Linux gives the path the mode that the socket has when it is bound, less
  // the umask: so it is never open to others, and the umask of other threads
  // stays.
  const auto fd = out.fd_.get();
  struct stat made {};
  if (::fchmod(fd, 0600) != 0
      || ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address)
             != 0)
    return failed("cannot listen on " + quoted(path), errno);
  out.path_ = path;
  if (::lstat(path.c_str(), &made) == 0) {
    out.device_ = made.st_dev;
    out.inode_ = made.st_ino;
  }
  if (::listen(fd, SOMAXCONN) != 0)
    return failed("cannot listen on " + quoted(path), errno);
  return out;
}

unix_listener::unix_listener(unix_listener&& other) noexcept
    : path_{std::exchange(other.path_, {})},
      fd_{std::move(other.fd_)},
      device_{other.device_},
      inode_{other.inode_} {}

unix_listener& unix_listener::operator=(unix_listener&& other) noexcept {
  remove();
  path_ = std::exchange(other.path_, {});
  fd_ = std::move(other.fd_);
  device_ = other.device_;
  inode_ = other.inode_;
  return *this;
}

void unix_listener::remove() {
  const auto path = std::exchange(path_, {});
  struct stat there {};
  if (!path.empty() && ::lstat(path.c_str(), &there) == 0
      && there.st_dev == device_ && there.st_ino == inode_)
    ::unlink(path.c_str());
}

} // namespace caged::mcp
