#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace caged::mcp::git {

/// What goes between the server and a git worker, on a socket pair: a JSON
/// object and, beside it, text as it is (a diff need not be UTF-8). On the
/// wire: two lengths of 32 bits in this machine's order, then both.
struct frame {
  std::string head;
  std::string body;
};

/// Largest parts that are taken at all, bytes.
struct frame_bounds {
  std::uint32_t head = 1U << 20U;
  std::uint32_t body = 1U << 20U;
};

enum class frame_end {
  done,
  closed,    ///< The peer is gone, before or within a frame.
  timeout,   ///< The deadline passed.
  cancelled, ///< The descriptor to watch became readable.
  too_large, ///< A length above the bounds: no frame of ours.
  broken,    ///< poll, send or recv failed otherwise.
};

/// How long to wait and what else ends the wait. Any thread.
struct frame_wait {
  std::chrono::steady_clock::time_point until =
      std::chrono::steady_clock::time_point::max();
  int cancel_fd = -1;
};

/// `fd` is a stream socket, blocking or not: calls never block in it.
frame_end send_frame(int fd, const frame& what, const frame_wait& wait);
frame_end receive_frame(int fd, frame& into, const frame_bounds& bounds,
                        const frame_wait& wait);

} // namespace caged::mcp::git
