#include "mcp/workspace.hpp"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/open_beneath.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr const char* how_to_name =
    "give a path relative to the workspace, such as src/main.c; file_list "
    "shows what is there";

std::string real_path(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real{
      ::realpath(path.c_str(), nullptr), &std::free};
  return real ? std::string{real.get()} : std::string{};
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat one {
  }, two{};
  return ::stat(a.c_str(), &one) == 0 && ::stat(b.c_str(), &two) == 0
         && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/// `folder` as the user would write it in full: through the links that lead to
/// it. Empty when that cannot be told from the text.
std::string as_given(const std::string& folder) {
  std::string out;
  if (folder.empty() || folder[0] != '/') {
    const char* pwd = std::getenv("PWD"); // kept by shells, with its links
    if (pwd == nullptr || pwd[0] != '/' || !same_file(pwd, "."))
      return {};
    out = pwd;
  }
  for (std::size_t at = 0; at < folder.size();) {
    auto end = std::min(folder.find('/', at), folder.size());
    auto part = folder.substr(at, end - at);
    if (part == "..")
      return {};
    if (!part.empty() && part != ".")
      out += "/" + part;
    at = end + 1;
  }
  return out.empty() ? "/" : out;
}

/// What is left of `path` behind `root`, without slashes in front; null when
/// it does not lie there. By whole components: /ws-evil is not in /ws.
const char* behind(const std::string& path, const std::string& root) {
  if (root.empty() || path.compare(0, root.size(), root) != 0)
    return nullptr;
  const char* rest = path.c_str() + root.size();
  if (root.back() != '/' && *rest != '/' && *rest != '\0')
    return nullptr;
  while (*rest == '/')
    ++rest;
  return rest;
}

/// Without what a name may carry behind it: "a/", "a/.", "a//./" are "a".
void trim_end(std::string& path) {
  for (;;) {
    if (path.size() > 1 && path.back() == '/')
      path.pop_back();
    else if (path.size() > 1 && path.compare(path.size() - 2, 2, "/.") == 0)
      path.resize(path.size() - 2);
    else
      return;
    if (path.empty())
      path = ".";
  }
}

struct split_path {
  std::string folder, name;
};

/// The last component of a relative path and what is in front of it.
result<split_path> split(std::string path) {
  trim_end(path);
  auto slash = path.rfind('/');
  split_path out;
  out.folder = slash == std::string::npos ? "." : path.substr(0, slash);
  out.name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (out.name == ".")
    return fail(ec::bad_request, "the path names the workspace itself",
                "name something inside of it");
  if (out.name == "..")
    return fail(ec::bad_request,
                "the path " + caged::quoted(path) + " ends in \"..\"",
                "end it with the name of a file or folder");
  return out;
}

} // namespace

tl::unexpected<failure> path_error(std::string_view path, int error) {
  const auto shown = caged::quoted(path);
  switch (error) {
  case ENOENT:
    return fail(ec::not_found, "there is no " + shown + " in the workspace",
                "file_list shows what is there");
  case EXDEV:
  case ELOOP:
    return fail(ec::denied,
                shown
                    + " leads out of the workspace, or over a link that is "
                      "not followed",
                "only relative links that stay inside are followed; name the "
                "file by its own path in the workspace");
  case ENOTDIR:
    return fail(ec::bad_request, shown + " or a part of it is not a folder",
                "file_list shows what is there");
  case EISDIR:
    return fail(ec::bad_request, shown + " is a folder, not a file",
                "file_list lists a folder");
  case ENXIO:
  case ENODEV:
    return fail(ec::bad_request, shown + " is a FIFO, socket or device",
                "only regular files are read and written");
  case ENAMETOOLONG:
    return fail(ec::bad_request,
                "the path " + shown + " or a name in it is too long",
                "names have at most 255 bytes, paths 4095");
  case EACCES:
  case EPERM:
  case EROFS:
    return fail_errno(ec::denied, "the system refuses access to " + shown,
                      error);
  case EEXIST:
  case ENOTEMPTY:
    return fail_errno(ec::conflict, shown + " is in the way", error);
  case EAGAIN:
    return fail(ec::unavailable,
                shown + " could not be looked up while folders are renamed",
                "try again");
  case EMFILE:
  case ENFILE:
  case ENOMEM:
  case ENOSPC:
  case EDQUOT:
    return fail_errno(ec::resource, "no room for " + shown, error);
  default:
    return fail_errno(ec::io, "cannot use " + shown, error);
  }
}

