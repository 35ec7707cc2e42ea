#include "mcp/call.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

namespace caged::mcp {

cancellation::~cancellation() {
  if (fd_ >= 0)
    ::close(fd_);
}

void cancellation::cancel() noexcept {
  cancelled_.store(true, std::memory_order_seq_cst);
  if (const auto fd = fd_.load(std::memory_order_seq_cst); fd >= 0)
    ::eventfd_write(fd, 1);
}

int cancellation::fd() noexcept {
  if (const auto fd = fd_.load(std::memory_order_seq_cst); fd >= 0)
    return fd;
  auto made = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (made < 0)
    return -1;
  auto none = -1;
  if (!fd_.compare_exchange_strong(none, made)) {
    ::close(made);
    made = none;
  }
  // Cancelled between the two: nobody saw the descriptor then.
  if (cancelled_.load(std::memory_order_seq_cst))
    ::eventfd_write(made, 1);
  return made;
}

result<json> call::ask(std::string_view, json) {
  return fail(ec::unsupported, "this client cannot be asked");
}

} // namespace caged::mcp
