#include "mcp/kept_output.hpp"

#include <algorithm>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t piece_bytes = 64U << 10U;

/// What a first byte promises; 1 for one that promises nothing.
std::size_t promised(unsigned char first) noexcept {
  return first >= 0xf0   ? (first <= 0xf4 ? 4 : 1)
         : first >= 0xe0 ? 3
         : first >= 0xc2 ? 2
                         : 1;
}

bool follows(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80;
}

} // namespace

std::size_t whole_utf8(std::string_view bytes) noexcept {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size());
       ++back) {
    const auto byte = bytes[bytes.size() - back];
    if (!follows(byte))
      return promised(static_cast<unsigned char>(byte)) > back
                 ? bytes.size() - back
                 : bytes.size();
  }
  return bytes.size();
}

std::size_t utf8_tail(std::string_view bytes) noexcept {
  std::size_t n = 0;
  while (n < std::min<std::size_t>(3, bytes.size()) && follows(bytes[n]))
    ++n;
  return n;
}

std::string valid_utf8(std::string bytes) {
  const std::string_view all = bytes;
  std::string out;
  std::size_t good = 0; // [good, at) is valid and not yet in `out`
  bool broken = false;
  for (std::size_t at = 0; at < all.size();) {
    if (static_cast<unsigned char>(all[at]) < 0x80) {
      ++at;
      continue;
    }
    std::uint32_t point = 0;
    if (const auto length = utf8_sequence(all, at, point); length > 0) {
      at += length;
      continue;
    }
    if (!broken)
      out.reserve(all.size() + all.size() / 8);
    broken = true;
    out.append(all, good, at - good);
    out += "\xef\xbf\xbd";
    good = ++at;
  }
  if (!broken)
    return bytes;
  out.append(all, good);
  return out;
}

void kept_output::add(stream& to, std::string_view bytes) {
  if (bytes.empty())
    return;
  last_ = &to;
  to.total += bytes.size();
  if (to.tail_bytes == 0 && to.total == to.head.size() + bytes.size()) {
    const auto part = std::min(head_room_, bytes.size());
    to.head += bytes.substr(0, part);
    head_room_ -= part;
    bytes.remove_prefix(part);
  }
  // More than fits at all is not even copied.
  if (bytes.size() > tail_room_) {
    drop(to, to.tail_bytes);
    bytes.remove_prefix(bytes.size() - tail_room_);
  }
  if (bytes.empty())
    return;
  if (!to.tail.empty() && to.tail.back().size() + bytes.size() <= piece_bytes)
    to.tail.back() += bytes;
  else
    to.tail.emplace_back(bytes);
  to.tail_bytes += bytes.size();
  while (out_.tail_bytes + err_.tail_bytes > tail_room_) {
    auto& longer = out_.tail_bytes >= err_.tail_bytes ? out_ : err_;
    auto& other = &longer == &out_ ? err_ : out_;
    const auto over = out_.tail_bytes + err_.tail_bytes - tail_room_;
    const auto ahead = longer.tail_bytes - other.tail_bytes;
    drop(longer, std::min(over, std::max<std::size_t>(ahead, (over + 1) / 2)));
  }
}

void kept_output::drop(stream& from, std::size_t bytes) {
  while (bytes > 0) {
    const auto there = from.tail.front().size() - from.skip;
    const auto part = std::min(bytes, there);
    from.skip += part;
    from.tail_bytes -= part;
    bytes -= part;
    if (part == there) {
      from.tail.pop_front();
      from.skip = 0;
    }
  }
}

kept_output::text kept_output::take(stream& from, const char* name) {
  text out;
  out.total = from.total;
  std::string tail;
  tail.reserve(from.tail_bytes);
  for (std::size_t skip = from.skip; auto& piece : from.tail) {
    tail.append(piece, skip);
    skip = 0;
  }
  auto head = std::move(from.head);
  from = stream{};
  if (head.size() + tail.size() == out.total) {
    out.bytes = head.empty() ? std::move(tail) : std::move(head += tail);
    out.bytes = valid_utf8(std::move(out.bytes));
    return out;
  }
  head.resize(whole_utf8(head));
  tail.erase(0, utf8_tail(tail));
  out.left_out = out.total - head.size() - tail.size();
  if (!head.empty() && head.back() != '\n')
    head += '\n';
  head += "[... " + std::to_string(out.left_out) + " bytes of " + name
          + " left out ...]\n";
  head += tail;
  out.bytes = valid_utf8(std::move(head));
  return out;
}

std::string kept_output::last_line() const {
  constexpr std::size_t most = 200;
  if (last_ == nullptr)
    return {};
  std::string_view line = last_->tail.empty()
                              ? std::string_view{last_->head}
                              : std::string_view{last_->tail.back()};
  const auto end = line.find_last_not_of(" \t\r\n");
  if (end == std::string_view::npos)
    return {};
  line = line.substr(0, end + 1);
  if (const auto begin = line.find_last_of("\r\n");
      begin != std::string_view::npos)
    line.remove_prefix(begin + 1);
  return escape_text(line, most);
}

void ring_output::add(std::string_view bytes) {
  total_ += bytes.size();
  if (bytes.size() >= bound_) {
    kept_ = bytes.substr(bytes.size() - bound_);
    at_ = 0;
    return;
  }
  const auto grow = std::min(bytes.size(), bound_ - kept_.size());
  kept_ += bytes.substr(0, grow);
  bytes.remove_prefix(grow);
  while (!bytes.empty()) {
    const auto part = std::min(bytes.size(), kept_.size() - at_);
    kept_.replace(at_, part, bytes.substr(0, part));
    at_ = (at_ + part) % kept_.size();
    bytes.remove_prefix(part);
  }
}

std::string ring_output::slice(std::uint64_t from, std::uint64_t to) const {
  const auto begin = static_cast<std::size_t>(from - first());
  const auto count = static_cast<std::size_t>(to - from);
  // at_ is where the oldest byte is.
  const auto start = at_ + begin;
  if (start >= kept_.size())
    return count == 0 ? std::string{}
                      : kept_.substr(start - kept_.size(), count);
  auto out = kept_.substr(start, count);
  if (out.size() < count)
    out.append(kept_, 0, count - out.size());
  return out;
}

} // namespace caged::mcp
