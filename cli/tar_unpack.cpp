#include "cli/tar_unpack.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/copy_paths.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

struct releaser {
  void operator()(archive* a) const { ::archive_free(a); }
};
using archive_ptr = std::unique_ptr<archive, releaser>;

std::string reason(archive* of) {
  const char* text = ::archive_error_string(of);
  return text ? text : "unknown reason";
}

class unpacker {
public:
  unpacker(int from, const unpack_options& what)
      : from_{from},
        what_{what},
        in_{::archive_read_new()},
        disk_{::archive_write_disk_new()} {}

  result<void> run();

private:
  /// Gives the entry its name in our directory, or says why it has none.
  result<void> judge(archive_entry* entry);
  result<std::string> name_of(const char* text) const;
  result<void> extract(archive_entry* entry, const std::string& shown);
  result<void> drain();

  int from_;
  const unpack_options& what_;
  archive_ptr in_, disk_;
  bool top_seen_ = false;
};

/// As name_below; of a single file it is "copy", of a tree "copy/...".
result<std::string> unpacker::name_of(const char* text) const {
  if (!text)
    return fail(ec::malformed, "the sandbox sent an entry without a name");
  auto name = name_below(text);
  if (!name)
    return name;
  if (!what_.directory && *name != what_.name)
    return fail(ec::denied, "the sandbox sent " + quoted(text) + ", but "
                                + quoted(what_.name) + " was asked for");
  if (!what_.directory || *name == ".")
    return unpacked_name;
  return std::string{unpacked_name} + "/" + *name;
}

result<void> unpacker::judge(archive_entry* entry) {
  const char* text = ::archive_entry_pathname(entry);
  auto name = name_of(text);
  if (!name)
    return tl::unexpected<failure>(name.error());
  auto shown = quoted(text);
  bool top = *name == unpacked_name;
  auto type = ::archive_entry_filetype(entry);
  if (const char* link = ::archive_entry_hardlink(entry)) {
    auto target = name_of(link);
    if (top || !target || *target == unpacked_name)
      return fail(ec::denied, "the sandbox sent the hard link " + shown + " to "
                                  + quoted(link)
                                  + ", which is outside of the copy");
    ::archive_entry_copy_hardlink(entry, target->c_str());
    // Mode and times are its file's already.
    ::archive_entry_unset_size(entry);
  } else if (type == AE_IFLNK) {
    const char* to = ::archive_entry_symlink(entry);
    if (!link_stays_below(what_.directory ? *name_below(text) : "x",
                          to ? to : ""))
      return fail(ec::denied,
                  "the sandbox sent the symbolic link " + shown + " to "
                      + quoted(to ? to : "")
                      + ", which may lead outside of the copy",
                  "copy what it leads to, or pack it yourself: "
                  "caged exec SANDBOX -- tar -c PATH");
  } else if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFIFO) {
    return fail(ec::denied, "the sandbox sent " + shown
                                + ", which is a device or of unknown kind");
  }
  bool is_directory = type == AE_IFDIR && !::archive_entry_hardlink(entry);
  if (top && is_directory != what_.directory)
    return fail(ec::denied, "the sandbox sent " + shown + " as "
                                + (is_directory ? "a directory, but a file"
                                                : "a file, but a directory")
                                + " was asked for");
  if (top && !what_.directory && top_seen_)
    return fail(ec::denied, "the sandbox sent " + shown + " twice");
  top_seen_ = top_seen_ || top;
  constexpr unsigned kept_bits = 01777;
  ::archive_entry_set_perm(entry, ::archive_entry_perm(entry) & kept_bits);
  ::archive_entry_copy_pathname(entry, name->c_str());
  return {};
}

result<void> unpacker::extract(archive_entry* entry, const std::string& shown) {
  auto refused = [&] {
    return fail(ec::io, shown + " cannot be written: " + reason(disk_.get()));
  };
  if (::archive_write_header(disk_.get(), entry) < ARCHIVE_OK)
    return refused();
  while (::archive_entry_size(entry) > 0) {
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    auto code = ::archive_read_data_block(in_.get(), &block, &size, &offset);
    if (code == ARCHIVE_EOF)
      break;
    if (code < ARCHIVE_WARN)
      return fail(ec::malformed, "the sandbox's archive ends within " + shown
                                     + ": " + reason(in_.get()));
    if (::archive_write_data_block(disk_.get(), block, size, offset)
        < ARCHIVE_OK)
      return refused();
  }
  if (::archive_write_finish_entry(disk_.get()) < ARCHIVE_OK)
    return refused();
  return {};
}

/// tar fills its last record: GNU tar to 10 KiB.
result<void> unpacker::drain() {
  std::array<char, 65536> rest{};
  std::size_t seen = 0;
  constexpr std::size_t most = 1024 * 1024;
  for (ssize_t n = 0; (n = ::read(from_, rest.data(), rest.size())) != 0;) {
    if (n < 0 && errno != EINTR)
      return fail_errno(ec::io, "the sandbox's archive cannot be read", errno);
    seen += n > 0 ? static_cast<std::size_t>(n) : 0;
    if (seen > most)
      return fail(ec::malformed,
                  "the sandbox's archive goes on behind its end");
  }
  return {};
}

result<void> unpacker::run() {
  // A working directory and umask of this thread's own: names stay relative,
  // as the SECURE flags want them.
  if (::unshare(CLONE_FS) != 0 || ::chdir(what_.into.c_str()) != 0)
    return fail_errno(ec::io, "cannot enter " + quoted(what_.into), errno);
  ::umask(077);
  int flags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME
              | ARCHIVE_EXTRACT_SECURE_SYMLINKS
              | ARCHIVE_EXTRACT_SECURE_NODOTDOT
              | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;
  if (what_.keep_owner)
    flags |= ARCHIVE_EXTRACT_OWNER;
  ::archive_write_disk_set_options(disk_.get(), flags);
  ::archive_read_support_format_tar(in_.get());
  // Names are bytes, whatever the locale.
  ::archive_read_set_options(in_.get(), "hdrcharset=BINARY");
  constexpr std::size_t block = 64 * 1024;
  if (::archive_read_open_fd(in_.get(), from_, block) != ARCHIVE_OK)
    return fail(ec::malformed,
                "the sandbox sent no tar archive: " + reason(in_.get()));
  archive_entry* entry = nullptr;
  while (true) {
    auto code = ::archive_read_next_header(in_.get(), &entry);
    if (code == ARCHIVE_EOF)
      break;
    if (code < ARCHIVE_WARN)
      return fail(ec::malformed,
                  "the sandbox's archive is damaged: " + reason(in_.get()));
    const char* name = ::archive_entry_pathname(entry);
    auto shown = quoted(name ? name : "");
    if (auto right = judge(entry); !right)
      return right;
    if (auto done = extract(entry, shown); !done)
      return done;
  }
  if (::archive_write_close(disk_.get()) < ARCHIVE_OK)
    return fail(ec::io, "the copy cannot be completed: " + reason(disk_.get()));
  if (!top_seen_)
    return fail(ec::malformed, "the sandbox sent an empty archive");
  return drain();
}

} // namespace

result<void> tar_unpack(int from, const unpack_options& what) {
  return unpacker{from, what}.run();
}

} // namespace caged::cli
