#include "agent/files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::agent {

namespace ap = agent_protocol;
using nlohmann::json;

namespace {

constexpr std::uint64_t list_most = 40;
constexpr std::size_t uploads_most = 8;
constexpr std::uint64_t mode_most = 07777;
/// Entries of a directory that one `list` looks at: names in memory.
constexpr std::size_t names_most = 20000;

tl::unexpected<failure> io_error(const std::string& what,
                                 const std::string& path, int error) {
  auto code = error == ENOENT || error == ENOTDIR ? ec::not_found
              : error == EACCES || error == EPERM ? ec::denied
                                                  : ec::io;
  return fail_errno(code, what + " " + caged::quoted(path), error);
}

const char* type_name(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "dir";
  case S_IFLNK:
    return "link";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  case S_IFCHR:
    return "char";
  case S_IFBLK:
    return "block";
  default:
    return "file";
  }
}

/// One entry as `list` and `stat` give it.
json describe(int directory, const std::string& path, const std::string& name,
              const struct stat& about) {
  json out = {
      {"name", name},
      {"type", type_name(about.st_mode)},
      {"size", static_cast<std::uint64_t>(about.st_size)},
      {"mode", static_cast<std::uint64_t>(about.st_mode & mode_most)},
      {"mtime_ms", static_cast<std::int64_t>(about.st_mtim.tv_sec) * 1000
                       + about.st_mtim.tv_nsec / 1000000}};
  if (S_ISLNK(about.st_mode)) {
    std::string target(4096, '\0');
    auto n =
        ::readlinkat(directory, path.c_str(), target.data(), target.size());
    if (n >= 0) {
      target.resize(static_cast<std::size_t>(n));
      out["target"] = target;
    }
  }
  return out;
}