result<workspace> workspace::open(const std::string& folder) {
  const auto shown = caged::quoted(folder.empty() ? "." : folder);
  const auto* hint = "--workspace takes an existing folder";
  workspace out;
  out.root_ = real_path(folder.empty() ? "." : folder);
  if (!out.root_.empty())
    out.fd_ =
        owned_fd{::open(out.root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!out.fd_) {
    const int error = errno;
    if (error == ENOENT)
      return fail(ec::not_found, "there is no workspace " + shown, hint);
    if (error == ENOTDIR)
      return fail(ec::bad_request, "the workspace " + shown + " is no folder",
                  hint);
    return fail_errno(ec::denied, "cannot open the workspace " + shown, error);
  }
  owned_fd probe{open_beneath(out.fd_.get(), ".", O_PATH)};
  // Some seccomp filters answer EPERM to calls that they do not know.
  if (!probe && (errno == ENOSYS || errno == EPERM))
    return fail(ec::unsupported,
                "this system has no openat2(2), which keeps tools inside the "
                "workspace",
                "it needs Linux 5.6 or newer, and a seccomp filter that lets "
                "openat2 through");
  if (!probe)
    return fail_errno(ec::io, "cannot use the workspace " + shown, errno);
  out.given_ = as_given(folder);
  // Only what really is that folder may stand for it.
  if (out.given_ == out.root_ || !same_file(out.given_, out.root_))
    out.given_.clear();
  return out;
}

result<std::string> workspace::relative(std::string_view path) const {
  if (path.find('\0') != std::string_view::npos)
    return fail(ec::bad_request,
                "the path " + caged::quoted(path) + " holds a NUL",
                how_to_name);
  if (path.size() >= PATH_MAX)
    return fail(ec::bad_request,
                "the path has " + std::to_string(path.size())
                    + " bytes; at most 4095 are possible",
                how_to_name);
  std::string out{path};
  if (out.rfind("file:/", 0) == 0)
    return fail(ec::bad_request, caged::quoted(path) + " is a URI, not a path",
                how_to_name);
  if (out == "~" || out.rfind("~/", 0) == 0)
    return fail(ec::bad_request, "\"~\" does not stand for a home folder here",
                "give a path relative to the workspace; a file of that name "
                "is ./~");
  if (out.empty())
    return std::string{"."};
  if (out[0] != '/')
    return out;
  const char* rest = behind(out, root_);
  if (rest == nullptr)
    rest = behind(out, given_);
  if (rest == nullptr)
    return fail(ec::bad_request,
                caged::quoted(path) + " lies outside the workspace "
                    + caged::quoted(root_),
                how_to_name);
  return *rest == '\0' ? std::string{"."} : std::string{rest};
}

result<owned_fd> workspace::open_at(std::string_view path, int flags,
                                    mode_t mode) const {
  auto where = relative(path);
  if (!where)
    return tl::unexpected{std::move(where.error())};
  owned_fd fd{open_beneath(fd_.get(), where->c_str(),
                           flags | O_NOCTTY | O_NONBLOCK, mode)};
  if (!fd)
    return path_error(path, errno);
  return fd;
}

result<workspace::place> workspace::parent_of(std::string_view path) const {
  auto where = relative(path).and_then(split);
  if (!where)
    return tl::unexpected{std::move(where.error())};
  place out{owned_fd{open_beneath(fd_.get(), where->folder.c_str(),
                                  O_PATH | O_DIRECTORY)},
            std::move(where->name)};
  if (!out.folder)
    return path_error(path, errno);
  return out;
}

result<workspace::place>
workspace::make_parent_of(std::string_view path) const {
  auto where = relative(path).and_then(split);
  if (!where)
    return tl::unexpected{std::move(where.error())};
  constexpr int folder_flags = O_PATH | O_DIRECTORY;
  const auto& folder = where->folder;
  owned_fd here{open_beneath(fd_.get(), folder.c_str(), folder_flags)};
  if (!here && errno != ENOENT)
    return path_error(path, errno);
  if (!here)
    here = owned_fd{open_beneath(fd_.get(), ".", folder_flags)};
  else
    return place{std::move(here), std::move(where->name)};
  if (!here)
    return path_error(path, errno);
  // Every prefix is looked up from the workspace, so that links inside work as
  // they do elsewhere; what is missing is made in the folder before it.
  for (std::size_t at = 0; at < folder.size();) {
    const auto end = std::min(folder.find('/', at), folder.size());
    const auto prefix = folder.substr(0, end);
    const auto part = folder.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".")
      continue;
    owned_fd next{open_beneath(fd_.get(), prefix.c_str(), folder_flags)};
    if (!next && errno == ENOENT) {
      // EEXIST: somebody else made it, or it is a link to nothing; the look-up
      // tells.
      if (::mkdirat(here.get(), part.c_str(), 0777) != 0 && errno != EEXIST)
        return path_error(prefix, errno);
      next = owned_fd{open_beneath(fd_.get(), prefix.c_str(), folder_flags)};
    }
    if (!next)
      return path_error(prefix, errno);
    here = std::move(next);
  }
  return place{std::move(here), std::move(where->name)};
}

} // namespace caged::mcp
