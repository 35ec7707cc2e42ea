#include "nodes/disk_templates.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/limits.hpp"
#include "messages/sandbox.hpp"
#include "messages/text.hpp"
#include "nodes/logging.hpp"
#include "nodes/oci/sys.hpp"
#include "nodes/sha256.hpp"
#include "nodes/templates/templates.hpp"

namespace caged {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

namespace {

/// What a partial archive is kept for its fetch to go on.
constexpr auto partial_kept = std::chrono::hours(7 * 24);
/// Left free on the disk beside what a template takes.
constexpr std::uint64_t spare_bytes = 64 * 1024 * 1024;
/// No offset in a file is greater.
constexpr std::uint64_t size_max = 1ULL << 50U;

/// Whether it still is the tree that was packed.
struct tree_mark {
  dev_t device = 0;
  ino_t inode = 0;
  timespec changed{};

  static std::optional<tree_mark> of(const fs::path& root) {
    struct stat about {};
    if (::stat(root.c_str(), &about) != 0)
      return std::nullopt;
    return tree_mark{about.st_dev, about.st_ino, about.st_mtim};
  }
  bool operator==(const tree_mark& other) const {
    return device == other.device && inode == other.inode
           && changed.tv_sec == other.changed.tv_sec
           && changed.tv_nsec == other.changed.tv_nsec;
  }
};

/// The last line that tar wrote, which says what was wrong.
std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  const auto line = text.rfind('\n');
  return escape_text(line == text.npos ? text : text.substr(line + 1), 256);
}

result<void> run_tar(std::vector<std::string> arguments, const char* what,
                     const std::string& name,
                     std::chrono::milliseconds patience) {
  // The environment's options would change the bytes; its language the errors.
  std::vector<std::string> argv = {"env", "-u", "TAR_OPTIONS", "LC_ALL=C",
                                   "tar"};
  std::move(arguments.begin(), arguments.end(), std::back_inserter(argv));
  const auto done = sys::run(argv, patience);
  if (!done)
    return tl::unexpected<failure>(done.error());
  if (WIFEXITED(done->status) && WEXITSTATUS(done->status) == 0)
    return {};
  const bool full = done->output.find("No space left") != std::string::npos
                    || done->output.find("Disk quota") != std::string::npos;
  return fail(full ? ec::resource : ec::io,
              std::string{"template "} + caged::quoted(name) + " cannot be "
                  + what + ": " + last_line(done->output),
              full ? "free some space beneath the data directory" : "");
}

class on_disk : public disk_templates {
public:
  on_disk(fs::path data_dir, options how)
      : data_{std::move(data_dir)}, how_{how} {
    std::error_code ignored;
    for (const auto& item : fs::directory_iterator{incoming(), ignored}) {
      const bool old = item.last_write_time(ignored)
                       < fs::file_time_type::clock::now() - partial_kept;
      if (old || item.is_directory(ignored))
        fs::remove_all(item.path(), ignored);
    }
  }

  std::vector<std::string> list() const override {
    return templates::list(data_);
  }
  bool has(const std::string& name) const override {
    std::error_code ignored;
    return is_valid_name(name)
           && (name == "minimal"
               || fs::is_directory(home(name) / "rootfs", ignored));
  }

  result<api::template_chunk> read(const api::template_read& what) override {
    const std::lock_guard guard{packing_};
    if (auto there = pack(what.template_name); !there)
      return tl::unexpected<failure>(there.error());
    packed_.used = clock::now();
    api::template_chunk out;
    out.digest = packed_.what.digest;
    out.size = packed_.what.size;
    if (what.digest.empty())
      return out;
    if (what.digest != out.digest)
      return fail(ec::conflict, "template " + caged::quoted(what.template_name)
                                    + " has changed meanwhile");
    if (what.offset >= out.size)
      return fail(ec::bad_request,
                  "template " + caged::quoted(what.template_name) + " has "
                      + std::to_string(out.size) + " bytes, none at "
                      + std::to_string(what.offset));
    out.offset = what.offset;
    out.bytes.resize(
        std::min<std::uint64_t>(limits::frame_max, out.size - what.offset));
    for (std::size_t got = 0; got < out.bytes.size();) {
      const auto n = ::pread(packed_.file.get(), out.bytes.data() + got,
                             out.bytes.size() - got,
                             static_cast<off_t>(what.offset + got));
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return fail_errno(ec::io,
                          "the archive of template "
                              + caged::quoted(what.template_name)
                              + " cannot be read",
                          n < 0 ? errno : EIO);
      got += static_cast<std::size_t>(n);
    }
    out.bytes_digest = sha256(out.bytes);
    return out;
  }

