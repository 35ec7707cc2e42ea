#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace caged::agent {

/// The memory of all output that is not acknowledged: a fixed number of pages,
/// so that the agent stays small whatever runs in it. Untouched pages cost
/// nothing; the last one given back is the next one taken.
class page_pool {
public:
  static constexpr std::size_t page_size = 4096;
  /// 416 KiB; with unfinished input, stdin and answers at their worst too the
  /// agent's peak stays below 3 MB (its specification allows 1 MiB here). One
  /// exec alone may hold half of it.
  static constexpr std::size_t default_pages = 104;

  explicit page_pool(std::size_t pages = default_pages);
  ~page_pool();
  page_pool(const page_pool&) = delete;
  page_pool& operator=(const page_pool&) = delete;

  std::optional<std::uint16_t> take();
  void give(std::uint16_t page);
  char* at(std::uint16_t page) const noexcept {
    return memory_ + std::size_t{page} * page_size;
  }
  std::size_t free_pages() const noexcept { return free_.size(); }
  std::size_t size() const noexcept { return pages_; }

private:
  std::size_t pages_;
  char* memory_;
  std::vector<std::uint16_t> free_;
};

} // namespace caged::agent
