#include <csignal>
#include <cstdio>

#include <malloc.h>

#include "mcp/git/worker.hpp"
#include "mcp/log.hpp"
#include "mcp/session.hpp"

// caged-mcp-server: files, search, terminal and git of one workspace for AI
// agents, over stdio, WebSocket or Streamable HTTP.
int main(int argc, char** argv) {
  using namespace caged::mcp;
  // The same program is the confined process that git tools run in.
  if (auto code = git::maybe_run_worker(argc, argv))
    return *code;
  auto asked = read_config({argv + 1, argv + argc});
  if (!asked) {
    std::fprintf(stderr, "caged-mcp-server: %s\n",
                 asked.error().message.c_str());
    return 2;
  }
  if (!asked->serve) {
    std::fputs(asked->print.c_str(), stdout);
    return 0;
  }
  // A write beyond the limit on file sizes is an error of its call (EFBIG).
  std::signal(SIGXFSZ, SIG_IGN);
  // Buffers of a large answer are used again instead of being mapped anew for
  // each: a read of 1 MiB took 35 ms with a threshold of 1 MiB and takes 3 ms
  // with this (mallopt(3), ops/bench mcp); what is larger goes back at once.
  // Few arenas: the peak is what is in use.
  ::mallopt(M_MMAP_THRESHOLD, 8 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 8 << 20);
  ::mallopt(M_ARENA_MAX, 2);
  log::set_level(log::level_from(asked->serve->log_level));
  auto made = server::make(std::move(*asked->serve));
  if (!made) {
    const auto& why = made.error();
    std::fprintf(stderr, "caged-mcp-server: --workspace: %s%s%s\n",
                 why.message.c_str(), why.hint.empty() ? "" : "; ",
                 why.hint.c_str());
    return 2;
  }
  auto& here = **made;
  return here.config().mode == transport::stdio ? serve_stdio(here)
                                                : serve_web(here);
}
