#include "nodes/oci/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/oci/sys.hpp"

namespace caged::oci {

using namespace std::chrono_literals;

namespace {

struct report {
  char step[48];
  int error;
};

/// What the child does: system calls only, no allocation, since other threads
/// of the daemon may have held any lock at the fork.
class child {
public:
  child(const launch_plan& plan, int errors) : plan_{plan}, errors_{errors} {}

  /// Strings that must exist before the fork.
  void prepare() {
    tmp_ = plan_.scratch;
    disk_ = tmp_ + "/disk", upper_ = disk_ + "/upper", work_ = disk_ + "/work";
    base_ = tmp_ + "/base", root_ = tmp_ + "/rootfs";
    config_ = tmp_ + "/config.json", space_ = tmp_ + "/userns",
    lib_ = root_ + "/usr/lib/caged";
    overlay_ = "lowerdir=" + base_ + ",upperdir=" + upper_ + ",workdir=" + work_
               + ",redirect_dir=off,metacopy=off,index=off";
    map_ = "0 " + std::to_string(plan_.uid) + " 65536";
    for (const auto& arg : plan_.args)
      argv_.push_back(const_cast<char*>(arg.c_str()));
    argv_.push_back(nullptr);
  }

  [[noreturn]] void run() {
    for (int signal = 1; signal < 65; ++signal)
      ::signal(signal, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    end_with_parent();
    ::setsid();
    ::umask(022);
    need(::unshare(CLONE_NEWNS) == 0, "new mount namespace");
    need(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0,
         "private mounts");
    // crun refuses a v2 hierarchy with controllers beside v1 ones.
    if (!plan_.hide.empty())
      need(::umount2(plan_.hide.c_str(), MNT_DETACH) == 0, "hiding cgroup2");
    // Opened before the scratch mount may cover them.
    auto base =
        static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, plan_.base.c_str(),
                                   OPEN_TREE_CLONE | O_CLOEXEC));
    need(base >= 0, "opening the template");
    auto agents = static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD,
                                             plan_.agents.c_str(),
                                             OPEN_TREE_CLONE | O_CLOEXEC));
    need(agents >= 0, "opening the agent's directory");
    // A tmpfs that anybody may enter: the data directory is 0700 and crun looks
    // paths up with the sandbox's uid.
    need(::mount("caged", tmp_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV,
                 "size=1m,mode=0755")
             == 0,
         "mounting the scratch tmpfs");
    need(::mkdir(disk_.c_str(), 0755) == 0 && ::mkdir(base_.c_str(), 0755) == 0
             && ::mkdir(root_.c_str(), 0755) == 0,
         "scratch directories");
    // noinit_itable: no kernel thread that fills the sparse image.
    need(::mount(plan_.device.c_str(), disk_.c_str(), "ext4",
                 MS_NODEV | MS_NOATIME,
                 "noinit_itable,discard,errors=remount-ro")
             == 0,
         "mounting the disk image");
    layer(upper_.c_str());
    layer(work_.c_str());
    map_base(base);
    need(::mount("overlay", root_.c_str(), "overlay", MS_NODEV | MS_NOATIME,
                 overlay_.c_str())
             == 0,
         "mounting the overlay");
    attach(agents, lib_.c_str(),
           MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
    write_config();
    auto null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    need(null >= 0 && ::dup2(null, 0) == 0 && ::dup2(null, 1) == 1
             && ::dup2(plan_.stderr_fd, 2) == 2,
         "standard streams");
    ::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
    char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    char* env[] = {path, nullptr};
    ::execve(plan_.crun.c_str(), argv_.data(), env);
    need(false, "executing crun");
    ::_exit(126);
  }

private:
  void need(bool fine, const char* step) {
    if (fine)
      return;
    report out{};
    out.error = errno;
    ::strncpy(out.step, step, sizeof out.step - 1);
    auto ignored = ::write(errors_, &out, sizeof out);
    static_cast<void>(ignored);
    ::_exit(125);
  }

  void layer(const char* dir) {
    auto id = static_cast<uid_t>(plan_.uid);
    need((::mkdir(dir, 0755) == 0 || errno == EEXIST)
             && ::chown(dir, id, id) == 0,
         "making the writable layer");
  }

