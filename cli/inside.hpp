#pragma once

#include <string>
#include <vector>

#include "cli/copy_paths.hpp"
#include "cli/exec.hpp"

/// Short commands in a sandbox, for the verbs that are made of them. Names
/// are always arguments, never text of a script.
namespace caged::cli {

/// Where such a command runs.
struct inside {
  node_address endpoint;
  std::string sandbox;
};

/// What a command printed, and how it ended.
struct inside_output {
  exec_end end;
  std::string out, err;
};

/// Keeps at most so many bytes of stdout. Errors: run_exec's; too_large.
result<inside_output> run_inside(const inside& where,
                                 std::vector<std::string> argv,
                                 std::size_t most = 64 * 1024);

/// {"sh", "-c", script, "caged", args...}.
std::vector<std::string> shell(const char* script,
                               std::vector<std::string> args);

/// Whether a command ended well; else what it said on stderr, as the error of
/// `what`. Errors: unsupported, when the sandbox lacks the program; io.
result<void> ended_well(const exec_end& end, const std::string& err,
                        const std::string& program, const std::string& what);

/// What is at a path of a sandbox.
struct inside_file {
  there what = there::missing; ///< behind links
  bool link = false;           ///< it is a symbolic link
  std::string mode, owner;     ///< "644", "0:0"; empty when missing
  std::string real;            ///< behind links, for a file
};

/// Errors: run_inside's.
result<inside_file> look_inside(const inside& where, const std::string& path);

/// Writes stdin to a file of a sandbox, which has its old content until all
/// has come. An empty mode keeps the file's own, 644 for a new one. Errors:
/// not_found, bad_request, io, as for choose_target.
result<exec_end> write_inside(const inside& where, const std::string& shown,
                              const std::string& path, const std::string& mode,
                              byte_source& from);

/// Copies a file of a sandbox to a sink.
result<exec_end> read_inside(const inside& where, const std::string& shown,
                             const std::string& path, byte_sink& to);

} // namespace caged::cli
