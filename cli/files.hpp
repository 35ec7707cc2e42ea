#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/verbs.hpp"

/// `caged files`: one directory or file of a sandbox.
namespace caged::cli {

struct files_options {
  std::string sandbox;
  std::string path = ".";         ///< of ls, cat and write
  std::vector<std::string> paths; ///< of rm
  std::string mode;               ///< octal; empty: as it was, or 644
  bool recursive = false;
};

result<int> run_files_ls(const common_options& with, const files_options& what);
result<int> run_files_cat(const common_options& with,
                          const files_options& what);
result<int> run_files_write(const common_options& with,
                            const files_options& what);
result<int> run_files_rm(const common_options& with, const files_options& what);

/// One line of ls.
struct file_row {
  unsigned mode = 0; ///< as in stat(2), the type included
  std::uint64_t size = 0;
  std::int64_t mtime_s = 0;
  std::string name, target;
};

/// Reads what the script of ls prints in a sandbox. Error: malformed.
result<std::vector<file_row>> parse_listing(std::string_view text);

std::string show(const std::vector<file_row>& rows, format as);

} // namespace caged::cli
