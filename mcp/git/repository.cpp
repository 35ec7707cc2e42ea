#include "mcp/git/repository.hpp"

#include <array>
#include <cstdio>

#include <sys/stat.h>
#include <unistd.h>

#include "mcp/git/offline.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

/// Changes when the files at these paths are others or were written.
std::string stamp_of(const repository_place& place) {
  std::string all;
  for (const auto* name : {"", "/config", "/objects/info/alternates"}) {
    struct stat seen {};
    const auto path = place.git_dir + name;
    if (::lstat(path.c_str(), &seen) == 0) {
      all += std::to_string(seen.st_dev) + ":" + std::to_string(seen.st_ino);
      if (*name != '\0')
        all += ":" + std::to_string(seen.st_size) + ":"
               + std::to_string(seen.st_mtim.tv_sec) + "."
               + std::to_string(seen.st_mtim.tv_nsec);
    }
    all += ";";
  }
  return all;
}

} // namespace

void set_up_libgit2() noexcept {
  take_git_offline();
  git_libgit2_init();
  // Files of a sandbox may belong to another user than the server's, which is
  // what safe.directory guards against: that such a repository's configuration
  // runs programs. libgit2 runs none, and the worker cannot.
  git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
  // Packs: windows of 1 MiB, 16 MiB of them. Objects kept: 4 MiB.
  git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, std::size_t{1U << 20U});
  git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, std::size_t{16U << 20U});
  git_libgit2_opts(GIT_OPT_SET_MWINDOW_FILE_LIMIT, std::size_t{64});
  git_libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, ssize_t{4 << 20});
}

result<git_repository*> open_repository(worker_state& state,
                                        const std::string& path) {
  auto place = check_repository(state.root_fd, path, state.confined);
  if (!place) {
    state.repository.reset();
    return tl::unexpected(place.error());
  }
  auto stamp = stamp_of(*place);
  if (state.repository && state.path == path && state.stamp == stamp
      && state.place.worktree == place->worktree
      && state.place.git_dir == place->git_dir)
    return state.repository.get();
  state.repository.reset();
  repository_ptr opened;
  const int rc = git_repository_open_ext(
      opened.put(), place->worktree.c_str(),
      GIT_REPOSITORY_OPEN_NO_SEARCH | GIT_REPOSITORY_OPEN_CROSS_FS, nullptr);
  if (rc != 0)
    return git_failure("open the repository", rc);
  const auto* worktree = git_repository_workdir(opened.get());
  if (worktree == nullptr)
    return fail(ec::unsupported, "the repository is bare: it has no worktree",
                "clone it into a folder of the workspace");
  // core.worktree. Landlock does not hide names and sizes (stat), this does.
  if (place->worktree + "/" != worktree)
    return fail(ec::denied,
                "the repository's core.worktree is not the folder it lies in",
                "remove core.worktree from its configuration");
  if (std::string_view used = git_repository_path(opened.get());
      used != place->git_dir + "/")
    return fail(ec::denied, "the repository changed while it was opened",
                "call the tool again");
  state.path = path;
  state.place = std::move(*place);
  state.stamp = std::move(stamp);
  state.repository = std::move(opened);
  return state.repository.get();
}

tl::unexpected<failure> git_failure(std::string_view doing, int code) {
  const auto* last = git_error_last();
  std::string why =
      last != nullptr && last->message != nullptr ? last->message : "";
  const bool memory = last != nullptr && last->klass == GIT_ERROR_NOMEMORY;
  std::string message = "cannot " + std::string{doing};
  if (!why.empty())
    message += ": " + escape_text(why);
  if (memory)
    return fail(ec::too_large, message + " (the git worker may use 40 MiB)",
                "name fewer or smaller files with path");
  // Before the codes: libgit2 calls EACCES "locked", and Landlock says EACCES.
  if (why.find("ermission denied") != std::string::npos)
    return fail(ec::denied, message,
                "the git tools read only what lies in the workspace: a link or "
                "a setting of this repository leads elsewhere");
  switch (code) {
  case GIT_ENOTFOUND:
  case GIT_EUNBORNBRANCH:
    return fail(ec::not_found, message);
  case GIT_ELOCKED:
    return fail(ec::conflict, message + ": another git process holds the lock",
                "wait for it; when none runs, delete the .lock file that it "
                "left in .git");
  case GIT_EINVALIDSPEC:
  case GIT_EAMBIGUOUS:
  case GIT_EPEEL:
    return fail(ec::bad_request, message,
                "name a branch, a tag or a commit; git_log shows them");
  case GIT_EMODIFIED:
    return fail(ec::conflict, message,
                "somebody else committed meanwhile: look at git_log and call "
                "the tool again");
  default:
    break;
  }
  return fail(ec::malformed, message,
              "the repository may be damaged: `git fsck` tells more");
}

std::string quoted_path(std::string_view path, bool spaces) {
  bool plain = true;
  std::string text;
  for (std::size_t at = 0; at < path.size();) {
    std::uint32_t point = 0;
    const auto c = static_cast<unsigned char>(path[at]);
    const auto length = utf8_sequence(path, at, point);
    if (length > 1 && point >= 0xa0) {
      text.append(path, at, length);
      at += length;
      continue;
    }
    if (c >= 0x20 && c < 0x7f) {
      if (c == '"' || c == '\\') {
        plain = false;
        text += '\\';
      } else if (c == ' ' && spaces) {
        plain = false;
      }
      text += static_cast<char>(c);
    } else {
      plain = false;
      constexpr std::string_view named = "\a\b\t\n\v\f\r";
      if (auto which = named.find(static_cast<char>(c));
          which != std::string_view::npos) {
        text += '\\';
        text += "abtnvfr"[which];
      } else {
        std::array<char, 8> octal{};
        std::snprintf(octal.data(), octal.size(), "\\%03o", c);
        text += octal.data();
      }
    }
    ++at;
  }
  return plain ? text : "\"" + text + "\"";
}

std::optional<std::string> config_text(git_repository* repository,
                                       const char* key) {
  config_ptr config;
  buffer value;
  if (git_repository_config_snapshot(config.put(), repository) != 0
      || git_config_get_string_buf(&value.raw, config.get(), key) != 0)
    return std::nullopt;
  return std::string{value.raw.ptr, value.raw.size};
}

bool config_flag(git_repository* repository, const char* key, bool fallback) {
  config_ptr config;
  int value = 0;
  if (git_repository_config_snapshot(config.put(), repository) != 0
      || git_config_get_bool(&value, config.get(), key) != 0)
    return fallback;
  return value != 0;
}

bool may_be_absent(git_index* index, const char* path) {
  const auto* entry = git_index_get_bypath(index, path, 0);
  return entry != nullptr
         && ((entry->flags_extended & GIT_INDEX_ENTRY_SKIP_WORKTREE) != 0
             || (entry->flags & GIT_INDEX_ENTRY_VALID) != 0);
}

std::string full_id(const git_oid& id) {
  std::array<char, GIT_OID_HEXSZ + 1> text{};
  git_oid_tostr(text.data(), text.size(), &id);
  return text.data();
}

std::string short_id(const git_object* object) {
  buffer text;
  if (git_object_short_id(&text.raw, object) != 0)
    return full_id(*git_object_id(object)).substr(0, 7);
  return {text.raw.ptr, text.raw.size};
}

} // namespace caged::mcp::git
