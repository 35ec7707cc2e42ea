#include "mcp/git/confine.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace caged::mcp::git {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true; // Shadow memory is no use of memory.
#else
constexpr bool sanitized = false;
#endif

// linux/landlock.h of 6.1 ends at ABI 2; the rest is Documentation/
// userspace-api/landlock.rst: 3 truncate, 4 TCP, 5 ioctl on devices, 6 scopes.
struct ruleset_attr {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};
constexpr std::uint64_t fs_all_of_abi_1 = (1ULL << 13U) - 1;
constexpr std::uint64_t fs_refer = 1ULL << 13U;
constexpr std::uint64_t fs_truncate = 1ULL << 14U;
constexpr std::uint64_t fs_ioctl_dev = 1ULL << 15U;
constexpr std::uint64_t net_all = 3;
constexpr std::uint64_t scope_all = 3;

bool landlock(int root_fd, bool writable) {
  const auto abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0,
                             LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1)
    return false;
  ruleset_attr attr{fs_all_of_abi_1, 0, 0};
  std::size_t size = sizeof attr.handled_access_fs;
  if (abi >= 2)
    attr.handled_access_fs |= fs_refer;
  if (abi >= 3)
    attr.handled_access_fs |= fs_truncate;
  if (abi >= 4) {
    attr.handled_access_net = net_all;
    size = offsetof(ruleset_attr, scoped);
  }
  if (abi >= 5)
    attr.handled_access_fs |= fs_ioctl_dev;
  if (abi >= 6) {
    attr.scoped = scope_all;
    size = sizeof attr;
  }
  const auto rules =
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, size, 0));
  if (rules < 0)
    return false;
  landlock_path_beneath_attr beneath{};
  beneath.parent_fd = root_fd;
  beneath.allowed_access =
      LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  // Objects and references are temporary files that are renamed, also into
  // other folders. No links, devices, sockets or FIFOs are ever made.
  if (writable)
    beneath.allowed_access |=
        LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR
        | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR
        | LANDLOCK_ACCESS_FS_MAKE_REG
        | (attr.handled_access_fs & (fs_refer | fs_truncate));
  const bool done = ::syscall(SYS_landlock_add_rule, rules,
                              LANDLOCK_RULE_PATH_BENEATH, &beneath, 0)
                        == 0
                    && ::syscall(SYS_landlock_restrict_self, rules, 0) == 0;
  ::close(rules);
  return done;
}

#if defined(__x86_64__)
constexpr std::uint32_t own_arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t own_arch = AUDIT_ARCH_AARCH64;
#else
#error "name this machine's AUDIT_ARCH"
#endif

/// What libgit2 has no use for. A list of what is forbidden, not of what is
/// allowed: it stands behind Landlock, for hooks and helpers above all, and
/// must not break with another libc.
constexpr std::uint32_t forbidden[] = {
    SYS_execve,
    SYS_execveat,
    SYS_clone,
    SYS_clone3,
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_ptrace,
    SYS_kill,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_mount,
    SYS_umount2,
    SYS_chroot,
    SYS_pivot_root,
    SYS_unshare,
    SYS_setns,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_open_by_handle_at,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_mknodat,
    SYS_symlinkat,
    SYS_setxattr,
    SYS_reboot,
    SYS_init_module,
    SYS_finit_module,
    SYS_kexec_load,
    SYS_pidfd_getfd,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
    SYS_mknod,
    SYS_symlink,
#endif
};

bool seccomp() {
  constexpr std::size_t n = std::size(forbidden);
  // load arch; other arch: kill; load number; x32: refuse; n comparisons;
  // allow; refuse.
  std::array<sock_filter, n + 6> code{};
  std::size_t at = 0;
  auto put = [&](std::uint16_t op, std::size_t yes, std::size_t no,
                 std::uint32_t k) {
    code.at(at++) = sock_filter{op, static_cast<std::uint8_t>(yes),
                                static_cast<std::uint8_t>(no), k};
  };
  put(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, arch));
  put(BPF_JMP | BPF_JEQ | BPF_K, 0, n + 3, own_arch);
  put(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr));
  put(BPF_JMP | BPF_JGE | BPF_K, n + 1, 0, 0x40000000U);
  for (std::size_t i = 0; i < n; ++i)
    put(BPF_JMP | BPF_JEQ | BPF_K, n - i, 0, forbidden[i]);
  put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM);
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_TSYNC, &program)
         == 0;
}

bool limit(__rlimit_resource what, std::size_t most) {
  rlimit now{};
  if (::getrlimit(what, &now) != 0)
    return false;
  if (now.rlim_max > most)
    now.rlim_max = most;
  now.rlim_cur = now.rlim_max;
  return ::setrlimit(what, &now) == 0;
}

} // namespace

result<bool> confine(const confinement& how,
                     const std::function<void()>& threads) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail_errno(ec::host_setup, "cannot give up privileges", errno);
  if (!limit(RLIMIT_CORE, 0) || !limit(RLIMIT_NOFILE, 256)
      || (!sanitized && !limit(RLIMIT_DATA, how.memory)))
    return fail_errno(ec::host_setup, "cannot limit the git worker", errno);
  const bool by_landlock =
      how.use_landlock && landlock(how.root_fd, how.writable);
  if (threads)
    threads();
  // A kernel or a container without seccomp filters is served all the same:
  // libgit2 starts no programs by itself.
  seccomp();
  return by_landlock;
}

} // namespace caged::mcp::git
