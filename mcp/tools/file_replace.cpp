#include "mcp/tools/file_replace.hpp"

#include <cerrno>
#include <climits>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/tools/file_common.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

/// As the kernel's own bound, path_resolution(7).
constexpr int links_most = 40;

/// A file with a name of its own until it has taken its place.
class temporary {
public:
  temporary(int folder, mode_t mode)
      : folder_{folder}, name_{".caged-" + random_name(16)} {
    fd_ = owned_fd{::openat(
        folder, name_.c_str(),
        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode)};
    there_ = static_cast<bool>(fd_);
  }
  ~temporary() {
    if (there_)
      ::unlinkat(folder_, name_.c_str(), 0);
  }
  temporary(const temporary&) = delete;
  temporary& operator=(const temporary&) = delete;

  explicit operator bool() const { return there_; }
  int fd() const { return fd_.get(); }
  bool write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto n = ::write(fd(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool rename_to(const std::string& name) {
    if (::renameat(folder_, name_.c_str(), folder_, name.c_str()) != 0)
      return false;
    there_ = false;
    return true;
  }

private:
  int folder_;
  std::string name_;
  owned_fd fd_;
  bool there_ = false;
};

/// Gives the new file the old one's owner, where that is permitted.
bool keep_owner(int fd, const struct stat& old) {
  struct stat fresh {};
  if (::fstat(fd, &fresh) != 0)
    return false;
  if (fresh.st_uid == old.st_uid && fresh.st_gid == old.st_gid)
    return true;
  return ::fchown(fd, old.st_uid, old.st_gid) == 0;
}

} // namespace

result<workspace::place> find_target(const workspace& where,
                                     std::string_view path, bool create_dirs) {
  // Also keeps the text and what parent_of makes of it alike, see below.
  if (path.size() > 1
      && (path.back() == '/' || path.substr(path.size() - 2) == "/."))
    return fail(ec::bad_request,
                caged::quoted(path) + " names a folder, not a file",
                "end it with the name of a file");
  auto current = where.relative(path);
  if (!current)
    return tl::unexpected{std::move(current.error())};
  for (int turn = 0; turn < links_most; ++turn) {
    auto at = create_dirs ? where.make_parent_of(*current)
                          : where.parent_of(*current);
    if (!at)
      return at;
    char target[PATH_MAX];
    const auto size =
        ::readlinkat(at->folder.get(), at->name.c_str(), target, sizeof target);
    if (size < 0) // no link, or nothing at all
      return at;
    const std::string_view to{target, static_cast<std::size_t>(size)};
    // What the kernel refuses on the way it would refuse here.
    if (to.empty() || to[0] == '/' || to.size() == sizeof target)
      return path_error(path, EXDEV);
    // From the link's folder, whatever links lead to that.
    const auto slash = current->rfind('/');
    current->resize(slash == std::string::npos ? 0 : slash + 1);
    *current += to;
  }
  return path_error(path, ELOOP);
}

result<std::optional<struct stat>>
look_at(const workspace::place& at, std::string_view path,
        const std::optional<std::string>& expected_version) {
  struct stat about {};
  const bool there =
      ::fstatat(at.folder.get(), at.name.c_str(), &about, AT_SYMLINK_NOFOLLOW)
      == 0;
  if (!there && errno != ENOENT)
    return path_error(path, errno);
  if (expected_version) {
    const auto found = there ? file_version(about) : std::string{"none"};
    if (found != *expected_version)
      return fail(ec::conflict,
                  caged::quoted(path)
                      + (!there ? " is not there any more"
                         : *expected_version == "none"
                             ? " exists already, with version " + found
                             : " was changed since it was read; its version "
                               "is now "
                                   + found),
                  "read it again and apply your change to what it is now");
  }
  if (!there)
    return std::optional<struct stat>{};
  if (auto good = must_be_file(path, about); !good)
    return tl::unexpected{std::move(good.error())};
  // A rename would not ask for it.
  if (::faccessat(at.folder.get(), at.name.c_str(), W_OK,
                  AT_EACCESS | AT_SYMLINK_NOFOLLOW)
      != 0)
    return fail_errno(ec::denied, caged::quoted(path) + " cannot be written",
                      errno);
  return std::optional<struct stat>{about};
}

result<struct stat> replace_file(const workspace::place& at,
                                 std::string_view path, std::string_view bytes,
                                 const std::optional<struct stat>& now,
                                 std::optional<mode_t> mode) {
  const int folder = at.folder.get();
  // Nobody may read it in between who could not before and after.
  temporary file{folder, now || mode ? 0600U : 0666U};
  if (!file)
    return path_error(path, errno);
  if (!file.write(bytes))
    return path_error(path, errno);
  if (now)
    static_cast<void>(keep_owner(file.fd(), *now));
  if (mode || now) {
    const auto wanted = mode ? *mode : now->st_mode & 01777U;
    if (::fchmod(file.fd(), wanted) != 0)
      return path_error(path, errno);
  }
  if (!file.rename_to(at.name))
    return path_error(path, errno);
  struct stat about {};
  if (::fstat(file.fd(), &about) != 0)
    return path_error(path, errno);
  return about;
}

} // namespace caged::mcp
