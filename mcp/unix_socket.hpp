#pragma once

#include <string>

#include <sys/types.h>

#include "mcp/workspace.hpp"

namespace caged::mcp {

/// A Unix socket that listens at a path, for its owner alone (mode 0600). The
/// path goes with it.
class unix_listener {
public:
  /// `path` is absolute and shorter than sun_path (unix(7)); folders on its way
  /// are made (0700). What a server that died left there is replaced. Errors:
  /// conflict (somebody listens there, or it is no socket), denied, io.
  static result<unix_listener> listen(const std::string& path);
  unix_listener() = default;
  ~unix_listener() { remove(); }
  unix_listener(unix_listener&&) noexcept;
  unix_listener& operator=(unix_listener&&) noexcept;

  /// The descriptor, for whoever accepts; non-blocking. Once.
  int release() { return fd_.release(); }
  /// Removes the path, if it is still this socket. To be called while the
  /// socket listens: then nobody has replaced it. Idempotent.
  void remove();

private:
  std::string path_; ///< Empty: nothing to remove.
  owned_fd fd_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

} // namespace caged::mcp
