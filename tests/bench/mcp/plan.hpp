#pragma once

#include "tests/bench/mcp/baselines.hpp"

namespace caged::bench {

/// A server of the run.
struct contender {
  enum class sort {
    caged, ///< takes caged-mcp-server's command line and has its tools
    npm,   ///< server-filesystem
    floor  ///< bench_mcp_floor
  } kind = sort::caged;
  std::string name;
  std::vector<std::string> command; ///< what it is started by
};

/// Folders made by mcp.sh: "files" has 1k.txt, 1m.txt and many/ with 1000
/// files; "tree" 20,000 files; "repo" a repository of 5,000. Logs of the
/// servers go to `log`.
struct surroundings {
  std::string files, tree, repo, log;
  bool quick = false;
};

/// One round of everything that `who` can do. Returns what failed; the rest is
/// in `into`.
std::vector<std::string>
measure_server(const contender& who, const surroundings& where, samples& into);
/// The peak of git itself; to be called while this program is small. Throws
/// std::runtime_error.
void measure_memory(const surroundings& where, samples& into);
/// One round of what the machine itself takes for the like. Throws
/// std::runtime_error.
void measure_machine(const surroundings& where, samples& into);

} // namespace caged::bench
