#include "cli/tar_pack.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::cli {

namespace fs = std::filesystem;

namespace {

struct releaser {
  void operator()(archive* a) const { ::archive_write_free(a); }
  void operator()(archive_entry* e) const { ::archive_entry_free(e); }
  void operator()(archive_entry_linkresolver* r) const {
    ::archive_entry_linkresolver_free(r);
  }
};

class packer {
public:
  packer(int to, const pack_options& what)
      : what_{what},
        out_{::archive_write_new()},
        links_{::archive_entry_linkresolver_new()},
        block_(256 * 1024, '\0') {
    ::archive_write_set_format_gnutar(out_.get());
    ::archive_write_add_filter_none(out_.get());
    ::archive_entry_linkresolver_set_strategy(links_.get(),
                                              ARCHIVE_FORMAT_TAR_GNUTAR);
    check(::archive_write_open_fd(out_.get(), to));
  }

  void add(const std::string& path, const std::string& as);
  void add_header(const pack_report::directory& again) {
    check(::archive_write_header(out_.get(),
                                 entry(again.as + "/", again.about).get()));
  }
  result<pack_report> end();

private:
  void add_directory(const std::string& path, const std::string& as,
                     const struct stat& about);
  void add_file(const std::string& path, const std::string& as);
  std::unique_ptr<archive_entry, releaser> entry(const std::string& as,
                                                 const struct stat& about);
  void contents(const std::string& path, int fd, std::int64_t size);
  void leave_out(const std::string& path, const std::string& why) {
    report_.problems.push_back(caged::quoted(path) + " was left out: " + why);
  }
  /// Remembers the first failure of the archive itself.
  bool check(std::int64_t code) {
    if (code < ARCHIVE_WARN && broken_.empty()) {
      const char* why = ::archive_error_string(out_.get());
      broken_ = why ? why : "unknown reason";
    }
    return code >= ARCHIVE_WARN;
  }

  const pack_options& what_;
  std::unique_ptr<archive, releaser> out_;
  std::unique_ptr<archive_entry_linkresolver, releaser> links_;
  std::string block_;
  pack_report report_;
  bool linked_ = false; ///< a link was written since this was set
  std::string broken_;
};

std::unique_ptr<archive_entry, releaser>
packer::entry(const std::string& as, const struct stat& about) {
  std::unique_ptr<archive_entry, releaser> made{::archive_entry_new()};
  ::archive_entry_copy_stat(made.get(), &about);
  ::archive_entry_copy_pathname(made.get(), as.c_str());
  if (!what_.keep_owner) {
    ::archive_entry_set_uid(made.get(), 0);
    ::archive_entry_set_gid(made.get(), 0);
  }
  if (!S_ISREG(about.st_mode))
    ::archive_entry_set_size(made.get(), 0);
  if (!S_ISDIR(about.st_mode)) {
    // Of tar's links the first is the file, later ones name it.
    auto* links = made.get();
    archive_entry* spare = nullptr;
    ::archive_entry_linkify(links_.get(), &links, &spare);
    linked_ = linked_ || S_ISLNK(about.st_mode)
              || ::archive_entry_hardlink(made.get());
  }
  return made;
}

void packer::contents(const std::string& path, int fd, std::int64_t size) {
  std::int64_t done = 0;
  while (done < size && broken_.empty()) {
    auto most = std::min<std::int64_t>(
        size - done, static_cast<std::int64_t>(block_.size()));
    auto n = ::read(fd, block_.data(), static_cast<std::size_t>(most));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) { // the archive pads it
      report_.problems.push_back(
          n < 0 ? caged::quoted(path)
                      + " could not be read: " + std::strerror(errno)
                : caged::quoted(path) + " became shorter while it was read");
      return;
    }
    check(::archive_write_data(out_.get(), block_.data(),
                               static_cast<std::size_t>(n)));
    done += n;
  }
}

void packer::add_file(const std::string& path, const std::string& as) {
  // O_NONBLOCK: should a FIFO have taken the file's place.
  int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat about {};
  if (fd < 0 || ::fstat(fd, &about) != 0) {
    leave_out(path, std::strerror(errno));
  } else if (!S_ISREG(about.st_mode)) {
    leave_out(path, "it changed while it was read");
  } else {
    auto made = entry(as, about);
    if (check(::archive_write_header(out_.get(), made.get()))
        && !::archive_entry_hardlink(made.get()))
      contents(path, fd, about.st_size);
  }
  if (fd >= 0)
    ::close(fd);
}

void packer::add_directory(const std::string& path, const std::string& as,
                           const struct stat& about) {
  std::error_code error;
  fs::directory_iterator items{path, error};
  if (error)
    return leave_out(path, error.message());
  // Written again behind its contents: busybox sets the time of a directory
  // at once, and what comes into it later changes that.
  auto open = about;
  open.st_mode |= S_IRWXU;
  if (!as.empty())
    check(::archive_write_header(out_.get(), entry(as + "/", open).get()));
  bool links_here = false;
  while (!error && items != fs::directory_iterator{} && broken_.empty()) {
    auto name = items->path().filename().string();
    linked_ = false;
    add(path + "/" + name, as.empty() ? "./" + name : as + "/" + name);
    links_here = links_here || linked_;
    items.increment(error);
  }
  linked_ = false; // theirs is not the parent's
  if (error)
    report_.problems.push_back(
        caged::quoted(path) + " was not read to its end: " + error.message());
  if (as.empty())
    return;
  pack_report::directory whole{as, about};
  add_header(whole);
  if (links_here)
    report_.restless.push_back(std::move(whole));
}

void packer::add(const std::string& path, const std::string& as) {
  if (!broken_.empty())
    return;
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0)
    return leave_out(path, std::strerror(errno));
  if (S_ISDIR(about.st_mode)) {
    add_directory(path, as, about);
  } else if (S_ISREG(about.st_mode)) {
    add_file(path, as);
  } else if (S_ISLNK(about.st_mode)) {
    std::error_code error;
    auto target = fs::read_symlink(path, error);
    if (error)
      return leave_out(path, error.message());
    auto made = entry(as, about);
    if (!::archive_entry_hardlink(made.get()))
      ::archive_entry_copy_symlink(made.get(), target.c_str());
    check(::archive_write_header(out_.get(), made.get()));
  } else if (S_ISFIFO(about.st_mode)) {
    check(::archive_write_header(out_.get(), entry(as, about).get()));
  } else {
    leave_out(path,
              S_ISSOCK(about.st_mode) ? "it is a socket" : "it is a device");
  }
}

result<pack_report> packer::end() {
  if (broken_.empty())
    check(::archive_write_close(out_.get()));
  else
    ::archive_write_fail(out_.get()); // no end mark behind half a stream
  if (!broken_.empty())
    return fail(ec::io, "the archive could not be sent: " + broken_);
  return std::move(report_);
}

} // namespace

result<pack_report> tar_pack(int to, const pack_options& what) {
  packer packing{to, what};
  // A slash at the end, or no name of its own, follows a link at the top.
  auto from = what.from;
  if (what.follow)
    from += "/.";
  packing.add(from, what.as);
  return packing.end();
}

result<void> tar_pack_again(int to, const pack_options& what,
                            const pack_report& first) {
  packer packing{to, what};
  for (const auto& directory : first.restless)
    packing.add_header(directory);
  if (auto done = packing.end(); !done)
    return tl::unexpected<failure>(done.error());
  return {};
}

} // namespace caged::cli
