#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/stat.h>

#include "mcp/config.hpp"
#include "mcp/tool.hpp"
#include "mcp/workspace.hpp"

// What the file tools share. Any thread.
namespace caged::mcp {

/// "file", "folder", "link", "fifo", "socket", "device".
const char* type_name(mode_t mode) noexcept;

/// An opaque token of a file's state: from inode, size and time of the last
/// change (ctime), which every write, replacement and chmod moves. No hash of
/// the content: it costs nothing beside the fstat, and a change within one tick
/// of the file system's clock (4 ms; finer since Linux 6.13) that keeps inode
/// and size is the one that it misses; the file tools always make a new inode.
std::string file_version(const struct stat& about);

/// Refuses everything but a regular file, naming what it is.
result<void> must_be_file(std::string_view path, const struct stat& about);

/// read(2) until `most` bytes, the end or an error; behind what is in `out`.
/// False: errno.
bool read_some(int fd, std::string& out, std::size_t most);
/// pread(2) of exactly what is there, up to `most` bytes from `at` on.
bool read_from(int fd, std::string& out, std::size_t most, std::uint64_t at);

/// Whether all of it is UTF-8 (RFC 3629).
bool is_utf8(std::string_view text) noexcept;
/// Invalid UTF-8 replaced by U+FFFD, a byte each: for names in JSON.
std::string valid_utf8(std::string_view text);

/// A member of a JSON Schema's "properties".
json property(const char* type, const char* description);
/// {"type": "object", ...}; no other members than these.
json object_schema(json properties, json required);

/// Serialises check and replacement of one file among the calls of this
/// process: without it two edits of one file could lose one. Held in stripes,
/// so that different files rarely wait for each other.
class file_turn {
public:
  explicit file_turn(const workspace::place& at);
  ~file_turn();
  file_turn(const file_turn&) = delete;
  file_turn& operator=(const file_turn&) = delete;

private:
  std::size_t stripe_;
};

void add_file_read(tool_set& tools, const workspace& where,
                   const server_config& config);
void add_file_write(tool_set& tools, const workspace& where,
                    const server_config& config);
void add_file_edit(tool_set& tools, const workspace& where,
                   const server_config& config);
void add_file_list(tool_set& tools, const workspace& where,
                   const server_config& config);
void add_file_delete(tool_set& tools, const workspace& where,
                     const server_config& config);

} // namespace caged::mcp
