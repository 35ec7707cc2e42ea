#include "nodes/oci/disk_image.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::oci {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

result<fs::path> empty_image(const fs::path& data_dir, std::uint64_t disk_gb) {
  auto file = data_dir / "images" / ("ext4-" + std::to_string(disk_gb) + "g");
  static std::mutex one_at_a_time;
  std::lock_guard guard{one_at_a_time};
  std::error_code error;
  if (fs::exists(file, error))
    return file;
  fs::create_directories(file.parent_path(), error);
  auto fresh = file;
  fresh += "." + random_name(8);
  {
    sys::unique_fd fd{
        ::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (!fd)
      return sys::fail_host(ec::io, "cannot create " + fresh.string(), errno);
    if (::ftruncate(fd.get(), static_cast<off_t>(disk_gb << 30U)) < 0)
      return sys::fail_host(ec::io, "cannot size " + fresh.string(), errno);
  }
  // The journal stays: what a sandbox wrote outlives a crash of the host. It is
  // 8 MB whatever the size. No reserved blocks: root in there is a tenant.
  auto made =
      sys::run({"mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=8", "-E",
                "lazy_itable_init=1,lazy_journal_init=1", fresh.string()},
               60s);
  if (made && made->status == 0) {
    fs::rename(fresh, file, error);
    if (!error)
      return file;
    made = fail(ec::io,
                "cannot rename " + fresh.string() + ": " + error.message());
  } else if (made) {
    made = fail(ec::resource, "mkfs.ext4 failed on " + fresh.string() + ": "
                                  + escape_text(made->output, 300));
  }
  fs::remove(fresh, error);
  return tl::unexpected<failure>(made.error());
}

result<void> copy_sparse(const fs::path& from, const fs::path& to) {
  sys::unique_fd in{::open(from.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!in)
    return sys::fail_host(ec::io, "cannot open " + from.string(), errno);
  sys::unique_fd out{
      ::open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!out)
    return sys::fail_host(ec::io, "cannot create " + to.string(), errno);
  struct stat info {};
  if (::fstat(in.get(), &info) < 0 || ::ftruncate(out.get(), info.st_size) < 0)
    return sys::fail_host(ec::io, "cannot size " + to.string(), errno);
  for (off_t at = 0;;) {
    auto data = ::lseek(in.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
      return {};
    auto hole = data < 0 ? -1 : ::lseek(in.get(), data, SEEK_HOLE);
    if (hole < 0)
      return sys::fail_host(ec::io, "cannot read " + from.string(), errno);
    for (off_t source = data, target = data; source < hole;) {
      auto n = ::copy_file_range(in.get(), &source, out.get(), &target,
                                 static_cast<std::size_t>(hole - source), 0);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return sys::fail_host(errno == ENOSPC ? ec::resource : ec::io,
                              "cannot copy to " + to.string(),
                              n < 0 ? errno : EIO);
    }
    at = hole;
  }
}

result<loop_device> attach_loop(const fs::path& image) {
  sys::unique_fd file{::open(image.c_str(), O_RDWR | O_CLOEXEC)};
  if (!file)
    return sys::fail_host(ec::resource, "cannot open " + image.string(), errno);
  sys::unique_fd control{::open("/dev/loop-control", O_RDWR | O_CLOEXEC)};
  if (!control)
    return sys::fail_host(ec::host_setup, "cannot open /dev/loop-control",
                          errno);
  loop_device found;
  int error = 0;
  // "Free" is a snapshot: whoever configures it first has it (loop(4)).
  auto done = sys::wait_until(5s, [&] {
    found.number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (found.number < 0) {
      error = errno;
      return error != EBUSY && error != EAGAIN && error != EINTR;
    }
    auto path = "/dev/loop" + std::to_string(found.number);
    found.fd.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!found.fd) {
      error = errno;
      return error != ENOENT && error != ENXIO && error != EBUSY;
    }
    loop_config setup{};
    setup.fd = static_cast<std::uint32_t>(file.get());
    setup.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    auto name = image.string();
    name.copy(reinterpret_cast<char*>(setup.info.lo_file_name),
              LO_NAME_SIZE - 1);
    if (::ioctl(found.fd.get(), LOOP_CONFIGURE, &setup) == 0) {
      error = 0;
      return true;
    }
    error = errno;
    found.fd.reset();
    return error != EBUSY && error != EAGAIN && error != EINTR
           && error != ENXIO;
  });
  if (done && error == 0)
    return found;
  auto why = fail_errno(ec::resource,
                        "there is no loop device for " + image.string(), error);
  why.value().hint = "losetup -a shows who has them; is /dev/loop"
                     + (found.number < 0 ? std::string{"-control"}
                                         : std::to_string(found.number))
                     + " there and not beyond the module's max_loop?";
  return why;
}

std::vector<attached> loops_beneath(const fs::path& dir) {
  std::vector<attached> out;
  auto prefix = dir.string() + "/";
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator{"/sys/block", ignored}) {
    auto name = item.path().filename().string();
    if (name.rfind("loop", 0) != 0)
      continue;
    auto text = sys::read_small(item.path() / "loop" / "backing_file");
    if (!text)
      continue;
    while (!text->empty() && text->back() == '\n')
      text->pop_back();
    constexpr std::string_view deleted = " (deleted)";
    if (text->size() > deleted.size()
        && text->compare(text->size() - deleted.size(), deleted.size(), deleted)
               == 0)
      text->resize(text->size() - deleted.size());
    if (text->rfind(prefix, 0) == 0)
      out.push_back({std::atoi(name.c_str() + 4), *text});
  }
  return out;
}

result<void> detach_loops(const fs::path& image,
                          std::chrono::milliseconds timeout) {
  bool asked = false;
  auto gone = sys::wait_until(timeout, [&] {
    auto rest = loops_beneath(image.parent_path());
    rest.erase(
        std::remove_if(rest.begin(), rest.end(),
                       [&](const auto& x) { return x.file != image.string(); }),
        rest.end());
    // Attached but never mounted (its maker died in between): opening and
    // closing a device with autoclear frees it.
    if (!rest.empty() && !std::exchange(asked, true))
      for (const auto& one : rest)
        sys::unique_fd touch{
            ::open(("/dev/loop" + std::to_string(one.number)).c_str(),
                   O_RDONLY | O_CLOEXEC)};
    return rest.empty();
  });
  if (!gone)
    return fail(ec::resource,
                "a loop device still has " + image.string() + " after "
                    + std::to_string(timeout.count()) + " ms",
                "losetup -j " + image.string() + " shows it");
  return {};
}

} // namespace caged::oci
