#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace caged::mcp {

/// The first `keep` of many paths in the order of their bytes, behind `after`,
/// and how many there were in all. Holds at most a few times `keep` of them in
/// one piece of memory, however many are added. Not for several threads: one
/// per thread, merged.
class path_page {
public:
  /// `after` empty: from the beginning.
  path_page(std::size_t keep, std::string after)
      : keep_{keep}, after_{std::move(after)} {}
  void add(std::string_view path);
  void merge(const path_page& other);
  /// All that were added.
  std::uint64_t total() const { return total_; }
  /// Those behind `after`.
  std::uint64_t behind() const { return behind_; }
  /// At most `keep`, sorted; valid until the next add.
  std::vector<std::string_view> sorted();

private:
  struct piece {
    std::uint32_t at, size;
  };
  std::string_view text(piece p) const {
    return std::string_view{arena_}.substr(p.at, p.size);
  }
  void keep(std::string_view path);
  void prune();

  std::size_t keep_;
  std::string after_;
  std::string arena_;
  std::vector<piece> pieces_;
  std::string worst_; ///< What is not smaller cannot be in the page.
  std::uint64_t total_ = 0, behind_ = 0;
};

} // namespace caged::mcp