  void close_idle() override {
    // A lock that is held is in use.
    const std::unique_lock guard{packing_, std::try_to_lock};
    if (guard && packed_.file && clock::now() - packed_.used > how_.idle)
      packed_ = {};
  }

  result<std::uint64_t> begin(const std::string& name,
                              const template_archive& what) override {
    if (!is_valid_name(name) || what.size == 0 || what.size > size_max
        || what.digest.find_first_not_of("0123456789abcdef")
               != std::string::npos)
      return fail(ec::malformed, "what is said of template "
                                     + caged::quoted(name) + " makes no sense");
    std::error_code error;
    fs::create_directories(incoming(), error);
    if (error)
      return fail(ec::io, "cannot create " + incoming().string() + ": "
                              + error.message());
    const auto path = partial(name, what);
    // Those of the same template that nobody will finish.
    for (const auto& item : fs::directory_iterator{incoming(), error})
      if (item.path().filename().string().starts_with(name + "@")
          && item.path() != path)
        fs::remove_all(item.path(), error);
    const sys::unique_fd file{
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
    struct stat about {};
    if (!file || ::fstat(file.get(), &about) != 0)
      return fail_errno(ec::io, "cannot open " + path.string(), errno);
    auto from = std::min(static_cast<std::uint64_t>(about.st_size), what.size);
    if (from < what.size)
      from -= from % limits::frame_max;
    if (::ftruncate(file.get(), static_cast<off_t>(from)) != 0)
      return fail_errno(ec::io, "cannot shorten " + path.string(), errno);
    struct statvfs disk {};
    if (::statvfs(incoming().c_str(), &disk) != 0)
      return fail_errno(ec::io, "cannot look at " + incoming().string(), errno);
    // The archive, and the files that come out of it.
    const auto needed = what.size - from + what.size + spare_bytes;
    const auto room = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    if (room < needed) {
      constexpr std::uint64_t mega = 1'000'000;
      return fail(ec::resource,
                  "there is no room for template " + caged::quoted(name)
                      + ": it needs " + std::to_string(needed / mega)
                      + " MB beneath " + data_.string() + ", which has "
                      + std::to_string(room / mega) + " MB left",
                  "free some space there, or ask for another node: --node");
    }
    log_event("a template is fetched", {{"template", name},
                                        {"digest", what.digest},
                                        {"bytes", std::to_string(what.size)},
                                        {"from", std::to_string(from)}});
    return from;
  }

  result<void> append(const std::string& name, const template_archive& what,
                      const api::template_chunk& piece) override {
    if (sha256(piece.bytes) != piece.bytes_digest)
      return fail(ec::malformed,
                  "the piece of template " + caged::quoted(name) + " at byte "
                      + std::to_string(piece.offset) + " came damaged");
    const auto path = partial(name, what);
    const sys::unique_fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    struct stat about {};
    if (!file || ::fstat(file.get(), &about) != 0)
      return fail_errno(ec::io, "cannot open " + path.string(), errno);
    if (static_cast<std::uint64_t>(about.st_size) != piece.offset)
      return fail(ec::malformed, "a piece of template " + caged::quoted(name)
                                     + " does not follow on what there is");
    for (std::size_t put = 0; put < piece.bytes.size();) {
      const auto n = ::pwrite(file.get(), piece.bytes.data() + put,
                              piece.bytes.size() - put,
                              static_cast<off_t>(piece.offset + put));
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return sys::fail_host(errno == ENOSPC || errno == EDQUOT ? ec::resource
                                                                 : ec::io,
                              "template " + caged::quoted(name)
                                  + " cannot be written to " + path.string(),
                              errno);
      put += static_cast<std::size_t>(n);
    }
    return {};
  }

  result<void> install(const std::string& name,
                       const template_archive& what) override {
    const auto path = partial(name, what);
    std::error_code ignored;
    {
      const sys::unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
      if (!file)
        return fail_errno(ec::io, "cannot open " + path.string(), errno);
      const auto digest = sha256_of_file(file.get());
      if (!digest)
        return tl::unexpected<failure>(digest.error());
      if (*digest != what.digest) {
        fs::remove(path, ignored);
        return fail(ec::malformed, "template " + caged::quoted(name)
                                       + " came damaged: its SHA-256 is "
                                       + *digest + ", not " + what.digest);
      }
    }
    const auto fresh = incoming() / (name + "." + random_name(8));
    auto done = unpack(name, path, fresh);
    fs::remove_all(fresh, ignored);
    if (done) {
      fs::remove(path, ignored);
      log_event("a template is there",
                {{"template", name}, {"digest", what.digest}});
    }
    return done;
  }

private:
  struct packed {
    std::string name;
    tree_mark of;
    sys::unique_fd file;
    template_archive what;
    clock::time_point used;
  };

  fs::path home(const std::string& name) const {
    return data_ / "templates" / name;
  }
  fs::path incoming() const { return data_ / "templates" / ".incoming"; }
  fs::path partial(const std::string& name,
                   const template_archive& what) const {
    return incoming() / (name + "@" + what.digest);
  }

  /// packed_ is this template's, as it is now.
  result<void> pack(const std::string& name) {
    auto root = templates::resolve(data_, name);
    if (!root)
      return tl::unexpected<failure>(root.error());
    const auto now = tree_mark::of(*root);
    if (!now)
      return fail_errno(ec::io, "cannot look at " + root->string(), errno);
    if (packed_.file && packed_.name == name && packed_.of == *now)
      return {};
    packed_ = {}; // its disk is free before more is taken
    std::error_code error;
    fs::create_directories(incoming(), error);
    const auto path = incoming() / (".packed." + random_name(8));
    auto made = run_tar({"--create", "--file", path.string(), "--sort=name",
                         "--format=posix", "--numeric-owner", "--xattrs",
                         "--xattrs-include=*",
                         "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete="
                         "atime,delete=ctime",
                         "--directory", home(name).string(), "rootfs"},
                        "packed", name, how_.pack);
    sys::unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    const auto why = errno;
    ::unlink(path.c_str());
    if (!made)
      return made;
    struct stat about {};
    if (!file || ::fstat(file.get(), &about) != 0)
      return fail_errno(ec::io, "cannot open " + path.string(), why);
    auto digest = sha256_of_file(file.get());
    if (!digest)
      return tl::unexpected<failure>(digest.error());
    packed_ = {name,
               *now,
               std::move(file),
               {std::move(*digest), static_cast<std::uint64_t>(about.st_size)},
               clock::now()};
    return {};
  }

  /// Into a directory of its own, and from there to its place, in one rename:
  /// nobody ever sees half a template.
  result<void> unpack(const std::string& name, const fs::path& archive,
                      const fs::path& fresh) const {
    std::error_code error;
    fs::create_directory(fresh, error);
    if (error)
      return fail(ec::io,
                  "cannot create " + fresh.string() + ": " + error.message());
    auto done =
        run_tar({"--extract", "--file", archive.string(), "--directory",
                 fresh.string(), "--same-owner", "--numeric-owner",
                 "--preserve-permissions", "--xattrs", "--xattrs-include=*"},
                "unpacked", name, how_.unpack);
    if (!done)
      return done;
    if (!fs::is_directory(fs::symlink_status(fresh / "rootfs", error)))
      return fail(ec::io, "template " + caged::quoted(name) + " has no rootfs");
    // A host that loses power has all of it, or none.
    const sys::unique_fd root{
        ::open(fresh.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!root || ::syncfs(root.get()) != 0)
      return fail_errno(ec::io, "cannot write out " + fresh.string(), errno);
    if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, home(name).c_str(),
                    RENAME_NOREPLACE)
            < 0
        && errno != EEXIST) // an administrator was faster, and is right
      return fail_errno(ec::io, "cannot rename " + fresh.string(), errno);
    return {};
  }

  const fs::path data_;
  const options how_;
  std::mutex packing_; ///< of the next, and held for as long as packing takes
  packed packed_;
};

} // namespace

std::unique_ptr<disk_templates> disk_templates::open(const fs::path& data_dir,
                                                     options how) {
  return std::make_unique<on_disk>(data_dir, how);
}

} // namespace caged
