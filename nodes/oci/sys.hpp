#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "messages/error.hpp"

/// Thin wrappers of system calls that the drivers share.
namespace caged::sys {

/// Owns a file descriptor.
class unique_fd {
public:
  unique_fd() = default;
  explicit unique_fd(int fd) noexcept : fd_{fd} {}
  unique_fd(unique_fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~unique_fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

private:
  int fd_ = -1;
};

/// What an operator does about an errno that says the host has run out of
/// something; empty for others.
std::string remedy(int error);

/// fail_errno with that remedy as the hint.
tl::unexpected<failure> fail_host(ec code, std::string message, int error);

/// Error: resource, when at most `reserve` more descriptors may be opened.
result<void> descriptors_left(unsigned reserve);

/// The whole of a small file, as /proc, /sys and cgroup files are; nothing
/// when it cannot be opened or read.
std::optional<std::string> read_small(const std::filesystem::path& path);

/// Writes an existing file (a cgroup file) in one write(2). 0 or errno.
int write_small(const std::filesystem::path& path, std::string_view text);

/// Creates or replaces a file. Error: io, naming the path.
result<void> write_file(const std::filesystem::path& path,
                        std::string_view text, mode_t mode);

/// pidfd_open(2), close-on-exec. Empty: no such process.
unique_fd pidfd_open(pid_t pid);

/// pidfd_send_signal(2). 0 or errno.
int pidfd_signal(int pidfd, int signal);

/// Field 22 of /proc/PID/stat (proc(5)); 0 when there is no such process or
/// it is a zombie.
std::uint64_t start_time(pid_t pid);

/// As start_time, for zombies too.
std::uint64_t start_time_any(pid_t pid);

/// Waits until the pidfd's process has ended. False: not before the deadline.
bool wait_end(int pidfd, std::chrono::milliseconds timeout);

/// Asks `done` until it is true, a millisecond apart and then up to 10 ms
/// apart; false at the deadline. For the kernel's files that cannot be polled.
bool wait_until(std::chrono::milliseconds timeout,
                const std::function<bool()>& done);

/// Sets the host name in the process's UTS namespace (setns(2), sethostname(2),
/// in a thread of its own: the caller's stays where it is). Errors: not_found,
/// resource.
result<void> set_host_name(pid_t pid, const std::string& name);

struct command_result {
  int status = -1;    ///< as waitpid gives it
  std::string output; ///< stdout and stderr, at most 1 MiB
};

/// Runs a program looked up in PATH with stdin /dev/null. Errors: host_setup
/// when it does not exist, timeout.
result<command_result> run(const std::vector<std::string>& argv,
                           std::chrono::milliseconds timeout);

} // namespace caged::sys
