#include "nodes/agent_socket.hpp"

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "messages/text.hpp"

namespace caged {

namespace {

tl::unexpected<failure> denied(const std::string& why) {
  return fail(ec::denied, "the socket is not the agent's own: " + why);
}

tl::unexpected<failure> gone(std::int32_t pid) {
  return fail(ec::agent_lost, "the sandbox's init (process "
                                  + std::to_string(pid) + ") has ended");
}

/// glibc 2.36 has no wrapper for openat2(2).
int openat2_beneath(int root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(
      ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how));
}

/// The socket file as an O_PATH descriptor, whatever the tenant, who is root
/// in there, has put in its place.
result<socket_fd> find_beneath(const agent_address& where) {
  auto root_path = "/proc/" + std::to_string(where.init.pid) + "/root";
  socket_fd root{::open(root_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (root.get() < 0) {
    if (errno == ENOENT || errno == ESRCH)
      return gone(where.init.pid);
    return fail_errno(ec::io, "cannot open " + root_path, errno);
  }
  // An absolute path would leave the root; ours is meant from there.
  auto path = where.path;
  path.erase(0, path.find_first_not_of('/'));
  socket_fd found{openat2_beneath(root.get(), path)};
  if (found.get() >= 0)
    return found;
  auto shown = quoted("/" + path);
  switch (errno) {
  case ENOENT:
    return fail(ec::agent_lost,
                "there is no agent socket " + shown + " in the sandbox (yet)");
  case ELOOP:
    return denied(shown + " leads over a symbolic link");
  case EXDEV:
    return denied(shown + " leads out of the sandbox");
  case ENOTDIR:
    return denied("a part of " + shown + " is no directory");
  case EAGAIN: // a rename raced with the look-up, openat2(2)
    return fail(ec::agent_lost,
                "the agent socket " + shown + " is being moved about");
  default:
    return fail_errno(ec::io, "cannot look for " + shown + " in the sandbox",
                      errno);
  }
}

result<socket_fd> connect_to(const std::string& path,
                             const std::string& shown) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path)
    return fail(ec::io,
                "the socket path " + shown + " is longer than "
                    + std::to_string(sizeof to.sun_path - 1) + " bytes",
                "use a shorter --run-dir");
  std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
  socket_fd fd{
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (fd.get() < 0)
    return fail_errno(ec::io, "cannot make a socket for the agent", errno);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0)
    return fd;
  switch (errno) {
  case ENOENT:
  case ECONNREFUSED:
  case EAGAIN: // the backlog is full, unix(7)
    return fail_errno(ec::agent_lost, "the agent does not answer on " + shown,
                      errno);
  case EPROTOTYPE:
    return denied(shown + " is no stream socket");
  default:
    return fail_errno(ec::io, "cannot connect to " + shown, errno);
  }
}

result<ucred> peer_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail_errno(ec::io, "cannot tell who listens on the agent socket",
                      errno);
  return peer;
}

} // namespace

std::uint64_t start_time_of(std::int32_t pid) {
  auto path = "/proc/" + std::to_string(pid) + "/stat";
  socket_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.get() < 0)
    return 0;
  char buffer[1024];
  auto n = ::read(fd.get(), buffer, sizeof buffer);
  if (n <= 0)
    return 0;
  std::string_view text{buffer, static_cast<std::size_t>(n)};
  // The name in parentheses may hold spaces and parentheses: fields count from
  // behind its last one, which ends field 2.
  auto at = text.rfind(')');
  if (at == std::string_view::npos)
    return 0;
  text.remove_prefix(at + 1);
  for (int field = 3; field <= 22; ++field) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    if (field < 22)
      text.remove_prefix(std::min(text.find(' '), text.size()));
  }
  std::uint64_t out = 0;
  for (char c : text.substr(0, text.find(' '))) {
    if (c < '0' || c > '9')
      return 0;
    out = out * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return out;
}

result<socket_fd> connect_agent(const agent_address& where) {
  if (!where.beneath_root) {
    auto fd = connect_to(where.path, quoted(where.path));
    if (!fd)
      return fd;
    auto peer = peer_of(fd->get());
    if (!peer)
      return tl::unexpected<failure>(peer.error());
    if (peer->uid != ::geteuid())
      return denied("it belongs to uid " + std::to_string(peer->uid));
    return fd;
  }
  // The pid may have been given to another process: before, whose root would
  // be searched; after, whom the peer's pid would name.
  auto same = [&] {
    auto now = start_time_of(where.init.pid);
    return now != 0 && now == where.init.start_time;
  };
  if (where.init.pid <= 0 || !same())
    return gone(where.init.pid);
  auto found = find_beneath(where);
  if (!found)
    return found;
  struct stat what {};
  if (::fstat(found->get(), &what) != 0)
    return fail_errno(ec::io, "cannot look at the agent socket", errno);
  auto shown = quoted(where.path);
  if (S_ISLNK(what.st_mode))
    return denied(shown + " is a symbolic link");
  if (!S_ISSOCK(what.st_mode))
    return denied(shown + " is no socket");
  // What was checked is what is connected to: through the descriptor.
  auto fd = connect_to("/proc/self/fd/" + std::to_string(found->get()), shown);
  if (!fd)
    return fd;
  auto peer = peer_of(fd->get());
  if (!peer)
    return tl::unexpected<failure>(peer.error());
  if (!same())
    return gone(where.init.pid);
  if (peer->pid != where.init.pid)
    return denied("process " + std::to_string(peer->pid)
                  + " listens on it, the sandbox's init is process "
                  + std::to_string(where.init.pid));
  return fd;
}

} // namespace caged
