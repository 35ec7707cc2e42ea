#pragma once

#include <string>
#include <vector>

#include "cli/verbs.hpp"

namespace caged::cli {

struct cp_options {
  std::vector<std::string> paths; ///< SRC... DST
  bool archive = false;           ///< numeric owners are kept
  bool quiet = false;             ///< no progress
};

/// `caged cp`: files and trees into a sandbox or out of it, as tar streams of
/// execs. 0, 1 when something was left out, 128+n after a signal.
result<int> run_cp(const common_options& with, const cp_options& what);

} // namespace caged::cli
