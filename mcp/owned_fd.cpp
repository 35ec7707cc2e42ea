#include <unistd.h>

#include "mcp/workspace.hpp"

namespace caged::mcp {

owned_fd::~owned_fd() {
  if (fd_ >= 0)
    ::close(fd_);
}

} // namespace caged::mcp
