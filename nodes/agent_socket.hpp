#pragma once

#include <cstdint>
#include <utility>

#include <unistd.h>

#include "actors/runtime.hpp"
#include "messages/error.hpp"

namespace caged {

/// A file descriptor that is closed with its owner.
class socket_fd {
public:
  socket_fd() = default;
  explicit socket_fd(int fd) noexcept : fd_{fd} {}
  socket_fd(socket_fd&& other) noexcept : fd_{other.release()} {}
  socket_fd& operator=(socket_fd&& other) noexcept {
    if (this != &other) {
      if (fd_ >= 0)
        ::close(fd_);
      fd_ = other.release();
    }
    return *this;
  }
  ~socket_fd() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

private:
  int fd_ = -1;
};

/// Connects to the agent that `where` names and makes sure that it is the
/// agent: beneath_root, the path is looked for beneath the init's root without
/// following any link, must be a socket, and whoever listens on it must be that
/// very init (SO_PEERCRED, unix(7): the pid at the time of listen(2), as our
/// own PID namespace numbers it). Otherwise the peer must have our own uid.
///
/// Never blocks: a Unix socket connects at once or not at all. The socket is
/// non-blocking and close-on-exec. Errors: agent_lost (nobody there, not yet
/// there, too busy: try again), denied ("the socket is not the agent's own:
/// ..."), io.
result<socket_fd> connect_agent(const agent_address& where);

/// Field 22 of /proc/PID/stat (proc(5)), clock ticks since boot; 0 when there
/// is no such process.
std::uint64_t start_time_of(std::int32_t pid);

} // namespace caged
