#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/stat.h>

#include "messages/error.hpp"

namespace caged::cli {

struct pack_options {
  std::string from;        ///< local file or tree; links are not followed
  std::string as;          ///< its name in the archive; empty: contents alone
  bool follow = false;     ///< `from` may be a link to a directory
  bool keep_owner = false; ///< numeric ids; false: root
};

/// What became of a tree on its way into an archive.
struct pack_report {
  /// One sentence for everything that had to be left out.
  std::vector<std::string> problems;
  struct directory {
    std::string as;
    struct stat about;
  };
  /// Directories with links in them. busybox makes hard links, and symbolic
  /// ones that lead up, when all else is there, and so changes their times.
  std::vector<directory> restless;
};

/// Writes a file or tree to a descriptor, as a GNU tar archive, the form that
/// busybox and GNU tar both read (busybox skips pax headers). Blocks.
/// Error: io, when the
/// descriptor takes no more.
result<pack_report> tar_pack(int to, const pack_options& what);

/// A second archive, of the restless directories alone. Error: io.
result<void> tar_pack_again(int to, const pack_options& what,
                            const pack_report& first);

} // namespace caged::cli
