#include "mcp/git/staging.hpp"

#include <array>

#include <sys/stat.h>

#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

struct filtering {
  git_repository* repository;
  git_index* index;
  config_ptr config;
  std::optional<failure> refused;
};

/// libgit2 asks for each file before it adds or removes it. > 0 leaves it as it
/// is, < 0 stops.
int check_filter(const char* path, const char*, void* payload) {
  auto& with = *static_cast<filtering*>(payload);
  if (may_be_absent(with.index, path))
    return 1;
  std::array<const char*, 2> names{"filter", "working-tree-encoding"};
  std::array<const char*, 2> values{};
  if (git_attr_get_many(values.data(), with.repository, 0, path, names.size(),
                        names.data())
      != 0)
    return 0;
  if (git_attr_value(values[0]) == GIT_ATTR_VALUE_STRING) {
    const auto key = "filter." + std::string{values[0]};
    buffer program;
    for (const auto* kind : {".clean", ".process"})
      if (git_config_get_string_buf(&program.raw, with.config.get(),
                                    (key + kind).c_str())
          == 0) {
        with.refused = failure{
            ec::unsupported,
            caged::quoted(path) + " has the filter " + caged::quoted(values[0])
                + ", a program that the git tools do not run",
            "stage it with `git add` through terminal_exec, then commit"};
        return GIT_EUSER;
      }
  }
  if (git_attr_value(values[1]) == GIT_ATTR_VALUE_STRING) {
    with.refused =
        failure{ec::unsupported,
                caged::quoted(path)
                    + " has a working-tree-encoding, which the git "
                      "tools do not convert",
                "stage it with `git add` through terminal_exec, then commit"};
    return GIT_EUSER;
  }
  return 0;
}

/// Whether something tracked is at or below a path.
bool tracked(git_index* index, const std::string& path) {
  std::size_t at = 0;
  if (git_index_find(&at, index, path.c_str()) == 0)
    return true;
  return git_index_find_prefix(&at, index, (path + "/").c_str()) == 0;
}

result<void> check_path(const worker_state& state, git_repository* repository,
                        git_index* index, const std::string& path) {
  struct stat seen {};
  const auto full = state.place.worktree + "/" + path;
  if (tracked(index, path))
    return {};
  if (::lstat(full.c_str(), &seen) != 0)
    return fail(ec::not_found,
                caged::quoted(path) + " is no file and not tracked",
                "paths are relative to the repository's folder; git_status "
                "shows what changed");
  int ignored = 0;
  if (git_ignore_path_is_ignored(&ignored, repository, path.c_str()) == 0
      && ignored != 0)
    return fail(ec::denied, caged::quoted(path) + " is ignored by .gitignore",
                "leave it out, or change .gitignore");
  return {};
}

} // namespace

result<void> stage(worker_state& state, git_repository* repository,
                   git_index* index, const json& request) {
  const bool all = request.value("all", false);
  path_list paths{state, request};
  const auto named = request.find("paths");
  if (!all && (named == request.end() || named->empty()))
    return {};
  if (!all)
    for (const auto& path : paths.all()) {
      if (path.find("..") != std::string::npos || path[0] == '/')
        for (std::string_view rest = path; !rest.empty();) {
          const auto part = rest.substr(0, rest.find('/'));
          if (part == ".." || path[0] == '/')
            return fail(ec::bad_request,
                        caged::quoted(path) + " is no path in the repository",
                        "paths are relative to the repository's folder");
          rest.remove_prefix(std::min(rest.size(), part.size() + 1));
        }
      if (!paths.literal())
        continue;
      if (auto good = check_path(state, repository, index, path); !good)
        return good;
    }
  filtering with{repository, index, {}, {}};
  if (const int rc =
          git_repository_config_snapshot(with.config.put(), repository);
      rc != 0)
    return git_failure("read the configuration", rc);
  const git_strarray everything{};
  const int rc =
      git_index_add_all(index, all ? &everything : &paths.raw(),
                        paths.literal() ? GIT_INDEX_ADD_DISABLE_PATHSPEC_MATCH
                                        : GIT_INDEX_ADD_DEFAULT,
                        check_filter, &with);
  if (with.refused) {
    git_index_read(index, 1); // what was added before it is forgotten
    return tl::unexpected(*with.refused);
  }
  if (rc != 0) {
    auto why = git_failure("stage", rc);
    git_index_read(index, 1);
    return why;
  }
  if (const int written = git_index_write(index); written != 0)
    return git_failure("write the index", written);
  return {};
}

} // namespace caged::mcp::git
