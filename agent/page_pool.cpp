#include "agent/page_pool.hpp"

#include <new>

#include <sys/mman.h>

namespace caged::agent {

page_pool::page_pool(std::size_t pages) : pages_{pages} {
  auto* memory = ::mmap(nullptr, pages * page_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::bad_alloc{};
  memory_ = static_cast<char*>(memory);
  free_.reserve(pages);
  for (auto i = pages; i > 0; --i)
    free_.push_back(static_cast<std::uint16_t>(i - 1));
}

page_pool::~page_pool() {
  ::munmap(memory_, pages_ * page_size);
}

std::optional<std::uint16_t> page_pool::take() {
  if (free_.empty())
    return std::nullopt;
  auto page = free_.back();
  free_.pop_back();
  return page;
}

void page_pool::give(std::uint16_t page) {
  free_.push_back(page);
}

} // namespace caged::agent
