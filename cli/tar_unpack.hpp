#pragma once

#include <string>

#include "messages/error.hpp"

namespace caged::cli {

struct unpack_options {
  std::string into;        ///< an empty directory of ours
  std::string name;        ///< what the archive's single file is called
  bool directory = false;  ///< a tree whose root is "." instead
  bool keep_owner = false; ///< numeric ids; false: ours
};

/// What the top of the copy is called in `into`.
inline constexpr const char* unpacked_name = "copy";

/// Reads the tar stream that a sandbox sends, to its end, into
/// `into`/"copy". The sandbox is hostile: absolute names, "..", names other
/// than what was asked for, links that lead outside, and device nodes are
/// refused; set-user-id and set-group-id bits are dropped. Blocks, and changes
/// the working directory of its thread alone: for a thread of its own. Errors:
/// denied, malformed, io (a full disk).
result<void> tar_unpack(int from, const unpack_options& what);

} // namespace caged::cli
