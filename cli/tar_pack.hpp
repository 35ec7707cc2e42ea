#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/error.hpp"

namespace caged::cli {

struct pack_options {
  std::string from;        ///< local file or tree; links are not followed
  std::string as;          ///< its name in the archive; empty: contents alone
  bool follow = false;     ///< `from` may be a link to a directory
  bool keep_owner = false; ///< numeric ids; false: root
};

/// Writes a file or tree to a descriptor, as a GNU tar archive, the form that
/// busybox and GNU tar both read (busybox skips pax headers). Blocks. Gives
/// one sentence for everything that had to be left out. Error: io, when the
/// descriptor takes no more.
result<std::vector<std::string>> tar_pack(int to, const pack_options& what);

} // namespace caged::cli
