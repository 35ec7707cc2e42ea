#include "nodes/oci/seccomp.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "messages/text.hpp"

namespace caged::oci {

namespace {

// Allowed whatever the arguments. Not in here, on purpose: the mount family,
// unshare and setns, keyrings, bpf, perf, io_uring, userfaultfd, kexec,
// modules, reboot, swap, clocks, quotas, handles (open_by_handle_at escapes a
// root), raw ports, accounting, cross-process memory policy, kernel logs,
// hostnames. ptrace and process_vm_* stay: debuggers need them, and the PID
// namespace and the user namespace confine them to the sandbox.
constexpr unsigned plain[] = {
    SYS_read, SYS_write, SYS_open, SYS_close, SYS_stat, SYS_fstat, SYS_lstat,
    SYS_poll, SYS_lseek, SYS_mmap, SYS_mprotect, SYS_munmap, SYS_brk,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_pread64,
    SYS_pwrite64, SYS_readv, SYS_writev, SYS_access, SYS_pipe, SYS_select,
    SYS_sched_yield, SYS_mremap, SYS_msync, SYS_mincore, SYS_madvise,
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_dup, SYS_dup2, SYS_pause,
    SYS_nanosleep, SYS_getitimer, SYS_alarm, SYS_setitimer, SYS_getpid,
    SYS_sendfile, SYS_connect, SYS_accept, SYS_sendto, SYS_recvfrom,
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_bind, SYS_listen,
    SYS_getsockname, SYS_getpeername, SYS_socketpair, SYS_setsockopt,
    SYS_getsockopt, SYS_fork, SYS_vfork, SYS_execve, SYS_exit, SYS_wait4,
    SYS_kill, SYS_uname, SYS_semget, SYS_semop, SYS_semctl, SYS_shmdt,
    SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_fcntl, SYS_flock,
    SYS_fsync, SYS_fdatasync, SYS_truncate, SYS_ftruncate, SYS_getdents,
    SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_rename, SYS_mkdir, SYS_rmdir,
    SYS_creat, SYS_link, SYS_unlink, SYS_symlink, SYS_readlink, SYS_chmod,
    SYS_fchmod, SYS_chown, SYS_fchown, SYS_lchown, SYS_umask, SYS_gettimeofday,
    SYS_getrlimit, SYS_getrusage, SYS_sysinfo, SYS_times, SYS_ptrace,
    SYS_getuid, SYS_getgid, SYS_setuid, SYS_setgid, SYS_geteuid, SYS_getegid,
    SYS_setpgid, SYS_getppid, SYS_getpgrp, SYS_setsid, SYS_setreuid,
    SYS_setregid, SYS_getgroups, SYS_setgroups, SYS_setresuid, SYS_getresuid,
    SYS_setresgid, SYS_getresgid, SYS_getpgid, SYS_setfsuid, SYS_setfsgid,
    SYS_getsid, SYS_capget, SYS_capset, SYS_rt_sigpending, SYS_rt_sigtimedwait,
    SYS_rt_sigqueueinfo, SYS_rt_sigsuspend, SYS_sigaltstack, SYS_utime,
    SYS_mknod, SYS_statfs, SYS_fstatfs, SYS_getpriority, SYS_setpriority,
    SYS_sched_setparam, SYS_sched_getparam, SYS_sched_setscheduler,
    SYS_sched_getscheduler, SYS_sched_get_priority_max,
    SYS_sched_get_priority_min, SYS_sched_rr_get_interval, SYS_mlock,
    SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_prctl, SYS_arch_prctl,
    SYS_setrlimit, SYS_chroot, SYS_sync, SYS_gettid, SYS_readahead,
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr,
    SYS_fgetxattr, SYS_listxattr, SYS_llistxattr, SYS_flistxattr,
    SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, SYS_tkill, SYS_time,
    SYS_futex, SYS_sched_setaffinity, SYS_sched_getaffinity, SYS_io_setup,
    SYS_io_destroy, SYS_io_getevents, SYS_io_submit, SYS_io_cancel,
    SYS_epoll_create, SYS_getdents64, SYS_set_tid_address, SYS_restart_syscall,
    SYS_semtimedop, SYS_fadvise64, SYS_timer_create, SYS_timer_settime,
    SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_delete,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_exit_group,
    SYS_epoll_wait, SYS_epoll_ctl, SYS_tgkill, SYS_utimes, SYS_mq_open,
    SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify,
    SYS_mq_getsetattr, SYS_waitid, SYS_ioprio_set, SYS_ioprio_get,
    SYS_inotify_init, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_openat,
    SYS_mkdirat, SYS_mknodat, SYS_fchownat, SYS_futimesat, SYS_newfstatat,
    SYS_unlinkat, SYS_renameat, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_fchmodat, SYS_faccessat, SYS_pselect6, SYS_ppoll, SYS_set_robust_list,
    SYS_get_robust_list, SYS_splice, SYS_tee, SYS_sync_file_range, SYS_vmsplice,
    SYS_utimensat, SYS_epoll_pwait, SYS_signalfd, SYS_timerfd_create,
    SYS_eventfd, SYS_fallocate, SYS_timerfd_settime, SYS_timerfd_gettime,
    SYS_accept4, SYS_signalfd4, SYS_eventfd2, SYS_epoll_create1, SYS_dup3,
    SYS_pipe2, SYS_inotify_init1, SYS_preadv, SYS_pwritev,
    SYS_rt_tgsigqueueinfo, SYS_recvmmsg, SYS_prlimit64, SYS_syncfs,
    SYS_sendmmsg, SYS_getcpu, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_kcmp, SYS_sched_setattr, SYS_sched_getattr, SYS_renameat2, SYS_seccomp,
    SYS_getrandom, SYS_memfd_create, SYS_execveat, SYS_membarrier, SYS_mlock2,
    SYS_copy_file_range, SYS_preadv2, SYS_pwritev2, SYS_pkey_mprotect,
    SYS_pkey_alloc, SYS_pkey_free, SYS_statx, SYS_io_pgetevents, SYS_rseq,
    SYS_pidfd_send_signal, SYS_pidfd_open, SYS_close_range, SYS_openat2,
    SYS_pidfd_getfd, SYS_faccessat2, SYS_process_madvise, SYS_epoll_pwait2,
    SYS_landlock_create_ruleset, SYS_landlock_add_rule,
    SYS_landlock_restrict_self, SYS_process_mrelease, SYS_futex_waitv,
    // Numbers newer than Debian 12's headers; arch/x86/entry/syscalls.
    452 /* fchmodat2 */, 454 /* futex_wake */, 455 /* futex_wait */,
    456 /* futex_requeue */};

/// Highest number of x86_64 that the list's author has judged (mseal).
constexpr unsigned newest_known = 462;

// Flags that make namespaces, CLONE_NEWTIME apart: that bit is part of the exit
// signal in clone(2), and clone3 is not there.
constexpr std::uint32_t new_namespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER
    | CLONE_NEWPID | CLONE_NEWNET;

constexpr sock_filter refuse(int error) {
  return BPF_STMT(BPF_RET | BPF_K,
                  SECCOMP_RET_ERRNO | (static_cast<unsigned>(error) & 0xffffU));
}
constexpr sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
constexpr sock_filter kill_process =
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);

constexpr sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
}
/// The low half of an argument (little endian).
constexpr sock_filter load_argument(unsigned index) {
  return load(offsetof(seccomp_data, args) + 8 * index);
}
constexpr sock_filter jump(unsigned how, unsigned value, unsigned yes,
                           unsigned no) {
  return BPF_JUMP(BPF_JMP | BPF_K | how, value, static_cast<unsigned char>(yes),
                  static_cast<unsigned char>(no));
}