  void attach(int tree, const char* where, std::uint64_t attributes) {
    mount_attr attr{};
    attr.attr_set = attributes;
    need(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr,
                   sizeof attr)
                 == 0
             && ::syscall(SYS_move_mount, tree, "", AT_FDCWD, where,
                          MOVE_MOUNT_F_EMPTY_PATH)
                    == 0,
         "binding the agent's directory");
  }

  void put(const char* file, const char* text, std::size_t size,
           const char* step) {
    auto fd = ::open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    need(fd >= 0 && ::write(fd, text, size) == static_cast<ssize_t>(size),
         step);
    ::close(fd);
  }

  void write_config() {
    put(config_.c_str(), plan_.config.data(), plan_.config.size(),
        "writing config.json");
  }

  /// A daemon that is killed takes its half-made sandbox along: the next one
  /// makes it again under the same names.
  void end_with_parent() const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent_)
      ::_exit(125);
  }

  /// Makes the sandbox's user namespace in a short-lived process and keeps it
  /// by a bind mount, where crun joins it. Its maker is the sandbox's own root:
  /// what the kernel counts per user (inotify instances, pending signals,
  /// message queues: user_namespaces(7), kernel/ucount.c) is counted there for
  /// whoever made the namespace. Were that root, a tenant could take what root
  /// may have on the whole host.
  ///
  /// Its map also shows root's files of the template as the sandbox's root's
  /// (a mapped mount, mount_setattr(2)).
  void map_base(int tree) {
    // Not setresuid(3), which would ask the other threads, who are not here.
    need(::syscall(SYS_setresuid, -1, static_cast<uid_t>(plan_.uid), -1) == 0,
         "becoming the sandbox's root");
    auto holder =
        static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD,
                                     nullptr, nullptr, nullptr, nullptr));
    if (holder == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;)
        ::pause();
    }
    auto error = errno;
    need(::syscall(SYS_setresuid, -1, 0, -1) == 0, "becoming root again");
    end_with_parent(); // a change of user takes it back (prctl(2))
    errno = error;
    need(holder >= 0, "new user namespace");
    char file[64];
    auto path = [&](const char* name) {
      char digits[16];
      int n = 0;
      for (auto rest = holder; rest > 0; rest /= 10)
        digits[n++] = static_cast<char>('0' + rest % 10);
      auto* end = ::stpncpy(file, "/proc/", 7);
      while (n > 0)
        *end++ = digits[--n];
      ::stpncpy(end, name, static_cast<std::size_t>(file + sizeof file - end));
      return file;
    };
    put(path("/uid_map"), map_.data(), map_.size(), "mapping uids");
    put(path("/gid_map"), map_.data(), map_.size(), "mapping gids");
    mount_attr attr{};
    attr.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY;
    auto space = ::open(path("/ns/user"), O_RDONLY | O_CLOEXEC);
    auto error_of_open = errno;
    auto kept = ::open(space_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0400);
    ::close(kept);
    auto bound =
        kept >= 0
        && ::mount(path("/ns/user"), space_.c_str(), nullptr, MS_BIND, nullptr)
               == 0;
    auto error_of_mount = errno;
    ::kill(holder, SIGKILL);
    ::waitpid(holder, nullptr, 0);
    errno = error_of_open;
    need(space >= 0, "opening the user namespace");
    errno = error_of_mount;
    need(bound, "keeping the user namespace");
    attr.userns_fd = static_cast<std::uint64_t>(space);
    need(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr,
                   sizeof attr)
             == 0,
         "mapping the template's owners");
    need(::syscall(SYS_move_mount, tree, "", AT_FDCWD, base_.c_str(),
                   MOVE_MOUNT_F_EMPTY_PATH)
             == 0,
         "mounting the template");
  }

  const launch_plan& plan_;
  int errors_;
  pid_t parent_ = ::getpid();
  std::string tmp_, disk_, upper_, work_, base_, root_, config_, space_, lib_,
      overlay_, map_;
  std::vector<char*> argv_;
};

std::string last_line(const std::filesystem::path& file) {
  auto text = sys::read_small(file).value_or("");
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return escape_text(text.substr(text.rfind('\n') + 1), 400);
}

} // namespace

result<void> launch(const launch_plan& plan, const std::filesystem::path& log,
                    std::chrono::milliseconds timeout) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0)
    return sys::fail_host(ec::resource, "cannot make a pipe", errno);
  sys::unique_fd in{ends[0]}, out{ends[1]};
  child work{plan, out.get()};
  work.prepare();
  // _Fork: without the handlers that take malloc's and stdio's locks.
  auto pid = ::_Fork();
  if (pid < 0)
    return sys::fail_host(ec::resource, "cannot fork", errno);
  if (pid == 0)
    work.run();
  out.reset();
  auto handle = sys::pidfd_open(pid);
  auto ended = handle && sys::wait_end(handle.get(), timeout);
  if (!ended)
    ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (!ended)
    return fail(ec::timeout, "crun did not start the sandbox within "
                                 + std::to_string(timeout.count()) + " ms");
  if (status == 0)
    return {};
  report why{};
  if (::read(in.get(), &why, sizeof why) == sizeof why)
    return sys::fail_host(ec::resource,
                          std::string{"cannot start the sandbox: "} + why.step,
                          why.error);
  auto said = last_line(log);
  if (said.empty())
    said = WIFSIGNALED(status)
               ? "it was killed by signal " + std::to_string(WTERMSIG(status))
               : "it exited with code " + std::to_string(WEXITSTATUS(status));
  auto out_of_pids = said.find("temporarily unavailable") != std::string::npos;
  return fail(ec::resource, "crun cannot start the sandbox: " + said,
              out_of_pids ? sys::remedy(EAGAIN) : std::string{});
}

std::string scratch_directory(const std::vector<std::filesystem::path>& used) {
  for (const char* dir : {"/mnt", "/media", "/srv", "/opt", "/home", "/tmp"}) {
    struct stat info {};
    if (::lstat(dir, &info) < 0 || !S_ISDIR(info.st_mode))
      continue;
    bool taken = false;
    for (const auto& path : used)
      taken =
          taken || (path.string() + "/").rfind(std::string{dir} + "/", 0) == 0;
    if (!taken)
      return dir;
  }
  return {};
}

} // namespace caged::oci
