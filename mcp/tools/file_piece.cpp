#include "mcp/tools/file_piece.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>

#include "mcp/tools/file_common.hpp"
#include "mcp/tools/file_lines.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

void cut_to(piece& p, std::size_t most, bool lines) {
  if (p.bytes.size() <= most)
    return;
  p.more = p.cut = true;
  auto end =
      lines && most > 0 ? p.bytes.rfind('\n', most - 1) : std::string::npos;
  p.mid_line = end == std::string::npos;
  if (p.mid_line) {
    end = most;
    while (end > 0 && most - end < 3 && (p.bytes[end] & '\xC0') == '\x80')
      --end;
    p.bytes.resize(end == 0 ? most : end);
  } else {
    p.bytes.resize(end + 1);
  }
}

result<piece> read_whole(int fd, const read_request& wanted,
                         const struct stat& about, std::size_t most) {
  piece out;
  // /proc and the like say 0 and have text all the same; what grows meanwhile
  // is read as it was.
  const auto size = static_cast<std::uint64_t>(about.st_size);
  const auto room =
      size == 0 ? most + 1 : std::min<std::uint64_t>(size, most + 1);
  if (size != 0) {
    if (!read_some(fd, out.bytes, room))
      return path_error(wanted.path, errno);
  } else {
    // In small steps: mostly there is nothing.
    while (out.bytes.size() < room) {
      const auto before = out.bytes.size();
      if (!read_some(fd, out.bytes, std::min<std::size_t>(room - before, 4096)))
        return path_error(wanted.path, errno);
      if (out.bytes.size() == before)
        break;
    }
  }
  cut_to(out, most, wanted.encoding != "base64");
  return out;
}

namespace {

result<piece> byte_range(int fd, const read_request& wanted,
                         const struct stat& about, std::size_t most) {
  piece out;
  out.from = static_cast<std::uint64_t>(wanted.byte_offset.value_or(0));
  const auto asked =
      static_cast<std::uint64_t>(wanted.byte_limit.value_or(LLONG_MAX / 2));
  const auto size = static_cast<std::uint64_t>(about.st_size);
  auto room = std::min<std::uint64_t>(asked, most);
  // No gigabyte of memory for the last bytes of a file.
  if (size > out.from)
    room = std::min<std::uint64_t>(room, size - out.from);
  else if (size != 0)
    room = 0;
  if (room > 0 && !read_from(fd, out.bytes, room, out.from))
    return path_error(wanted.path, errno);
  const auto end = out.from + out.bytes.size();
  out.more = end < size || (size == 0 && out.bytes.size() == room);
  out.cut = out.more && out.bytes.size() < asked;
  out.mid_line = true;
  return out;
}

result<piece> line_range(int fd, const read_request& wanted, std::size_t most,
                         call& in) {
  piece out;
  out.first_line = wanted.offset.value_or(1);
  line_reader lines{fd};
  auto good = lines.skip(out.first_line - 1, in);
  if (!good)
    return tl::unexpected{std::move(good.error())};
  if (lines.skipped() < out.first_line - 1 && out.first_line > 1)
    return fail(ec::bad_request,
                caged::quoted(wanted.path) + " has only "
                    + std::to_string(lines.skipped()) + " lines; offset "
                    + std::to_string(out.first_line) + " is behind its end",
                "give a smaller offset, counted from 1");
  out.from = lines.position();
  good = lines.take(wanted.limit.value_or(LLONG_MAX), most, out.bytes, in);
  if (!good)
    return tl::unexpected{std::move(good.error())};
  out.more = lines.more();
  cut_to(out, most, wanted.encoding != "base64");
  return out;
}

} // namespace

result<piece> read_piece(int fd, const read_request& wanted,
                         const struct stat& about, std::size_t most, call& in) {
  if (wanted.by_bytes())
    return byte_range(fd, wanted, about, most);
  if (wanted.by_lines())
    return line_range(fd, wanted, most, in);
  return read_whole(fd, wanted, about, most);
}

} // namespace caged::mcp
