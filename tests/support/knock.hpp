#pragma once

#include <cerrno>
#include <cstdint>
#include <string>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/process.hpp"

namespace caged::test {

/// A TCP connection of somebody who speaks none of our protocols; closed at the
/// end.
class knock {
public:
  knock(const std::string& address, std::uint16_t port)
      : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    good_ = ::inet_pton(AF_INET, address.c_str(), &to.sin_addr) == 1
            && ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~knock() { ::close(fd_); }
  knock(const knock&) = delete;
  knock& operator=(const knock&) = delete;

  bool good() const { return good_; }
  /// As much as goes out at once: the other side may hang up in the middle.
  void say(const std::string& bytes) const {
    (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  /// Whether the other side hung up within 10 s.
  bool over() const {
    return eventually(10s, [&] {
      char byte[256];
      const auto got = ::recv(fd_, byte, sizeof byte, MSG_DONTWAIT);
      return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    });
  }

private:
  int fd_;
  bool good_ = false;
};

/// Bytes that no protocol of ours begins with; the same in every run.
inline std::string noise(std::uint32_t& state, std::size_t size) {
  std::string out(size, '\0');
  for (auto& each : out) {
    state = state * 1664525U + 1013904223U;
    each = static_cast<char>(state >> 24U);
  }
  return out;
}

/// ZeroMQ's greeting with CURVE, which has 64 bytes.
inline std::string greeting() {
  std::string out = {'\xff', 0, 0, 0, 0, 0, 0, 0, 0, '\x7f', 3, 1};
  out += "CURVE";
  out.resize(64, '\0');
  return out;
}

} // namespace caged::test
