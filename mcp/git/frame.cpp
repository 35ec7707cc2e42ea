#include "mcp/git/frame.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>

namespace caged::mcp::git {

namespace {

using clock = std::chrono::steady_clock;

/// Waits until the socket is ready for `events`.
frame_end ready(int fd, short events, const frame_wait& wait) {
  for (;;) {
    int timeout = -1;
    if (wait.until != clock::time_point::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          wait.until - clock::now());
      if (left.count() <= 0)
        return frame_end::timeout;
      timeout = static_cast<int>(std::min<std::int64_t>(left.count(), INT_MAX));
    }
    std::array<pollfd, 2> fds{{{fd, events, 0}, {wait.cancel_fd, POLLIN, 0}}};
    const int n = ::poll(fds.data(), fds.size(), timeout);
    if (n < 0) {
      if (errno == EINTR)
        continue;
      return frame_end::broken;
    }
    if (fds[1].revents != 0)
      return frame_end::cancelled;
    if (fds[0].revents != 0)
      return frame_end::done;
  }
}

frame_end send_all(int fd, std::string_view bytes, const frame_wait& wait) {
  while (!bytes.empty()) {
    const auto n =
        ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR)
      continue;
    if (errno == EPIPE || errno == ECONNRESET)
      return frame_end::closed;
    if (errno != EAGAIN)
      return frame_end::broken;
    if (auto end = ready(fd, POLLOUT, wait); end != frame_end::done)
      return end;
  }
  return frame_end::done;
}

frame_end receive_all(int fd, char* to, std::size_t size,
                      const frame_wait& wait) {
  while (size > 0) {
    const auto n = ::recv(fd, to, size, MSG_DONTWAIT);
    if (n > 0) {
      to += n;
      size -= static_cast<std::size_t>(n);
      continue;
    }
    if (n == 0 || errno == ECONNRESET)
      return frame_end::closed;
    if (errno == EINTR)
      continue;
    if (errno != EAGAIN)
      return frame_end::broken;
    if (auto end = ready(fd, POLLIN, wait); end != frame_end::done)
      return end;
  }
  return frame_end::done;
}

} // namespace

frame_end send_frame(int fd, const frame& what, const frame_wait& wait) {
  const std::array<std::uint32_t, 2> sizes{
      static_cast<std::uint32_t>(what.head.size()),
      static_cast<std::uint32_t>(what.body.size())};
  std::string start(sizeof sizes, '\0');
  std::memcpy(start.data(), sizes.data(), sizeof sizes);
  start += what.head;
  if (auto end = send_all(fd, start, wait); end != frame_end::done)
    return end;
  return send_all(fd, what.body, wait);
}

frame_end receive_frame(int fd, frame& into, const frame_bounds& bounds,
                        const frame_wait& wait) {
  std::array<std::uint32_t, 2> sizes{};
  std::array<char, sizeof sizes> raw{};
  if (auto end = receive_all(fd, raw.data(), raw.size(), wait);
      end != frame_end::done)
    return end;
  std::memcpy(sizes.data(), raw.data(), raw.size());
  if (sizes[0] > bounds.head || sizes[1] > bounds.body)
    return frame_end::too_large;
  into.head.resize(sizes[0]);
  into.body.resize(sizes[1]);
  if (auto end = receive_all(fd, into.head.data(), sizes[0], wait);
      end != frame_end::done)
    return end;
  return receive_all(fd, into.body.data(), sizes[1], wait);
}

} // namespace caged::mcp::git
