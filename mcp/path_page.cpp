#include "mcp/path_page.hpp"

#include <algorithm>

namespace caged::mcp {

void path_page::add(std::string_view path) {
  ++total_;
  if (!after_.empty() && path <= after_)
    return;
  ++behind_;
  keep(path);
}

void path_page::keep(std::string_view path) {
  if (!worst_.empty() && path >= worst_)
    return;
  pieces_.push_back({static_cast<std::uint32_t>(arena_.size()),
                     static_cast<std::uint32_t>(path.size())});
  arena_ += path;
  // Some slack, so that the cost of pruning is shared by many; the arena stays
  // far below 4 GiB as paths are at most 4 KiB.
  if (pieces_.size() >= 2 * keep_ + 4096)
    prune();
}

void path_page::prune() {
  const auto less = [this](piece a, piece b) { return text(a) < text(b); };
  if (pieces_.size() > keep_ && keep_ > 0) {
    std::nth_element(pieces_.begin(),
                     pieces_.begin() + static_cast<std::ptrdiff_t>(keep_ - 1),
                     pieces_.end(), less);
    pieces_.resize(keep_);
    worst_ = text(pieces_.back());
  } else if (keep_ == 0) {
    pieces_.clear();
  }
  std::string packed;
  for (auto& each : pieces_) {
    const auto at = packed.size();
    packed += text(each);
    each.at = static_cast<std::uint32_t>(at);
  }
  arena_ = std::move(packed);
}

void path_page::merge(const path_page& other) {
  total_ += other.total_;
  behind_ += other.behind_;
  for (const auto& each : other.pieces_)
    keep(other.text(each));
}

std::vector<std::string_view> path_page::sorted() {
  if (pieces_.size() > keep_)
    prune();
  std::vector<std::string_view> out;
  out.reserve(pieces_.size());
  for (const auto& each : pieces_)
    out.push_back(text(each));
  std::sort(out.begin(), out.end());
  return out;
}

} // namespace caged::mcp
