#include "mcp/tools/file_common.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <mutex>

#include <unistd.h>

#include "mcp/tools/families.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

const char* type_name(mode_t mode) noexcept {
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "file";
  case S_IFDIR:
    return "folder";
  case S_IFLNK:
    return "link";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  default:
    return "device";
  }
}

std::string file_version(const struct stat& about) {
  const std::array<std::uint64_t, 3> parts = {
      about.st_ino,
      static_cast<std::uint64_t>(about.st_ctim.tv_sec) * 1'000'000'000U
          + static_cast<std::uint64_t>(about.st_ctim.tv_nsec),
      static_cast<std::uint64_t>(about.st_size)};
  char text[64];
  char* at = text;
  for (auto part : parts) {
    if (at != text)
      *at++ = '-';
    at = std::to_chars(at, text + sizeof text, part, 36).ptr;
  }
  return {text, at};
}

result<void> must_be_file(std::string_view path, const struct stat& about) {
  if (S_ISREG(about.st_mode))
    return {};
  if (S_ISDIR(about.st_mode))
    return path_error(path, EISDIR);
  return fail(ec::bad_request,
              caged::quoted(path) + " is no regular file but a "
                  + type_name(about.st_mode),
              "only regular files are read and written");
}

bool read_some(int fd, std::string& out, std::size_t most) {
  auto have = out.size();
  const auto end = have + most;
  out.resize(end);
  while (have < end) {
    const auto n = ::read(fd, out.data() + have, end - have);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      const int error = errno;
      out.resize(have);
      errno = error;
      return n == 0;
    }
    have += static_cast<std::size_t>(n);
  }
  return true;
}

bool read_from(int fd, std::string& out, std::size_t most, std::uint64_t at) {
  return ::lseek(fd, static_cast<off_t>(at), SEEK_SET) >= 0
         && read_some(fd, out, most);
}

bool is_utf8(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    // Eight bytes of ASCII at once: what most files are.
    while (i + 8 <= text.size()) {
      std::uint64_t word = 0;
      std::memcpy(&word, text.data() + i, sizeof word);
      if ((word & 0x8080808080808080U) != 0)
        break;
      i += 8;
    }
    if (i == text.size())
      break;
    std::uint32_t point = 0;
    const auto length = utf8_sequence(text, i, point);
    if (length == 0)
      return false;
    i += length;
  }
  return true;
}

std::string valid_utf8(std::string_view text) {
  if (is_utf8(text))
    return std::string{text};
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::uint32_t point = 0;
    const auto length = utf8_sequence(text, i, point);
    if (length == 0)
      out += "\xEF\xBF\xBD";
    else
      out.append(text, i, length);
    i += length == 0 ? 1 : length;
  }
  return out;
}

json property(const char* type, const char* description) {
  return {{"type", type}, {"description", description}};
}

json object_schema(json properties, json required) {
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", std::move(required)},
          {"additionalProperties", false}};
}

namespace {

std::array<std::mutex, 64> stripes;

} // namespace

file_turn::file_turn(const workspace::place& at) : stripe_{0} {
  struct stat folder {};
  ::fstat(at.folder.get(), &folder);
  stripe_ =
      (std::hash<std::string>{}(at.name) ^ folder.st_ino) % stripes.size();
  stripes[stripe_].lock();
}

file_turn::~file_turn() {
  stripes[stripe_].unlock();
}

void add_file_tools(tool_set& tools, const workspace& where,
                    const server_config& config) {
  add_file_read(tools, where, config);
  add_file_list(tools, where, config);
  if (config.read_only)
    return;
  add_file_write(tools, where, config);
  add_file_edit(tools, where, config);
  add_file_delete(tools, where, config);
}

} // namespace caged::mcp
