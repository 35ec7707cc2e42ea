#include "cli/exec_io.hpp"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace caged::cli {

descriptor_sink::descriptor_sink(int fd) : fd_{fd} {
  struct stat about {};
  if (::fstat(fd, &about) != 0)
    return;
  regular_ = S_ISREG(about.st_mode);
  if (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode)) {
    auto path = "/proc/self/fd/" + std::to_string(fd);
    own_ = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own_ >= 0)
      fd_ = own_;
  }
}

descriptor_sink::~descriptor_sink() {
  if (own_ >= 0)
    ::close(own_);
}

ssize_t descriptor_sink::write(std::string_view bytes) {
  // A description that may block takes PIPE_BUF bytes when poll says it is
  // writable (pipe(7)).
  auto most = own_ >= 0 || regular_ ? bytes.size()
                                    : std::min<std::size_t>(bytes.size(), 4096);
  auto n = ::write(fd_, bytes.data(), most);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return 0;
  return n;
}

ssize_t descriptor_source::read(char* to, std::size_t most) {
  return ::read(fd_, to, most);
}

ssize_t kept_bytes::write(std::string_view bytes) {
  auto room = std::min(bytes.size(), most_ - bytes_.size());
  bytes_.append(bytes.substr(0, room));
  cut_ = cut_ || room < bytes.size();
  return static_cast<ssize_t>(bytes.size());
}

} // namespace caged::cli
