#include "mcp/tools/file_lines.hpp"

#include <cerrno>

#include "mcp/tools/file_common.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t step = 64 * 1024;

} // namespace

bool line_reader::fill() {
  buffer_.clear();
  at_ = 0;
  if (!read_some(fd_, buffer_, step))
    error_ = errno;
  return !buffer_.empty();
}

result<void> line_reader::state(const call& in) const {
  if (error_ != 0)
    return fail_errno(ec::io, "cannot read the file", error_);
  if (in.cancelled())
    return fail(ec::unavailable, "the call was cancelled");
  return {};
}

result<void> line_reader::skip(std::int64_t count, call& in) {
  bool open = false; // bytes of a line whose end was not seen yet
  while (skipped_ < count) {
    if (at_ == buffer_.size()) {
      const bool filled = fill();
      if (auto good = state(in); !good)
        return good;
      if (!filled)
        break;
    }
    const auto text = rest();
    const auto end = text.find('\n');
    open = end == std::string_view::npos;
    advance(open ? text.size() : end + 1);
    if (!open)
      ++skipped_;
  }
  if (open)
    ++skipped_;
  return {};
}

result<void> line_reader::take(std::int64_t count, std::size_t most,
                               std::string& out, call& in) {
  while (count > 0 && out.size() <= most) {
    if (at_ == buffer_.size()) {
      const bool filled = fill();
      if (auto good = state(in); !good)
        return good;
      if (!filled)
        break;
    }
    const auto text = rest();
    const auto end = text.find('\n');
    const bool open = end == std::string_view::npos;
    const auto size = open ? text.size() : end + 1;
    out.append(text.substr(0, size));
    advance(size);
    if (!open)
      --count;
  }
  return {};
}

bool line_reader::more() {
  return at_ < buffer_.size() || fill();
}

std::int64_t count_lines(std::string_view text) noexcept {
  // memchr(3) takes many bytes at once, which std::count does not at -O2.
  std::int64_t ends = 0;
  for (auto at = text.find('\n'); at != std::string_view::npos;
       at = text.find('\n', at + 1))
    ++ends;
  return ends + (text.empty() || text.back() == '\n' ? 0 : 1);
}

} // namespace caged::mcp
