#include "mcp/keeper.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/text.hpp"

// Code of the keeper runs beside ours on our memory, in part with our thread's
// local storage: no instrumentation and no stack protector there.
#define CAGED_BARE                                                             \
  __attribute__((noinline, no_stack_protector, no_sanitize("address"),         \
                 no_sanitize("undefined"), no_sanitize("thread")))

/// clone(3) by its second name: ThreadSanitizer takes the first one for a fork.
extern "C" int __clone(int (*)(void*), void*, int, void*, ...); // NOLINT

namespace caged::mcp {

namespace {

/// What the keeper says on its channel.
struct word {
  enum sort : int { started = 1, failed, ended, ended_last };
  int kind;
  int value;
};

/// For the first part of a keeper's life, while its maker waits.
struct plan {
  const keeper_request* what;
  std::vector<char*> programs, argv, env;
  std::vector<char*> script; ///< /bin/sh program argv...
  char **first, **first_arg, **first_env, **first_script;
  int channel;
  void* child_stack;
  pid_t child = 0; ///< Written by the kernel before the command's process runs.
  int error = 0;   ///< errno of what failed in the command's process.
};

/// The keeper's and the command's, until its exec. A page or two are touched.
constexpr std::size_t stack_bytes = 64U << 10U;

std::vector<char*> pointers(const std::vector<std::string>& from) {
  std::vector<char*> out;
  out.reserve(from.size() + 1);
  for (const auto& text : from)
    out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

/// A system call that leaves errno alone: errno is a variable of the thread
/// that made the keeper, which has long gone on (or is gone).
CAGED_BARE long bare_call(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
  long back = number;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "+a"(back)
                   : "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return back;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
                   : "memory");
  return x0;
#else
#error "bare_call needs this processor's system call instruction"
#endif
}

CAGED_BARE int bare_exec(const char* program, char** argv, char** env) {
  return static_cast<int>(
      -bare_call(SYS_execve, reinterpret_cast<long>(program),
                 reinterpret_cast<long>(argv), reinterpret_cast<long>(env), 0));
}

CAGED_BARE void say(int channel, int kind, int value) {
  word text{kind, value};
  bare_call(SYS_write, channel, reinterpret_cast<long>(&text), sizeof text, 0);
}

/// The second part of a keeper's life: waits for everybody below it.
[[noreturn]] CAGED_BARE void keep(int channel, int main) {
  int ended = 0; // 1: `status` is to be told
  int status = 0;
  for (;;) {
    int now = 0;
    auto pid = bare_call(SYS_wait4, -1, reinterpret_cast<long>(&now),
                         __WALL | (ended == 1 ? WNOHANG : 0), 0);
    if (pid == main) {
      ended = 1;
      status = now;
    } else if (pid == 0) {
      say(channel, word::ended, status); // others live on
      ended = 2;
    } else if (pid < 0 && pid != -EINTR) {
      if (ended == 1)
        say(channel, word::ended_last, status);
      break;
    }
  }
  for (;;)
    bare_call(SYS_exit_group, 0, 0, 0, 0);
}

/// The command's process until exec: on our memory, while the keeper and the
/// thread that made it wait.
CAGED_BARE int child_main(void* of) {
  auto& with = *static_cast<plan*>(of);
  const auto& what = *with.what;
  // Whoever kills the keeper ends the command with it.
  bare_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
  long done = bare_call(SYS_setsid, 0, 0, 0, 0);
  if (done >= 0)
    done = bare_call(SYS_fchdir, what.cwd, 0, 0, 0);
  if (done >= 0)
    done = bare_call(SYS_dup3, what.in, 0, 0, 0);
  if (done >= 0)
    done = bare_call(SYS_dup3, what.out, 1, 0, 0);
  if (done >= 0)
    done = bare_call(SYS_dup3, what.err, 2, 0, 0);
  if (done < 0) {
    with.error = static_cast<int>(-done);
    return 127;
  }
  // Of an older kernel (before 5.9) there is at least O_CLOEXEC.
  bare_call(SYS_close_range, 3, ~0U, 0, 0);
  // Ignored ones would be inherited. The kernel's own structure, all zero for
  // SIG_DFL.
  const unsigned long plain[4] = {};
  for (int number = 1; number < NSIG; ++number)
    bare_call(SYS_rt_sigaction, number, reinterpret_cast<long>(plain), 0,
              sizeof(std::uint64_t));
  bare_call(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(plain), 0,
            sizeof(std::uint64_t));
  int found = ENOENT;
  for (auto* program = with.first; *program != nullptr; ++program) {
    auto error = bare_exec(*program, with.first_arg, with.first_env);
    if (error == ENOEXEC) {
      // A script without "#!", as execvp(3) and shells treat it.
      with.first_script[1] = *program;
      bare_exec("/bin/sh", with.first_script, with.first_env);
    }
    if (error != ENOENT && error != ENOTDIR)
      found = error;
  }
  with.error = found;
  return 127;
}

CAGED_BARE int keeper_main(void* of) {
  auto& with = *static_cast<plan*>(of);
  bare_call(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0);
  bare_call(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>("caged-keeper"), 0,
            0);
  auto pid = ::__clone(child_main, with.child_stack,
                       CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD,
                       of, &with.child);
  auto error = pid < 0 ? errno : with.error;
  auto channel = with.channel;
  // Nobody's end of a pipe, and no client's connection, stays open here.
  bare_call(SYS_close_range, 0, channel - 1, 0, 0);
  bare_call(SYS_close_range, channel + 1, ~0U, 0, 0);
  // From here on our maker goes on, and `with` is no more.
  if (error != 0)
    say(channel, word::failed, error);
  else
    say(channel, word::started, pid);
  keep(channel, pid);
}

/// Nothing is to be found where the command was; orphans of a keeper that was
/// killed come to us.
void become_subreaper() {
  static std::once_flag once;
  std::call_once(once, [] { ::prctl(PR_SET_CHILD_SUBREAPER, 1); });
}

/// Of a keeper that was killed before it spoke, as its own command may do: once
/// it is no more, the command is ours, and has been killed with it
/// (PR_SET_PDEATHSIG). When this returns nobody runs on our memory any more.
/// The keeper is not reaped.
word bury(pid_t keeper, const plan& with) {
  siginfo_t info;
  while (::waitid(P_PID, static_cast<id_t>(keeper), &info,
                  WEXITED | WNOWAIT | __WALL)
             != 0
         && errno == EINTR) {
  }
  if (with.child <= 0)
    return {word::failed, EAGAIN};
  // One that has become another user's program (set-user-ID) may live on.
  if (::kill(with.child, SIGKILL) == 0)
    while (::waitpid(with.child, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  return with.error != 0 ? word{word::failed, with.error}
                         : word{word::started, with.child};
}

tl::unexpected<failure> explain(const keeper_request& what, int error) {
  const auto name = quoted(escape_text(what.argv[0], 100));
  switch (error) {
  case ENOENT:
  case ENOTDIR:
    return fail(ec::not_found, "there is no program " + name,
                "check its name, or run it by its path");
  case E2BIG:
    return fail(ec::too_large,
                "the command and its environment are longer than the system "
                "takes (128 KiB for one argument)",
                "write a script with file_write and run that, or pass data "
                "through stdin");
  case EACCES:
  case EPERM:
    return fail(ec::denied, "the program " + name + " may not be executed",
                "make it executable (chmod +x) or run its interpreter");
  case ENOEXEC:
  case ELOOP:
    return fail(ec::bad_request, "the file " + name + " is no program");
  default:
    return fail_errno(ec::resource, "the command cannot be started", error);
  }
}

} // namespace

result<keeper> keeper::start(const keeper_request& what) {
  become_subreaper();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail_errno(ec::resource, "no pipe for a command", errno);
  keeper out;
  out.channel_ = owned_fd{ends[0]};
  owned_fd write{ends[1]};
  if (write.get() < 3) // somebody closed our stdin, stdout or stderr
    write = owned_fd{::fcntl(write.get(), F_DUPFD_CLOEXEC, 3)};
  if (!write)
    return fail_errno(ec::resource, "no pipe for a command", errno);
  auto* stack = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED)
    return fail_errno(ec::resource, "no memory for a command", errno);
  out.stack_ = stack;
  auto* const top = static_cast<char*>(stack) + stack_bytes;
  plan with;
  with.what = &what;
  with.argv = pointers(what.argv);
  with.env = pointers(what.env);
  with.script = {const_cast<char*>("sh"), nullptr};
  with.script.insert(with.script.end(), with.argv.begin() + 1, with.argv.end());
  with.programs = pointers(what.programs);
  with.first = with.programs.data();
  with.first_arg = with.argv.data();
  with.first_env = with.env.data();
  with.first_script = with.script.data();
  with.channel = write.get();
  with.child_stack = top - stack_bytes / 2;
  // Until the keeper has spoken it uses this thread's storage (errno): nothing
  // may run here, and no handler there.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // No signal at its end: nobody's wait(2) but ours may find it.
  auto pid = ::__clone(keeper_main, top, CLONE_VM, &with);
  auto error = errno;
  word first{};
  if (pid > 0) {
    write = owned_fd{};
    if (::read(out.channel_.get(), &first, sizeof first) != sizeof first)
      first = bury(pid, with);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0)
    return fail_errno(ec::resource, "no process for a command", error);
  out.pid_ = pid;
  if (first.kind != word::started)
    return explain(what, first.value); // the keeper ends by itself
  out.main_ = first.value;
  return out;
}

void keeper::swap(keeper& other) noexcept {
  std::swap(channel_, other.channel_);
  std::swap(pid_, other.pid_);
  std::swap(main_, other.main_);
  std::swap(stack_, other.stack_);
}

keeper::~keeper() {
  collect();
}

void keeper::collect() {
  if (pid_ > 0) {
    siginfo_t info;
    while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | __WALL)
               != 0
           && errno == EINTR) {
    }
    pid_ = 0;
  }
  if (stack_ != nullptr)
    ::munmap(stack_, stack_bytes);
  stack_ = nullptr;
}

keeper::news keeper::next() {
  news out;
  word text{};
  ssize_t got = 0;
  do
    got = ::read(channel_.get(), &text, sizeof text);
  while (got < 0 && errno == EINTR);
  if (got != sizeof text) {
    out.gone = true;
    collect();
    return out;
  }
  out.ended = true;
  out.status = text.value;
  out.gone = text.kind == word::ended_last;
  if (out.gone)
    collect();
  return out;
}

} // namespace caged::mcp