std::string last_part(const std::string& path) {
  auto end = path.find_last_not_of('/');
  if (end == std::string::npos)
    return "/";
  auto begin = path.rfind('/', end);
  return path.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

/// Removes what `name` in the directory is, with what is in it. Never follows
/// a link; descends by descriptor.
bool remove_tree(int directory, const char* name, std::uint64_t& removed,
                 int depth) {
  if (::unlinkat(directory, name, 0) == 0) {
    ++removed;
    return true;
  }
  if (errno != EISDIR && errno != EPERM)
    return errno == ENOENT;
  if (depth > 200) {
    errno = ELOOP; // deeper than any path that can be named
    return false;
  }
  int fd = ::openat(directory, name,
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return false;
  DIR* list = ::fdopendir(fd);
  if (!list) {
    ::close(fd);
    return false;
  }
  bool good = true;
  int error = 0;
  while (auto* entry = ::readdir(list)) {
    std::string_view is = entry->d_name;
    if (is == "." || is == "..")
      continue;
    if (!remove_tree(::dirfd(list), entry->d_name, removed, depth + 1)) {
      good = false;
      error = errno;
      break;
    }
  }
  ::closedir(list);
  if (!good) {
    errno = error;
    return false;
  }
  if (::unlinkat(directory, name, AT_REMOVEDIR) != 0)
    return false;
  ++removed;
  return true;
}

} // namespace

// -- uploads -----------------------------------------------------------------

result<std::unique_ptr<upload>> upload::open(const std::string& target,
                                             unsigned mode) {
  struct stat about {};
  bool there = ::stat(target.c_str(), &about) == 0;
  if (there && S_ISDIR(about.st_mode))
    return fail(ec::bad_request, caged::quoted(target) + " is a directory");
  std::unique_ptr<upload> out{new upload};
  out->target_ = target;
  out->temporary_ = target + ".caged-" + random_name(8);
  out->fd_ = unique_fd{
      ::open(out->temporary_.c_str(),
             O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!out->fd_) {
    int error = errno;
    out->temporary_.clear();
    return io_error("cannot write", target, error);
  }
  if (::fchmod(out->fd_.get(), mode) != 0)
    return io_error("cannot set the mode of", target, errno);
  return out;
}

upload::~upload() {
  if (!temporary_.empty())
    ::unlink(temporary_.c_str());
}

result<void> upload::append(std::string_view bytes) {
  while (!bytes.empty()) {
    auto n = ::write(fd_.get(), bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR)
        continue;
      return io_error("cannot write", target_, errno);
    }
    size_ += static_cast<std::uint64_t>(n);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

result<void> upload::finish() {
  if (::fsync(fd_.get()) != 0)
    return io_error("cannot write", target_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0)
    return io_error("cannot replace", target_, errno);
  temporary_.clear();
  return {};
}

// -- messages ----------------------------------------------------------------

std::string file_service::resolve(const std::string& path) const {
  return !path.empty() && path[0] == '/' ? path : workspace_ + "/" + path;
}

result<std::string> file_service::path_of(const json& payload) const {
  auto path = ap::text(payload, "path");
  if (!path)
    return path;
  if (path->empty() || path->size() > 4095
      || path->find('\0') != std::string::npos)
    return fail(ec::bad_request, "path must have 1 to 4095 bytes and no NUL");
  return resolve(*path);
}

result<json> file_service::read(const json& payload, std::string& bytes) const {
  auto path = path_of(payload);
  if (!path)
    return tl::unexpected{path.error()};
  auto offset = ap::number_or(payload, "offset", 0);
  if (!offset)
    return tl::unexpected{offset.error()};
  auto length = ap::number_or(payload, "length", limits::agent_file_chunk,
                              limits::agent_file_chunk);
  if (!length)
    return tl::unexpected{length.error()};
  // O_NONBLOCK: a FIFO or device is refused below instead of waited for.
  unique_fd fd{::open(path->c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  if (!fd)
    return io_error("cannot read", *path, errno);
  struct stat about {};
  if (::fstat(fd.get(), &about) != 0)
    return io_error("cannot read", *path, errno);
  if (!S_ISREG(about.st_mode))
    return fail(ec::bad_request, caged::quoted(*path)
                                     + " is no regular file but a "
                                     + type_name(about.st_mode));
  bytes.resize(static_cast<std::size_t>(*length));
  std::size_t have = 0;
  while (have < bytes.size()) {
    auto n = ::pread(fd.get(), bytes.data() + have, bytes.size() - have,
                     static_cast<off_t>(*offset + have));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return io_error("cannot read", *path, errno);
    if (n == 0)
      break;
    have += static_cast<std::size_t>(n);
  }
  bytes.resize(have);
  auto size = static_cast<std::uint64_t>(about.st_size);
  return json{
      {"offset", *offset}, {"size", size}, {"eof", *offset + have >= size}};
}

result<json> file_service::write(ap::line& message, uploads& pending) const {
  const auto& payload = message.payload;
  auto path = path_of(payload);
  auto mode = ap::number_or(payload, "mode", 0644, mode_most);
  auto offset = ap::number_or(payload, "offset", 0);
  auto more = ap::flag_or(payload, "more", false);
  auto name = ap::optional_text(payload, "upload");
  if (!path)
    return tl::unexpected{path.error()};
  if (!mode)
    return tl::unexpected{mode.error()};
  if (!offset)
    return tl::unexpected{offset.error()};
  if (!more)
    return tl::unexpected{more.error()};
  if (!name)
    return tl::unexpected{name.error()};
  if (*more && (!*name || (*name)->empty() || (*name)->size() > 64))
    return fail(ec::bad_request,
                "with more, upload must be a text of 1 to 64 bytes");
  auto bytes = ap::take_bytes(message);
  if (!bytes)
    return tl::unexpected{bytes.error()};
  auto key = name->value_or("");
  auto it = key.empty() ? pending.end() : pending.find(key);
  std::unique_ptr<upload> now;
  if (it != pending.end()) {
    now = std::move(it->second);
    pending.erase(it);
  } else {
    if (pending.size() >= uploads_most)
      return fail(ec::too_large,
                  "there are " + std::to_string(pending.size())
                      + " uploads under way already; the most is "
                      + std::to_string(uploads_most));
    auto opened = upload::open(*path, static_cast<unsigned>(*mode));
    if (!opened)
      return tl::unexpected{opened.error()};
    now = std::move(*opened);
  }
  // An error ends the upload: the temporary file goes with `now`.
  if (*offset != now->size())
    return fail(ec::bad_request, "the upload goes on at "
                                     + std::to_string(now->size()) + ", not at "
                                     + std::to_string(*offset));
  if (auto done = now->append(*bytes); !done)
    return tl::unexpected{done.error()};
  json out = {{"size", now->size()}};
  if (*more)
    pending.emplace(key, std::move(now));
  else if (auto done = now->finish(); !done)
    return tl::unexpected{done.error()};
  return out;
}

result<json> file_service::list(const json& payload) const {
  auto path = path_of(payload);
  auto after = ap::optional_text(payload, "after");
  auto limit = ap::number_or(payload, "limit", list_most, list_most);
  if (!path)
    return tl::unexpected{path.error()};
  if (!after)
    return tl::unexpected{after.error()};
  if (!limit)
    return tl::unexpected{limit.error()};
  DIR* directory = ::opendir(path->c_str());
  if (!directory)
    return io_error("cannot list", *path, errno);
  // Only the names that this page can need: the smallest ones behind `after`.
  std::vector<std::string> names;
  auto keep = static_cast<std::size_t>(*limit) + 1;
  std::size_t seen = 0;
  while (auto* entry = ::readdir(directory)) {
    std::string name = entry->d_name;
    if (name == "." || name == ".." || (*after && name <= **after))
      continue;
    if (++seen > names_most * 50)
      break;
    names.push_back(std::move(name));
    if (names.size() > 4 * keep) {
      std::nth_element(names.begin(),
                       names.begin() + static_cast<std::ptrdiff_t>(keep),
                       names.end());
      names.resize(keep);
    }
  }
  std::sort(names.begin(), names.end());
  bool more = names.size() > *limit;
  if (more)
    names.resize(static_cast<std::size_t>(*limit));
  json entries = json::array();
  for (const auto& name : names) {
    struct stat about {};
    if (::fstatat(::dirfd(directory), name.c_str(), &about, AT_SYMLINK_NOFOLLOW)
        == 0)
      entries.push_back(describe(::dirfd(directory), name, name, about));
  }
  ::closedir(directory);
  return json{{"entries", std::move(entries)}, {"more", more}};
}

result<json> file_service::stat(const json& payload) const {
  auto path = path_of(payload);
  auto follow = ap::flag_or(payload, "follow", false);
  if (!path)
    return tl::unexpected{path.error()};
  if (!follow)
    return tl::unexpected{follow.error()};
  struct stat about {};
  if (::fstatat(AT_FDCWD, path->c_str(), &about,
                *follow ? 0 : AT_SYMLINK_NOFOLLOW)
      != 0)
    return io_error("cannot look at", *path, errno);
  return describe(AT_FDCWD, *path, last_part(*path), about);
}

result<json> file_service::remove(const json& payload) const {
  auto path = path_of(payload);
  auto recursive = ap::flag_or(payload, "recursive", false);
  if (!path)
    return tl::unexpected{path.error()};
  if (!recursive)
    return tl::unexpected{recursive.error()};
  auto name = last_part(*path);
  if (name == "." || name == "..")
    return fail(ec::bad_request, "a path that ends in . or .. is not removed");
  // By identity, whatever the spelling.
  struct stat about {
  }, root{}, work{};
  if (::lstat(path->c_str(), &about) != 0)
    return io_error("cannot remove", *path, errno);
  auto same = [&](const struct stat& other) {
    return about.st_dev == other.st_dev && about.st_ino == other.st_ino;
  };
  if ((::stat("/", &root) == 0 && same(root))
      || (::stat(workspace_.c_str(), &work) == 0 && same(work)))
    return fail(ec::denied, caged::quoted(*path) + " is never removed");
  std::uint64_t removed = 0;
  if (*recursive) {
    if (!remove_tree(AT_FDCWD, path->c_str(), removed, 0))
      return io_error("cannot remove all of", *path, errno);
  } else {
    if (::unlinkat(AT_FDCWD, path->c_str(),
                   S_ISDIR(about.st_mode) ? AT_REMOVEDIR : 0)
        != 0)
      return io_error("cannot remove", *path, errno);
    removed = 1;
  }
  return json{{"removed", removed}};
}

result<json> file_service::mkdir(const json& payload) const {
  auto path = path_of(payload);
  auto parents = ap::flag_or(payload, "parents", false);
  auto mode = ap::number_or(payload, "mode", 0755, mode_most);
  if (!path)
    return tl::unexpected{path.error()};
  if (!parents)
    return tl::unexpected{parents.error()};
  if (!mode)
    return tl::unexpected{mode.error()};
  if (*parents)
    for (auto at = path->find('/', 1); at != std::string::npos;
         at = path->find('/', at + 1))
      if (::mkdir(path->substr(0, at).c_str(), 0755) != 0 && errno != EEXIST)
        return io_error("cannot make", path->substr(0, at), errno);
  if (::mkdir(path->c_str(), static_cast<mode_t>(*mode)) != 0) {
    int error = errno;
    struct stat about {};
    if (!(*parents && error == EEXIST && ::stat(path->c_str(), &about) == 0
          && S_ISDIR(about.st_mode)))
      return io_error("cannot make", *path, error);
  } else if (::chmod(path->c_str(), static_cast<mode_t>(*mode)) != 0) {
    return io_error("cannot set the mode of", *path, errno);
  }
  return json::object();
}

} // namespace caged::agent
