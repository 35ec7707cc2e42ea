#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <sys/stat.h>

#include "mcp/call.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// Arguments of file_read, checked.
struct read_request {
  std::string path;
  std::string encoding;
  std::optional<std::int64_t> offset, limit, byte_offset, byte_limit;
  bool line_numbers = false;

  bool by_lines() const { return offset || limit; }
  bool by_bytes() const { return byte_offset || byte_limit; }
};

/// What was read, before it is told.
struct piece {
  std::string bytes;
  std::uint64_t from = 0;      ///< First byte of `bytes` in the file.
  std::int64_t first_line = 1; ///< Of `bytes`, when lines count.
  bool more = false;           ///< The file goes on behind it.
  bool cut = false;      ///< Ends where our limit says, not where the caller.
  bool mid_line = false; ///< ... and not behind a line.

  std::uint64_t end() const { return from + bytes.size(); }
};

/// Cuts what is over `most` bytes: behind a line where `lines` and there is
/// one, else between two characters.
void cut_to(piece& p, std::size_t most, bool lines);

/// Reads from the beginning, no more than one byte behind `most` bytes, which
/// are what is left. Errors: io.
result<piece> read_whole(int fd, const read_request& wanted,
                         const struct stat& about, std::size_t most);

/// Reads what is asked for, at most `most` bytes of it and in memory of that
/// order, whatever the file's size. `fd` is at its beginning. Errors:
/// bad_request (an offset behind the end), io, unavailable (cancelled).
result<piece> read_piece(int fd, const read_request& wanted,
                         const struct stat& about, std::size_t most, call& in);

} // namespace caged::mcp
