#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/stat.h>

#include "messages/error.hpp"

namespace caged::mcp {

struct folder_entry {
  std::string name;
  mode_t type = 0;        ///< S_IFMT bits; 0: it went away meanwhile.
  std::int64_t size = -1; ///< Bytes of a regular file.
};

struct folder_choice {
  std::string behind;     ///< Names after this one, by bytes; "" for all.
  bool inclusive = false; ///< `behind` itself too.
  std::size_t most = 1000;
  bool hidden = true; ///< Names that begin with a dot.
};

/// The next `most` entries of an open folder (not O_PATH), sorted by bytes, and
/// whether there are more. Memory is bound by `most`, however large the folder;
/// one fstatat(2) for each regular file, none for others where the file system
/// tells types; two threads make them where they are many.
struct folder_page {
  std::vector<folder_entry> entries;
  bool more = false;
};
/// `fd` is closed with its owner; read from its beginning. False: errno.
bool read_page(int fd, const folder_choice& choice, folder_page& out);

} // namespace caged::mcp
