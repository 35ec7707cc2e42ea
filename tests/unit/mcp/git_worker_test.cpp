#include <catch2/catch.hpp>
#include <unistd.h>

#include "mcp/git/worker.hpp"

// RLIMIT_DATA, which bounds a worker, would not leave a sanitizer its shadow
// (mcp/git/confine.cpp): here the allocator refuses what is larger.
// NOLINTBEGIN(bugprone-reserved-identifier): the sanitizers' names.
extern "C" {
const char* __asan_default_options();
const char* __asan_default_options() {
  return "allocator_may_return_null=1:max_allocation_size_mb=256";
}
const char* __tsan_default_options();
const char* __tsan_default_options() {
  return "allocator_may_return_null=1:max_allocation_size_mb=256";
}
} // extern "C"
// NOLINTEND(bugprone-reserved-identifier)

namespace {
// The pool starts its own program again as a worker: this one must become one
// before Catch looks at its arguments. glibc gives them to constructors.
__attribute__((constructor)) void become_a_worker(int argc, char** argv,
                                                  char**) {
  if (auto code = caged::mcp::git::maybe_run_worker(argc, argv))
    ::_exit(*code);
}
} // namespace
