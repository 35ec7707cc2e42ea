#include <catch2/catch.hpp>
#include <unistd.h>

#include "mcp/git/worker.hpp"

namespace {
// The pool starts its own program again as a worker: this one must become one
// before Catch looks at its arguments. glibc gives them to constructors.
__attribute__((constructor)) void become_a_worker(int argc, char** argv,
                                                  char**) {
  if (auto code = caged::mcp::git::maybe_run_worker(argc, argv))
    ::_exit(*code);
}
} // namespace
