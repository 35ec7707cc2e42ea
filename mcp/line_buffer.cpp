#include "mcp/line_buffer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include <unistd.h>

namespace caged::mcp {

namespace {
constexpr std::size_t chunk = 128U << 10U;
} // namespace

line_buffer::~line_buffer() {
  std::free(data_);
}

bool line_buffer::reserve(std::size_t room) {
  if (begin_ > 0) {
    std::memmove(data_, data_ + begin_, end_ - begin_);
    searched_ -= begin_;
    end_ -= begin_;
    begin_ = 0;
  }
  if (size_ - end_ >= room)
    return true;
  // realloc(3) moves pages of a large block instead of copying them.
  const auto size =
      std::max(end_ + room, std::min(size_ * 2, size_ + (4U << 20U)));
  auto* grown = static_cast<char*>(std::realloc(data_, size));
  if (grown == nullptr)
    return false;
  data_ = grown;
  size_ = size;
  return true;
}

ssize_t line_buffer::fill(int fd) {
  if (!reserve(chunk))
    throw std::bad_alloc{};
  const auto n = ::read(fd, data_ + end_, size_ - end_);
  if (n > 0)
    end_ += static_cast<std::size_t>(n);
  return n;
}

std::optional<std::string_view> line_buffer::next() {
  too_long_ = false;
  for (;;) {
    const auto* found = end_ > searched_ ? static_cast<const char*>(std::memchr(
                            data_ + searched_, '\n', end_ - searched_))
                                         : nullptr;
    if (found == nullptr) {
      searched_ = end_;
      if (!skipping_ && end_ - begin_ <= line_most_)
        return std::nullopt;
      // Reported where it begins, not where it ends: that may never come.
      begin_ = searched_ = end_ = 0;
      too_long_ = !skipping_;
      skipping_ = true;
      done();
      if (too_long_)
        return std::string_view{};
      return std::nullopt;
    }
    const auto at = static_cast<std::size_t>(found - data_);
    const std::string_view line{data_ + begin_, at - begin_};
    begin_ = searched_ = at + 1;
    if (skipping_) {
      skipping_ = false;
      continue;
    }
    too_long_ = line.size() > line_most_;
    return too_long_ ? std::string_view{} : line;
  }
}

void line_buffer::done() {
  if (size_ <= 8 * chunk || end_ - begin_ > chunk)
    return;
  auto* smaller = static_cast<char*>(std::malloc(2 * chunk));
  if (smaller == nullptr)
    return;
  if (end_ > begin_)
    std::memcpy(smaller, data_ + begin_, end_ - begin_);
  std::free(data_);
  data_ = smaller;
  size_ = 2 * chunk;
  searched_ -= begin_;
  end_ -= begin_;
  begin_ = 0;
}

} // namespace caged::mcp
