#include "tests/support/pty.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace caged::test {

pty::pty() {
  master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  std::array<char, 64> name{};
  if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0
      || ::ptsname_r(master_, name.data(), name.size()) != 0)
    throw std::system_error(errno, std::generic_category(), "posix_openpt");
  path_ = name.data();
  slave_ = ::open(path_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  if (slave_ < 0 || stop_ < 0)
    throw std::system_error(errno, std::generic_category(), path_);
  reader_ = std::thread{[this] { read_on(); }};
}

pty::~pty() {
  std::uint64_t one = 1;
  [[maybe_unused]] auto told = ::write(stop_, &one, sizeof one);
  reader_.join();
  for (int fd : {master_, slave_, stop_})
    ::close(fd);
}

void pty::read_on() {
  std::array<char, 65536> buffer;
  for (;;) {
    std::array<pollfd, 2> on = {pollfd{master_, POLLIN, 0},
                                pollfd{stop_, POLLIN, 0}};
    if (::poll(on.data(), on.size(), -1) < 0 && errno != EINTR)
      return;
    if (on[1].revents != 0)
      return;
    if (on[0].revents == 0)
      continue;
    auto n = ::read(master_, buffer.data(), buffer.size());
    if (n <= 0)
      return;
    std::lock_guard guard{mutex_};
    out_.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

void pty::type(std::string_view keys) {
  [[maybe_unused]] auto typed = ::write(master_, keys.data(), keys.size());
}

void pty::resize(unsigned short rows, unsigned short cols) {
  const winsize size{rows, cols, 0, 0};
  if (::ioctl(master_, TIOCSWINSZ, &size) != 0)
    throw std::system_error(errno, std::generic_category(), path_);
}

std::string pty::out() const {
  std::lock_guard guard{mutex_};
  return out_;
}

} // namespace caged::test
