#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>
#include <sys/uio.h>

#include "agent/page_pool.hpp"

namespace caged::agent {

/// The bytes of one output channel from the lowest that is not acknowledged to
/// the last one read: base() <= end(). Kept in pages of a pool.
class retention {
public:
  explicit retention(page_pool& pool) : pool_{&pool} {}
  ~retention() { clear(); }
  retention(const retention&) = delete;
  retention& operator=(const retention&) = delete;

  std::uint64_t base() const noexcept { return base_; }
  std::uint64_t end() const noexcept { return end_; }

  /// Bytes that may be added now: what one channel takes is bounded by what it
  /// leaves to the others (held pages <= free pages), so that one with a slow
  /// reader never starves the rest. An empty one may have the last page.
  std::size_t allowance() const noexcept;

  /// Reads at most `max` bytes from a pipe straight into pages. As read(2):
  /// 0 is the end, -1 an error in errno; ENOBUFS: no allowance.
  ssize_t fill(int fd, std::size_t max);

  /// Adds bytes that are in memory already. Returns how many fitted.
  std::size_t append(const char* bytes, std::size_t size);

  /// Frees what lies below offset, which must be at most end().
  void release(std::uint64_t below);

  /// The pieces of [from, to) for writev(2), at most `max` of them. Both must
  /// lie in [base(), end()]. Returns the number of pieces.
  std::size_t gather(std::uint64_t from, std::uint64_t to, iovec* pieces,
                     std::size_t max) const;

  /// Copies [from, to).
  void copy(std::uint64_t from, std::uint64_t to, char* into) const;

  void clear();

private:
  std::size_t prepare(std::size_t max, iovec* pieces, std::size_t limit);
  void commit(std::size_t added);

  page_pool* pool_;
  std::uint64_t base_ = 0;
  std::uint64_t end_ = 0;
  /// Page i holds the offsets from (first_ + i) * page_size on.
  std::vector<std::uint16_t> pages_;
  std::uint64_t first_ = 0;
};

} // namespace caged::agent
