#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <sys/stat.h>

#include "messages/error.hpp"

namespace caged::mcp {

/// A descriptor that is closed with its owner.
class owned_fd {
public:
  owned_fd() = default;
  explicit owned_fd(int fd) noexcept : fd_{fd} {}
  owned_fd(owned_fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  owned_fd& operator=(owned_fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  owned_fd(const owned_fd&) = delete;
  owned_fd& operator=(const owned_fd&) = delete;
  ~owned_fd();
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }

private:
  int fd_ = -1;
};

/// The one folder that tools may touch. Every path is resolved by the kernel
/// beneath it (openat2(2), RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS): "..",
/// absolute paths and links that lead out are refused there, also while
/// somebody swaps a link. Links that stay inside are followed. There is no
/// check before a use: what was opened is what is used.
///
/// Paths of callers are relative to the folder, or absolute beneath its real
/// path (clients send both); "" and "." are the folder itself. Immutable, any
/// thread.
class workspace {
public:
  /// Error: not_found, bad_request (no folder), unsupported (no openat2).
  static result<workspace> open(const std::string& folder);

  /// The folder's real, absolute path, for messages and file:// URIs.
  const std::string& root() const { return root_; }
  /// The folder itself (O_PATH).
  int root_fd() const { return fd_.get(); }

  /// `path` as one relative to the folder, "." for itself: only text, nothing
  /// is looked up. Error: bad_request (NUL, too long, absolute and elsewhere).
  result<std::string> relative(std::string_view path) const;

  /// open(2) with these flags (O_CLOEXEC and O_NOCTTY are added, O_NONBLOCK
  /// also: a FIFO does not block) beneath the folder. Errors: denied (leads
  /// out), not_found, bad_request (a folder where a file is wanted, ...), io.
  result<owned_fd> open_at(std::string_view path, int flags,
                           mode_t mode = 0) const;

  /// The folder that holds `path`'s last component, and that component, for
  /// *at calls (rename, unlink, mkdir). Error: as open_at; bad_request for the
  /// workspace itself and a last component "..".
  struct place {
    owned_fd folder;
    std::string name;
  };
  result<place> parent_of(std::string_view path) const;

  /// As parent_of; missing folders are made (0777 minus umask), each beneath
  /// the one before.
  result<place> make_parent_of(std::string_view path) const;

private:
  owned_fd fd_;
  std::string root_;
  std::string given_; ///< Another name of root_, from its user; may be empty.
};

/// What errno says about a path of a caller: the sentence and code that all
/// tools give. EXDEV and ELOOP are denied, as openat2 uses them.
tl::unexpected<failure> path_error(std::string_view path, int error);

} // namespace caged::mcp
