#include "agent/files.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
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
constexpr std::uint64_t mode_unset = mode_most + 1;
/// Entries of a directory that one `list` looks at: names in memory.
constexpr std::size_t names_most = 20000;

tl::unexpected<failure> io_error(const std::string& what,
                                 const std::string& path, int error) {
  auto code = ec::io;
  if (error == ENOENT || error == ENOTDIR)
    code = ec::not_found;
  else if (error == EACCES || error == EPERM || error == EROFS)
    code = ec::denied;
  else if (error == EEXIST || error == ENOTEMPTY)
    code = ec::conflict;
  else if (error == ENOSPC || error == EDQUOT || error == EMFILE)
    code = ec::resource;
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

} // namespace

// -- uploads -----------------------------------------------------------------

result<std::unique_ptr<upload>> upload::open(const std::string& path,
                                             std::optional<unsigned> mode) {
  auto target = path;
  struct stat about {};
  bool there = ::lstat(path.c_str(), &about) == 0;
  if (there && S_ISLNK(about.st_mode)) {
    // A rename would replace the link; what it points to is meant.
    char real[PATH_MAX];
    if (!::realpath(path.c_str(), real))
      return io_error("cannot write", path, errno);
    target = real;
    there = ::lstat(real, &about) == 0;
  }
  if (there && !S_ISREG(about.st_mode))
    return fail(ec::bad_request, caged::quoted(path)
                                     + " is no regular file but a "
                                     + type_name(about.st_mode));
  std::unique_ptr<upload> out{new upload};
  out->path_ = path;
  out->target_ = target;
  // Not target + suffix: a name may be 255 bytes long already.
  out->temporary_ =
      target.substr(0, target.rfind('/') + 1) + ".caged-" + random_name(12);
  out->fd_ = unique_fd{
      ::open(out->temporary_.c_str(),
             O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!out->fd_) {
    int error = errno;
    out->temporary_.clear();
    return io_error("cannot write", target, error);
  }
  // An existing file stays its owner's, where that is permitted.
  if (there)
    static_cast<void>(::fchown(out->fd_.get(), about.st_uid, about.st_gid)
                      == 0);
  if (::fchmod(out->fd_.get(),
               mode.value_or(there ? about.st_mode & 07777U : 0644U))
      != 0)
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
  // The new name has to outlive a crash as well.
  unique_fd directory{::open(target_.substr(0, target_.rfind('/') + 1).c_str(),
                             O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory)
    ::fsync(directory.get());
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
  unique_fd fd{
      ::open(path->c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
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
  // Files of /proc have the size 0 and still contents.
  bool end = have < *length || (size > 0 && *offset + have >= size);
  return json{{"offset", *offset}, {"size", size}, {"eof", end}};
}

result<json> file_service::write(ap::line& message, uploads& pending) const {
  const auto& payload = message.payload;
  auto path = path_of(payload);
  // Absent and 0 are not the same: an existing file keeps its mode.
  auto mode = payload.contains("mode") ? ap::number(payload, "mode", mode_most)
                                       : result<std::uint64_t>{mode_unset};
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
    if (now->path() != *path)
      return fail(ec::bad_request, "the upload " + caged::quoted(key)
                                       + " goes to "
                                       + caged::quoted(now->path()));
  } else {
    if (pending.size() >= uploads_most)
      return fail(ec::too_large,
                  "there are " + std::to_string(pending.size())
                      + " uploads under way already; the most is "
                      + std::to_string(uploads_most));
    auto opened =
        upload::open(*path, *mode == mode_unset
                                ? std::nullopt
                                : std::optional{static_cast<unsigned>(*mode)});
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
  std::size_t bytes = 0;
  for (const auto& name : names) {
    struct stat about {};
    if (::fstatat(::dirfd(directory), name.c_str(), &about, AT_SYMLINK_NOFOLLOW)
        != 0)
      continue; // gone since
    auto entry = describe(::dirfd(directory), name, name, about);
    // A control character of a name or target takes six bytes of the line.
    auto size =
        entry.dump(-1, ' ', false, json::error_handler_t::replace).size() + 1;
    if (!entries.empty() && bytes + size > limits::agent_line_max - 1024) {
      more = true;
      break;
    }
    bytes += size;
    entries.push_back(std::move(entry));
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

result<std::unique_ptr<removal>>
file_service::remove(const json& payload) const {
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
  if (*recursive && S_ISDIR(about.st_mode))
    return std::make_unique<removal>(*path);
  if (::unlinkat(AT_FDCWD, path->c_str(),
                 S_ISDIR(about.st_mode) ? AT_REMOVEDIR : 0)
      != 0)
    return io_error("cannot remove", *path, errno);
  return std::unique_ptr<removal>{};
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
