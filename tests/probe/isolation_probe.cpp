// Runs as the init of a sandbox and tries what must fail there. One line an
// attempt on stderr: "refused NAME ERRNO" or "ALLOWED NAME". Exit 1 if any was
// allowed. With an argument it does that instead: "idle", "memory", "forks",
// "disk" (the tests put it into a file /usr/lib/caged/mode).
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int allowed = 0;

void say(bool refused, const char* name, int error) {
  if (refused)
    std::fprintf(stderr, "refused %s %d\n", name, error);
  else
    std::fprintf(stderr, "ALLOWED %s\n", name);
  allowed += refused ? 0 : 1;
}

/// In a child of its own, so that a kill by seccomp counts as refused and what
/// is allowed changes only the child. attempt(): whether it worked.
template <class Attempt>
void attempt(const char* name, Attempt tried) {
  auto child = ::fork();
  if (child < 0) {
    say(false, name, errno); // not proven
    return;
  }
  if (child == 0) {
    errno = 0;
    auto worked = tried();
    ::_exit(worked ? 0 : (errno > 0 && errno < 255 ? errno : 255));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    say(true, name, 1000 + WTERMSIG(status));
  else
    say(WEXITSTATUS(status) != 0, name, WEXITSTATUS(status));
}

template <class... Args>
void call(const char* name, long number, Args... args) {
  attempt(name, [=] { return ::syscall(number, args...) >= 0; });
}

/// A masked file is /dev/null: what is written there reaches nobody.
void write_to(const char* path) {
  attempt(path, [path] {
    auto fd = ::open(path, O_WRONLY);
    struct stat info {};
    if (fd >= 0 && ::fstat(fd, &info) == 0 && S_ISCHR(info.st_mode)
        && info.st_rdev == makedev(1, 3)) {
      errno = EROFS;
      return false;
    }
    return fd >= 0 && ::write(fd, "1", 1) == 1;
  });
}

void make_node(const char* name, mode_t type, unsigned major, unsigned minor) {
  attempt(name, [=] {
    return ::mknod("/tmp/node", type | 0600, makedev(major, minor)) == 0;
  });
}

void open_socket(const char* name, int family, int type, int protocol) {
  attempt(name,
          [=] { return ::socket(family, type | SOCK_CLOEXEC, protocol) >= 0; });
}

/// getpid by the i386 table (20) through int 0x80.
bool i386_call() {
#ifdef __x86_64__
  long answer = 20;
  asm volatile("int $0x80"
               : "+a"(answer)
               :
               : "memory", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11");
  return answer > 0;
#else
  return false;
#endif
}

bool see_abstract_socket() {
  // The test listens on this name outside.
  auto fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  const char name[] = "caged-isolation-test";
  std::memcpy(to.sun_path + 1, name, sizeof name - 1);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&to),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1
                                          + sizeof name - 1))
         == 0;
}

int foreign_processes() {
  int count = 0;
  auto* dir = ::opendir("/proc");
  while (auto* item = dir ? ::readdir(dir) : nullptr)
    if (auto pid = std::atoi(item->d_name); pid > 1 && pid != ::getpid())
      ++count;
  if (dir)
    ::closedir(dir);
  return count;
}

