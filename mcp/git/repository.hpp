#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/git/handles.hpp"
#include "mcp/git/preflight.hpp"
#include "mcp/helper_thread.hpp"
#include "messages/error.hpp"

namespace caged::mcp::git {

/// Where an index and a commit differ. Both ids are hashes of what was
/// compared.
struct staged_paths {
  git_oid tree{};
  git_oid index{};
  std::vector<std::string> paths;
};

/// What a worker knows between requests. One thread, but for `helper`.
struct worker_state {
  int root_fd = -1;
  bool confined = false; ///< Landlock is in force.
  bool writable = false;
  std::size_t output_bytes = 1U << 20U;
  /// The repository of the last request, kept open: its index and caches make
  /// the next request cheap. libgit2 looks for itself whether files changed.
  std::string path;
  repository_place place;
  repository_ptr repository;
  std::string stamp; ///< What place and configuration looked like.
  std::optional<staged_paths> staged; ///< As found last (narrow.cpp).
  helper_thread* helper = nullptr;    ///< Null: there is none.
};

/// Sets libgit2 up for a worker; once, before confine().
void set_up_libgit2() noexcept;

/// The repository of a request, checked (preflight.hpp) each time and opened
/// when it is not the last one's. Errors: as check_repository; denied, when
/// core.worktree is elsewhere; unsupported (a bare one).
result<git_repository*> open_repository(worker_state& state,
                                        const std::string& path);

/// What libgit2 said last, as a failure: `doing` ("read the index") and its
/// message without control characters. `code` is its return value.
tl::unexpected<failure> git_failure(std::string_view doing, int code);

/// A path as git shows it (core.quotePath false): in double quotes with
/// escapes when it has control characters, quotes, backslashes or bytes that
/// are not UTF-8; `spaces`: also when it has a space, as status does.
std::string quoted_path(std::string_view path, bool spaces = false);

/// The value of a string key of the repository's configuration.
std::optional<std::string> config_text(git_repository* repository,
                                       const char* key);
bool config_flag(git_repository* repository, const char* key, bool fallback);

/// Whether the index says that a file need not be in the worktree (a sparse
/// checkout) or is to be taken as unchanged: libgit2 1.5 minds both for files
/// that are there, and shows absent ones as deleted.
bool may_be_absent(git_index* index, const char* path);

std::string full_id(const git_oid& id);
/// At least seven digits, more where needed to be unique.
std::string short_id(const git_object* object);

} // namespace caged::mcp::git
