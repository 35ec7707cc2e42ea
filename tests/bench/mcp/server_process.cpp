#include "tests/bench/mcp/server_process.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace caged::bench {

namespace {

[[noreturn]] void fail_with(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::vector<char*> c_argv(const std::vector<std::string>& argv) {
  std::vector<char*> out;
  for (const auto& arg : argv)
    out.push_back(const_cast<char*>(arg.c_str()));
  out.push_back(nullptr);
  return out;
}

std::vector<pid_t> below(pid_t pid) {
  // A child belongs to the thread that made it.
  auto threads = "/proc/" + std::to_string(pid) + "/task";
  std::vector<pid_t> out;
  std::error_code gone;
  for (const auto& thread :
       std::filesystem::directory_iterator{threads, gone}) {
    std::ifstream file{thread.path() / "children"};
    for (pid_t child = 0; file >> child;) {
      out.push_back(child);
      for (auto grandchild : below(child))
        out.push_back(grandchild);
    }
  }
  return out;
}

/// Microseconds by the clock of a process; 0 when it is gone.
double clock_of(pid_t pid) {
  clockid_t id{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &id) != 0 || ::clock_gettime(id, &used) != 0)
    return 0;
  return double(used.tv_sec) * 1e6 + double(used.tv_nsec) / 1e3;
}

/// cutime and cstime, microseconds.
double reaped(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text{std::istreambuf_iterator<char>{file}, {}};
  auto at = text.rfind(')');
  if (at == std::string::npos)
    return 0;
  std::istringstream fields{text.substr(at + 2)};
  std::string skipped;
  for (int i = 3; i < 16; ++i) // proc_pid_stat(5): field 3 comes first
    fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) * 1e6 / double(::sysconf(_SC_CLK_TCK));
}

/// A line of proc_pid_status(5), 10^6 bytes; 0: it is not there.
double memory_of(pid_t pid, const std::string& line) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string word; file >> word;) {
    double kib = 0;
    if (word == line && file >> kib)
      return kib * 1024 / 1e6;
  }
  return 0;
}

bool same_program(pid_t a, pid_t b) {
  std::error_code wrong;
  return std::filesystem::equivalent("/proc/" + std::to_string(a) + "/exe",
                                     "/proc/" + std::to_string(b) + "/exe",
                                     wrong);
}

} // namespace

server_process::server_process(const std::vector<std::string>& argv,
                               const std::string& log) {
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0)
    fail_with("pipe");
  auto args = c_argv(argv);
  pid_ = ::fork();
  if (pid_ < 0)
    fail_with("fork");
  if (pid_ == 0) {
    ::signal(SIGPIPE, SIG_DFL); // ignored by the driver
    int err =
        ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    ::dup2(to[0], 0);
    ::dup2(from[1], 1);
    ::dup2(err, 2);
    ::execvp(args[0], args.data());
    ::_exit(127);
  }
  ::close(to[0]);
  ::close(from[1]);
  in_ = to[1];
  out_ = from[0];
  ::fcntl(in_, F_SETFL, O_NONBLOCK);
  ::fcntl(out_, F_SETFL, O_NONBLOCK);
}

server_process::~server_process() {
  ::close(in_);
  ::kill(pid_, SIGTERM); // those that listen do not look at their input
  int handle = int(::syscall(SYS_pidfd_open, pid_, 0));
  pollfd gone{handle, POLLIN, 0};
  if (handle < 0 || ::poll(&gone, 1, 2000) != 1)
    ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ::close(handle);
  ::close(out_);
}

cpu_used server_process::cpu() const {
  cpu_used used{clock_of(pid_), reaped(pid_)};
  for (auto child : below(pid_))
    used.children += clock_of(child) + reaped(child);
  return used;
}

double server_process::peak_mb() const {
  double sum = memory_of(pid_, "VmHWM:");
  for (auto child : below(pid_)) {
    sum += memory_of(child, "VmHWM:");
    if (same_program(pid_, child))
      sum -= memory_of(child, "RssFile:");
  }
  return sum;
}

namespace {

/// Of every thread of a process; those that come later have their maker's.
void place(pid_t server, const cpu_set_t& where) {
  ::sched_setaffinity(0, sizeof where, &where);
  const std::filesystem::path tasks =
      "/proc/" + std::to_string(server) + "/task";
  for (const auto& each : std::filesystem::directory_iterator{tasks})
    ::sched_setaffinity(std::stoi(each.path().filename()), sizeof where,
                        &where);
}

} // namespace

one_cpu::one_cpu(const server_process& with) : server_{with.pid()} {
  CPU_ZERO(&before_);
  ::sched_getaffinity(0, sizeof before_, &before_);
  cpu_set_t one;
  CPU_ZERO(&one);
  int first = 0;
  while (first < CPU_SETSIZE - 1 && !CPU_ISSET(first, &before_))
    ++first;
  CPU_SET(first, &one);
  place(server_, one);
}

one_cpu::~one_cpu() {
  place(server_, before_);
}

spawned spawn(const std::vector<std::string>& argv, const std::string& folder) {
  auto args = c_argv(argv);
  auto from = clock::now();
  auto pid = ::fork();
  if (pid < 0)
    fail_with("fork");
  if (pid == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(nowhere, 0);
    ::dup2(nowhere, 1);
    ::dup2(nowhere, 2);
    if (::chdir(folder.c_str()) == 0)
      ::execvp(args[0], args.data());
    ::_exit(127);
  }
  int status = 0;
  rusage used{};
  if (::wait4(pid, &status, 0, &used) != pid || status != 0)
    throw std::runtime_error("cannot run " + argv[0]);
  std::chrono::duration<double, std::micro> took = clock::now() - from;
  return {took.count(), double(used.ru_maxrss) * 1024 / 1e6};
}

double stat_time(const std::string& folder, int n) {
  std::vector<std::string> names;
  for (int i = 0; i < n; ++i)
    names.push_back("file-" + std::to_string(i) + ".txt");
  int fd = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  auto from = clock::now();
  bool good = true;
  struct stat about {};
  for (const auto& name : names)
    good &= ::fstatat(fd, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0;
  std::chrono::duration<double, std::micro> took = clock::now() - from;
  ::close(fd);
  if (!good)
    throw std::runtime_error("cannot look at the files of " + folder);
  return took.count();
}

} // namespace caged::bench
