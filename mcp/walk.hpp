#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/call.hpp"
#include "mcp/ignore.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

enum class entry_type : std::uint8_t {
  file,
  folder,
  link,   ///< Never followed.
  special ///< FIFO, socket, device.
};

struct walk_entry {
  std::string_view path; ///< With walk_options::prefix; valid in the call only.
  std::size_t name_at;   ///< Where its last component begins.
  std::size_t below_at;  ///< Where the path beneath the folder walked begins.
  entry_type type;
  unsigned worker; ///< 0 to walk_options::threads - 1.
};

struct walk_options {
  /// Path of the folder that is walked, as results and ignore rules have it:
  /// "" or "src/lib".
  std::string prefix;
  bool hidden = false; ///< Also names that begin with a dot (never .git).
  bool respect_ignore = true;
  ignore_rules rules; ///< For what lies in the folder; see of_folder.
  /// Whether a folder (its path beneath the one that is walked) is worth
  /// entering; optional. Called from several threads.
  std::function<bool(std::string_view below)> enter;
  /// Threads beside the caller's are started only once there are many folders.
  unsigned threads = 2;
  unsigned max_depth = 1024; ///< Folders beneath each other.
};

/// What a walk met, and what it left out: results say so.
struct walk_stats {
  std::uint64_t folders = 0, entries = 0;
  std::uint64_t hidden = 0;     ///< Entries left out for their dot.
  std::uint64_t ignored = 0;    ///< Entries left out by rules (with .git).
  std::uint64_t too_deep = 0;   ///< Folders not entered: depth, path length.
  std::uint64_t unreadable = 0; ///< Folders that could not be read.
  std::vector<std::string> unreadable_first; ///< A few of them.
  bool cancelled = false;
};

/// Walks what lies beneath an open folder. Each folder is opened by its path
/// from there with open_unlinked: no link is ever followed, also not one that
/// somebody puts in place of a folder meanwhile, and a walk holds one
/// descriptor per thread, whatever the tree looks like. Paths that do not fit
/// PATH_MAX are not walked: no tool could open them. Entries are read with
/// getdents64(2), a buffer at a time, without a stat (file systems that do not
/// tell the type cost one). Memory grows with the number of folders that wait.
///
/// `visit` is called for every entry that is not left out, in no particular
/// order, from several threads at once (each with its own number). `tick` is
/// called on the caller's thread after each folder with the number of folders
/// done; may be empty. Stops within a buffer of entries once cancelled.
walk_stats walk(int folder, const walk_options& options,
                const cancellation& cancel,
                const std::function<void(const walk_entry&)>& visit,
                const std::function<void(std::uint64_t folders)>& tick = {});

} // namespace caged::mcp
