#include "agent/retention.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>

namespace caged::agent {

namespace {

constexpr auto page_size = page_pool::page_size;

/// Pages of one read: 64 KiB and the rest of a page that is begun.
constexpr std::size_t pieces_max = 17;

} // namespace

std::size_t retention::allowance() const noexcept {
  auto room = pages_.empty() ? 0 : (first_ + pages_.size()) * page_size - end_;
  auto held = pages_.size();
  auto free = pool_->free_pages();
  std::size_t more = free > held ? (free - held + 1) / 2 : 0;
  if (held == 0 && free > 0)
    more = std::max<std::size_t>(more, 1);
  return static_cast<std::size_t>(room) + more * page_size;
}

/// Takes pages for up to max bytes and points `pieces` at the room.
std::size_t retention::prepare(std::size_t max, iovec* pieces,
                               std::size_t limit) {
  max = std::min(max, allowance());
  std::size_t count = 0;
  auto at = end_;
  while (max > 0 && count < limit) {
    auto index = static_cast<std::size_t>(at / page_size - first_);
    if (index == pages_.size()) {
      auto page = pool_->take();
      if (!page)
        break;
      pages_.push_back(*page);
    }
    auto inside = static_cast<std::size_t>(at % page_size);
    auto size = std::min(max, page_size - inside);
    pieces[count++] = {pool_->at(pages_[index]) + inside, size};
    at += size;
    max -= size;
  }
  return count;
}

/// Counts what was added and gives back the pages that stayed empty.
void retention::commit(std::size_t added) {
  end_ += added;
  auto needed =
      static_cast<std::size_t>((end_ + page_size - 1) / page_size - first_);
  while (pages_.size() > needed) {
    pool_->give(pages_.back());
    pages_.pop_back();
  }
  release(base_);
}

ssize_t retention::fill(int fd, std::size_t max) {
  std::array<iovec, pieces_max> pieces;
  auto count = prepare(max, pieces.data(), pieces.size());
  if (count == 0) {
    errno = ENOBUFS;
    return -1;
  }
  auto got = ::readv(fd, pieces.data(), static_cast<int>(count));
  auto error = errno;
  commit(got > 0 ? static_cast<std::size_t>(got) : 0);
  errno = error;
  return got;
}

std::size_t retention::append(const char* bytes, std::size_t size) {
  std::array<iovec, pieces_max> pieces;
  auto count = prepare(size, pieces.data(), pieces.size());
  std::size_t added = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(pieces[i].iov_base, bytes + added, pieces[i].iov_len);
    added += pieces[i].iov_len;
  }
  commit(added);
  return added;
}

void retention::release(std::uint64_t below) {
  assert(below <= end_);
  base_ = std::max(base_, below);
  auto keep_from = base_ / page_size;
  auto gone = static_cast<std::size_t>(
      std::min<std::uint64_t>(keep_from - first_, pages_.size()));
  for (std::size_t i = 0; i < gone; ++i)
    pool_->give(pages_[i]);
  pages_.erase(pages_.begin(),
               pages_.begin() + static_cast<std::ptrdiff_t>(gone));
  // With nothing to keep even the last, partly used page goes back.
  if (base_ == end_ && !pages_.empty()) {
    pool_->give(pages_.front());
    pages_.clear();
  }
  first_ = keep_from;
}

std::size_t retention::gather(std::uint64_t from, std::uint64_t to,
                              iovec* pieces, std::size_t max) const {
  assert(from >= base_ && to <= end_);
  std::size_t count = 0;
  while (from < to && count < max) {
    auto page = pages_[static_cast<std::size_t>(from / page_size - first_)];
    auto inside = static_cast<std::size_t>(from % page_size);
    auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>(to - from, page_size - inside));
    pieces[count++] = {pool_->at(page) + inside, size};
    from += size;
  }
  return count;
}

void retention::copy(std::uint64_t from, std::uint64_t to, char* into) const {
  while (from < to) {
    iovec piece;
    gather(from, to, &piece, 1);
    std::memcpy(into, piece.iov_base, piece.iov_len);
    into += piece.iov_len;
    from += piece.iov_len;
  }
}

void retention::clear() {
  for (auto page : pages_)
    pool_->give(page);
  pages_.clear();
  base_ = end_;
  first_ = end_ / page_size;
}

} // namespace caged::agent
