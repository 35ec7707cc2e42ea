#pragma once

#include <cstddef>
#include <optional>

namespace caged::mcp::git {

/// How a worker is started: on descriptor 3 a stream socket to the server
/// (frame.hpp), on descriptor 4 the workspace (O_PATH).
struct worker_options {
  int socket_fd = 3;
  int root_fd = 4;
  bool writable = false;
  bool use_landlock = true; ///< False only in tests.
  std::size_t output_bytes = 1U << 20U;
};

/// The life of a git worker: confines the process for ever (confine.hpp), then
/// serves requests, one at a time, until the server closes the socket or sends
/// nothing for a minute. A request that takes longer than 40 s ends the process
/// (SIGALRM), also when the server is gone. Exit code. The process must have
/// one thread; it gets one more, for looking at many files.
int git_worker_main(const worker_options& options);

/// For the first line of main(): runs a worker when the program was started as
/// one (`--git-worker read|write OUTPUT_BYTES [no-landlock]`, by
/// worker_pool), and gives its exit code; nothing otherwise.
std::optional<int> maybe_run_worker(int argc, char** argv);

} // namespace caged::mcp::git
