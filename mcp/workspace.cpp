#include "mcp/workspace.hpp"

#include <unistd.h>

namespace caged::mcp {

owned_fd::~owned_fd() {
  if (fd_ >= 0)
    ::close(fd_);
}

} // namespace caged::mcp
