#include "tests/support/faults.hpp"

#include <filesystem>
#include <set>
#include <stdexcept>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch.hpp>

namespace caged::test {

namespace fs = std::filesystem;

// -- small_disk

small_disk::small_disk(unsigned megabytes) {
  auto image = dir_ / "image", where = path();
  fs::create_directory(where);
  write_file(image, "");
  fs::resize_file(image, std::uintmax_t{megabytes} << 20U);
  mounted_ = run({"mkfs.ext4", "-q", "-F", "-m", "0", image}).exit == 0
             && run({"mount", "-o", "loop", image, where}).exit == 0;
}

small_disk::~small_disk() {
  if (!mounted_)
    return;
  auto where = path();
  // What the node's last sandbox held may be on its way out.
  if (!eventually(5s, [&] { return ::umount2(where.c_str(), 0) == 0; }))
    ::umount2(where.c_str(), MNT_DETACH);
}

std::string small_disk::path(const std::string& name) const {
  return dir_ / (name.empty() ? "disk" : "disk/" + name);
}

void small_disk::fill() {
  auto fd = ::open(path("ballast").c_str(),
                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0)
    throw std::runtime_error("the ballast cannot be made");
  // Smaller and smaller, and what a commit gives back at the end as well.
  std::string block(1 << 20U, 'x');
  for (int round = 0; round < 3; ++round) {
    for (std::size_t size = block.size(); size >= 512; size /= 4)
      while (::write(fd, block.data(), size) == static_cast<ssize_t>(size))
        continue;
    ::fsync(fd);
  }
  ::close(fd);
}

void small_disk::drain() {
  ::unlink(path("ballast").c_str());
  run({"sync", "-f", path()}); // what is freed is free after a commit
}

// -- read_only_files

namespace {

bool immutable(const std::string& file, bool on) {
  auto fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  int flags = 0;
  bool good = ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  good = good && ::ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
  ::close(fd);
  return good;
}

} // namespace

read_only_files::read_only_files(std::vector<std::string> files)
    : files_{std::move(files)} {
  for (const auto& file : files_)
    ok_ = immutable(file, true) && ok_;
}

void read_only_files::lift() {
  for (const auto& file : files_)
    immutable(file, false);
  files_.clear();
}

// -- pid_cage

pid_cage::pid_cage() {
  for (const char* root : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"}) {
    auto dir =
        std::string{root} + "/caged-test-cage-" + std::to_string(::getpid());
    std::error_code error;
    if (!fs::create_directory(dir, error))
      continue;
    if (fs::exists(dir + "/pids.max")) {
      dir_ = dir;
      return;
    }
    ::rmdir(dir.c_str());
  }
}

pid_cage::~pid_cage() {
  if (ok())
    eventually(5s, [&] { return ::rmdir(dir_.c_str()) == 0; });
}

namespace {

/// cgroup files are written in place.
void put(const std::string& file, const std::string& text) {
  auto fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
  auto good = fd >= 0
              && ::write(fd, text.data(), text.size())
                     == static_cast<ssize_t>(text.size());
  if (fd >= 0)
    ::close(fd);
  if (!good)
    throw std::runtime_error("cannot write " + file);
}

} // namespace

void pid_cage::take(pid_t pid) {
  put(dir_ + "/cgroup.procs", std::to_string(pid));
}

void pid_cage::close() {
  put(dir_ + "/pids.max", read_file(dir_ + "/pids.current"));
}

void pid_cage::open() {
  put(dir_ + "/pids.max", "max");
}

// -- descriptor_limit

descriptor_limit::descriptor_limit(pid_t pid) : pid_{pid} {
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &before_) != 0)
    throw std::runtime_error("no limits of process " + std::to_string(pid));
}

void descriptor_limit::leave(unsigned more) {
  std::set<rlim_t> used;
  for (const auto& item :
       fs::directory_iterator("/proc/" + std::to_string(pid_) + "/fd"))
    used.insert(std::stoul(item.path().filename()));
  // What is open above the limit stays open, setrlimit(2).
  auto now = before_;
  now.rlim_cur = 0;
  for (unsigned free = 0; free < more || used.count(now.rlim_cur) != 0;
       ++now.rlim_cur)
    free += used.count(now.rlim_cur) == 0 ? 1 : 0;
  if (::prlimit(pid_, RLIMIT_NOFILE, &now, nullptr) != 0)
    throw std::runtime_error("the limit cannot be set");
}

void descriptor_limit::restore() {
  ::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr);
}

// -- what both kinds of fault ask

std::vector<std::string> smallest(const std::string& name) {
  return {"--no-config", "--cpus",    "1", "--memory", "128", "--disk",
          "1",           "--timeout", "0", "--name",   name};
}

process_result up(const test_node& node, const std::string& name) {
  auto args = smallest(name);
  args.insert(args.begin(), "up");
  return node.caged(args, within(30s));
}

bool answers(const test_node& node, const std::string& id) {
  return node.caged({"exec", id, "--", "echo", "fine"}, within(20s)).out
         == "fine\n";
}

void refused(const process_result& got, const std::vector<std::string>& parts) {
  INFO(got.err);
  CHECK(got.exit != 0);
  CHECK_FALSE(got.timed_out);
  CHECK(got.out.empty());
  CHECK(got.err.find("caged: ") != std::string::npos);
  for (const auto& part : parts) {
    CAPTURE(part);
    CHECK(got.err.find(part) != std::string::npos);
  }
}

} // namespace caged::test