int probe() {
  attempt("host-processes", [] { return foreign_processes() > 0; });
  attempt("abstract-socket", see_abstract_socket);
  for (const char* path :
       {"/run/crun", "/run/dbus", "/var/run/docker.sock", "/mnt/disk",
        "/mnt/base", "/mnt/config.json", "/proc/1/root/mnt/base", "/etc/shadow",
        "/proc/1/fd/3"})
    attempt(path, [path] {
      struct stat info {};
      return ::lstat(path, &info) == 0;
    });
  attempt("chroot-escape", [] {
    // The classic: a directory held open across chroot(2).
    auto out = ::open("/", O_RDONLY | O_DIRECTORY);
    ::mkdir("/tmp/jail", 0755);
    if (::chroot("/tmp/jail") != 0 || ::fchdir(out) != 0)
      return false;
    for (int i = 0; i < 64; ++i)
      if (::chdir("..") != 0)
        return false;
    struct stat info {};
    return ::stat("boot", &info) == 0 || ::stat("var/lib/dpkg", &info) == 0;
  });
  attempt("mount-tmpfs",
          [] { return ::mount("x", "/tmp", "tmpfs", 0, nullptr) == 0; });
  attempt("mount-proc",
          [] { return ::mount("proc", "/tmp", "proc", 0, nullptr) == 0; });
  attempt("remount-agent-rw", [] {
    return ::mount(nullptr, "/usr/lib/caged", nullptr, MS_REMOUNT | MS_BIND,
                   nullptr)
           == 0;
  });
  attempt("umount-masked", [] { return ::umount2("/proc/kmsg", 0) == 0; });
  attempt("write-agent", [] {
    return ::open("/usr/lib/caged/x", O_CREAT | O_WRONLY, 0600) >= 0;
  });
  make_node("mknod-block", S_IFBLK, 254, 0);
  make_node("mknod-char-mem", S_IFCHR, 1, 1);
  attempt("unshare-user", [] { return ::unshare(CLONE_NEWUSER) == 0; });
  attempt("unshare-mount", [] { return ::unshare(CLONE_NEWNS) == 0; });
  attempt("unshare-net", [] { return ::unshare(CLONE_NEWNET) == 0; });
  call("clone-newuser", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  call("clone3", SYS_clone3, 0, 0);
  attempt("setns",
          [] { return ::setns(::open("/proc/1/ns/mnt", O_RDONLY), 0) == 0; });
  call("keyctl", SYS_keyctl, 0, -3, 1); // KEYCTL_GET_KEYRING_ID
  call("add_key", SYS_add_key, "user", "a", "b", 1, -3);
  call("request_key", SYS_request_key, "user", "a", nullptr, 0);
  std::uint32_t bpf[32] = {1, 4, 4, 1}; // BPF_MAP_CREATE of a hash
  attempt("bpf", [&] { return ::syscall(SYS_bpf, 0, bpf, 48) >= 0; });
  std::uint32_t perf[32] = {1, 128}; // a software event
  attempt("perf", [&] {
    return ::syscall(SYS_perf_event_open, perf, 0, -1, -1, 0) >= 0;
  });
  std::uint32_t ring[64] = {};
  attempt("io_uring",
          [&] { return ::syscall(SYS_io_uring_setup, 4, ring) >= 0; });
  call("userfaultfd", SYS_userfaultfd, 1);
  call("kexec", SYS_kexec_file_load, 0, 0, 0, 0, 0);
  call("init_module", SYS_init_module, 0, 0, "");
  call("open_by_handle_at", SYS_open_by_handle_at, 0, ring, 0);
  call("fsopen", SYS_fsopen, "tmpfs", 0);
  call("open_tree", SYS_open_tree, AT_FDCWD, "/", 1);
  call("pivot_root", SYS_pivot_root, "/tmp", "/tmp");
  call("syslog", SYS_syslog, 3, ring, 16);
  call("reboot", SYS_reboot, 0, 0, 0, nullptr);
  call("swapon", SYS_swapon, "/tmp", 0);
  call("sethostname", SYS_sethostname, "x", 1);
  call("settimeofday", SYS_settimeofday, ring, 0);
  call("iopl", SYS_iopl, 3);
  call("acct", SYS_acct, "/tmp/x");
  call("quotactl", SYS_quotactl, 0, "/", 0, 0);
  call("x32", 0x40000000L + 39); // getpid
  attempt("i386", i386_call);
  // Pids of the host's that exist there mean nothing in here.
  attempt("ptrace-outside", [] {
    return ::ptrace(PTRACE_ATTACH, ::getppid() == 1 ? 2 : 30000, 0, 0) == 0;
  });
  attempt("kill-outside", [] { return ::kill(2, 0) == 0 && ::getpid() != 2; });
  open_socket("af-packet", AF_PACKET, SOCK_RAW, 0);
  open_socket("af-vsock", AF_VSOCK, SOCK_STREAM, 0);
  open_socket("af-alg", AF_ALG, SOCK_SEQPACKET, 0);
  open_socket("raw-ip", AF_INET, SOCK_RAW, 1);
  open_socket("netlink-audit", AF_NETLINK, SOCK_RAW, 9);
  open_socket("netlink-netfilter", AF_NETLINK, SOCK_RAW, 12);
  for (const char* path :
       {"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory/release_agent", "/sys/power/state",
        "/proc/irq/default_smp_affinity", "/proc/kcore", "/proc/mtrr"})
    write_to(path);
  attempt("read-kmsg", [] { return ::open("/dev/kmsg", O_RDONLY) >= 0; });
  attempt("lower-oom-score", [] {
    auto fd = ::open("/proc/self/oom_score_adj", O_WRONLY);
    return ::write(fd, "-900", 4) == 4;
  });
  return allowed == 0 ? 0 : 1;
}

[[noreturn]] void idle() {
  for (;;)
    ::pause();
}

/// A child eats memory until the kernel ends it; the init lives on.
void eat_memory() {
  auto child = ::fork();
  if (child == 0) {
    auto score = ::open("/proc/self/oom_score_adj", O_WRONLY);
    if (::write(score, "500", 3) < 0)
      ::_exit(3);
    for (;;) {
      constexpr std::size_t step = 8 << 20;
      auto* p = ::mmap(nullptr, step, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED)
        ::_exit(4);
      std::memset(p, 1, step);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  std::fprintf(stderr, "memory child ended by signal %d\n", WTERMSIG(status));
}

void fork_until_refused() {
  int count = 0;
  for (;; ++count) {
    auto child = ::fork();
    if (child == 0)
      idle();
    if (child < 0)
      break;
  }
  std::fprintf(stderr, "forks stopped at %d errno %d\n", count, errno);
}

void fill_disk() {
  auto fd = ::open("/workspace/big", O_WRONLY | O_CREAT, 0600);
  static char block[1 << 20];
  std::memset(block, 7, sizeof block);
  std::uint64_t bytes = 0;
  for (;;) {
    auto n = ::write(fd, block, sizeof block);
    if (n <= 0)
      break;
    bytes += static_cast<std::uint64_t>(n);
  }
  std::fprintf(stderr, "disk full at %llu MiB errno %d\n",
               static_cast<unsigned long long>(bytes >> 20), errno);
}

} // namespace

int main() {
  char mode[32] = {};
  if (auto fd = ::open("/usr/lib/caged/mode", O_RDONLY); fd >= 0) {
    if (::read(fd, mode, sizeof mode - 1) < 0)
      mode[0] = 0;
    ::close(fd);
  }
  std::string what = mode;
  if (what == "probe")
    return probe();
  if (what == "memory")
    eat_memory();
  else if (what == "forks")
    fork_until_refused();
  else if (what == "disk")
    fill_disk();
  else
    std::fprintf(stderr, "idle\n");
  idle();
}