struct range {
  unsigned first, last;
};

using program = std::vector<sock_filter>;

/// A binary search among sorted ranges: every path ends in a return. The
/// accumulator holds the number.
program search(const std::vector<range>& ranges, std::size_t from,
               std::size_t to) {
  if (to - from == 1) {
    const auto& only = ranges[from];
    return {jump(BPF_JGE, only.first, 0, 2), jump(BPF_JGT, only.last, 1, 0),
            allow, refuse(EPERM)};
  }
  auto middle = from + (to - from) / 2;
  auto low = search(ranges, from, middle), high = search(ranges, middle, to);
  program out;
  // A conditional jump reaches 255 instructions, an unconditional one all.
  out.push_back(jump(BPF_JGE, ranges[middle].first, 0, 1));
  out.push_back(BPF_STMT(BPF_JMP | BPF_JA, static_cast<unsigned>(low.size())));
  out.insert(out.end(), low.begin(), low.end());
  out.insert(out.end(), high.begin(), high.end());
  return out;
}

/// Code that is run when the number is `call`; it must return on every path.
void when(program& out, unsigned call, const program& body) {
  out.push_back(jump(BPF_JEQ, call, 0, static_cast<unsigned>(body.size())));
  out.insert(out.end(), body.begin(), body.end());
}

} // namespace

std::vector<sock_filter> seccomp_program() {
  program out;
  out.push_back(load(offsetof(seccomp_data, arch)));
  out.push_back(jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0));
  out.push_back(kill_process); // int 0x80 and i386 programs
  out.push_back(load(offsetof(seccomp_data, nr)));
  // x32 has bit 30 set; what is newer than the list is treated alike.
  out.push_back(jump(BPF_JGT, newest_known, 0, 1));
  out.push_back(refuse(ENOSYS));
  when(out, SYS_clone3, {refuse(ENOSYS)});
  when(out, SYS_clone,
       {load_argument(0), jump(BPF_JSET, new_namespaces, 0, 1), refuse(EPERM),
        allow});
  when(out, SYS_socket,
       {load_argument(0), jump(BPF_JEQ, AF_UNIX, 6, 0),
        jump(BPF_JEQ, AF_INET, 5, 0), jump(BPF_JEQ, AF_INET6, 4, 0),
        jump(BPF_JEQ, AF_NETLINK, 0, 2),
        // NETLINK_ROUTE: libc lists interfaces with it
        load_argument(2), jump(BPF_JEQ, 0, 1, 0), refuse(EAFNOSUPPORT), allow});
  // TIOCSTI and TIOCLINUX push input into a terminal.
  when(out, SYS_ioctl,
       {load_argument(1), jump(BPF_JEQ, 0x5412, 1, 0),
        jump(BPF_JEQ, 0x541c, 0, 1), refuse(EPERM), allow});
  // PER_LINUX, ADDR_NO_RANDOMIZE (debuggers), and asking.
  when(out, SYS_personality,
       {load_argument(0), jump(BPF_JEQ, 0, 2, 0), jump(BPF_JEQ, 0x40000, 1, 0),
        jump(BPF_JEQ, 0xffffffff, 0, 1), allow, refuse(EPERM)});

  std::vector<unsigned> calls{std::begin(plain), std::end(plain)};
  std::sort(calls.begin(), calls.end());
  std::vector<range> ranges;
  for (auto call : calls)
    if (!ranges.empty() && ranges.back().last + 1 >= call)
      ranges.back().last = call;
    else
      ranges.push_back({call, call});
  auto rest = search(ranges, 0, ranges.size());
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

std::string seccomp_base64() {
  auto code = seccomp_program();
  return base64_encode({reinterpret_cast<const char*>(code.data()),
                        code.size() * sizeof(sock_filter)});
}

} // namespace caged::oci
