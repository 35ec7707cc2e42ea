#include "tests/support/process.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace caged::test {

namespace {

using clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct pipe_ends {
  int read = -1, write = -1;
  pipe_ends() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0)
      give_up("pipe2");
    read = fds[0];
    write = fds[1];
  }
  ~pipe_ends() {
    close_read();
    close_write();
  }
  void close_read() { close_one(read); }
  void close_write() { close_one(write); }

private:
  static void close_one(int& fd) {
    if (fd >= 0)
      ::close(fd);
    fd = -1;
  }
};

/// Starts argv with the three descriptors; its own process group. What is
/// needed between fork and exec is made before: the tests may have threads.
pid_t start(const std::vector<std::string>& argv,
            const process_options& options, int in, int out, int err) {
  std::vector<char*> args;
  for (const auto& arg : argv)
    args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  std::map<std::string, std::string> variables = options.env;
  for (char** entry = environ; *entry; ++entry) {
    std::string_view text = *entry;
    auto at = text.find('=');
    if (at != std::string_view::npos)
      variables.emplace(text.substr(0, at), text.substr(at + 1));
  }
  std::vector<std::string> pairs;
  for (const auto& [key, value] : variables)
    pairs.push_back(key + "=" + value);
  std::vector<char*> env;
  for (auto& pair : pairs)
    env.push_back(pair.data());
  env.push_back(nullptr);
  auto parent = ::getpid();
  auto pid = ::fork();
  if (pid < 0)
    give_up("fork");
  if (pid > 0) {
    ::setpgid(pid, pid);
    return pid;
  }
  ::setpgid(0, 0);
  // Should the test itself be killed, nothing of it may stay behind.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent)
    ::_exit(125);
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0)
    ::_exit(125);
  if (!options.cwd.empty() && ::chdir(options.cwd.c_str()) != 0)
    ::_exit(125);
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &plain, nullptr);
  ::execvpe(args[0], args.data(), env.data());
  ::_exit(errno == ENOENT ? 127 : 126);
}

int code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// poll(2) until the deadline, in turns of a minute: its timeout is an int.
int poll_until(clock::time_point deadline, pollfd* fds, nfds_t count) {
  constexpr auto turn = std::chrono::milliseconds(60s);
  for (;;) {
    auto left = std::clamp<std::chrono::milliseconds>(
        std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now()),
        0ms, turn);
    auto ready = ::poll(fds, count, static_cast<int>(left.count()));
    if (ready != 0 || clock::now() >= deadline)
      return ready;
  }
}

} // namespace

temp_dir::temp_dir() {
  const char* base = std::getenv("TMPDIR");
  path_ = std::string{base && *base ? base : "/tmp"} + "/caged-test-XXXXXX";
  if (!::mkdtemp(path_.data()))
    give_up("mkdtemp");
}

temp_dir::~temp_dir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string temp_dir::operator/(std::string_view name) const {
  return path_ + "/" + std::string{name};
}

process_result run(const std::vector<std::string>& argv,
                   const process_options& options) {
  process_result result;
  auto deadline = clock::now() + patient(options.timeout);
  pipe_ends in, out, err;
  auto pid = start(argv, options, in.read, out.write, err.write);
  in.close_read();
  out.close_write();
  err.close_write();
  ::fcntl(in.write, F_SETFL, O_NONBLOCK);
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  std::string_view rest = options.in;
  if (rest.empty())
    in.close_write();
  auto drain = [](pipe_ends& from, std::string& to) {
    char buffer[65536];
    auto n = ::read(from.read, buffer, sizeof buffer);
    if (n > 0)
      to.append(buffer, static_cast<std::size_t>(n));
    else if (n == 0 || errno != EINTR)
      from.close_read();
  };
  while (out.read >= 0 || err.read >= 0) {
    pollfd fds[3] = {
        {out.read, POLLIN, 0}, {err.read, POLLIN, 0}, {in.write, POLLOUT, 0}};
    auto ready = poll_until(deadline, fds, 3);
    if (ready == 0) {
      result.timed_out = true;
      ::kill(-pid, SIGKILL);
      break;
    }
    if (fds[0].revents)
      drain(out, result.out);
    if (fds[1].revents)
      drain(err, result.err);
    if (fds[2].revents) {
      auto n = ::write(in.write, rest.data(), rest.size());
      if (n > 0)
        rest.remove_prefix(static_cast<std::size_t>(n));
      if (rest.empty() || (n < 0 && errno != EAGAIN && errno != EINTR))
        in.close_write();
    }
  }
  in.close_write();
  int status = 0;
  for (;;) {
    auto got = ::waitpid(pid, &status, result.timed_out ? 0 : WNOHANG);
    if (got == pid)
      break;
    if (got < 0 && errno != EINTR)
      give_up("waitpid");
    if (clock::now() >= deadline) {
      result.timed_out = true;
      ::kill(-pid, SIGKILL);
    } else {
      ::poll(nullptr, 0, 2);
    }
  }
  ::sigaction(SIGPIPE, &before, nullptr);
  result.exit = code_of(status);
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return result;
}

background::background(const std::vector<std::string>& argv,
                       const process_options& options) {
  write_file(dir_ / "in", options.in);
  auto open_as = [&](const char* name, int flags) {
    auto fd = ::open((dir_ / name).c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0)
      give_up("open");
    return fd;
  };
  auto in = open_as("in", O_RDONLY);
  auto out = open_as("out", O_WRONLY | O_CREAT | O_APPEND);
  auto err = open_as("err", O_WRONLY | O_CREAT | O_APPEND);
  pid_ = start(argv, options, in, out, err);
  ::close(in);
  ::close(out);
  ::close(err);
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0)
    give_up("pidfd_open");
}

background::~background() {
  // The group first: while its leader is not reaped its number stays ours.
  ::kill(-pid_, SIGKILL);
  if (exit_ < 0) {
    signal(SIGKILL);
    wait(10s);
  }
  ::close(pidfd_);
}

bool background::alive() {
  return !wait(0ms);
}

void background::signal(int number) {
  if (exit_ < 0)
    ::syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0);
}

bool background::wait(std::chrono::milliseconds timeout) {
  if (exit_ >= 0)
    return true;
  auto deadline = clock::now() + patient(timeout);
  for (;;) {
    pollfd ended{pidfd_, POLLIN, 0};
    auto ready = poll_until(deadline, &ended, 1);
    if (ready == 0)
      return false;
    if (ready < 0 && errno == EINTR)
      continue;
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_)
      give_up("waitpid");
    exit_ = code_of(status);
    return true;
  }
}

int background::exit() {
  wait(0ms);
  return exit_;
}

std::string background::out() const {
  return read_file(dir_ / "out");
}

std::string background::err() const {
  return read_file(dir_ / "err");
}

std::chrono::milliseconds patient(std::chrono::milliseconds deadline) {
  const char* factor = std::getenv("CAGED_SLOW_MACHINE");
  return deadline * (factor ? std::max(1, std::atoi(factor)) : 1);
}

bool eventually(std::chrono::milliseconds deadline,
                const std::function<bool()>& done) {
  auto end = clock::now() + patient(deadline);
  for (;;) {
    if (done())
      return true;
    if (clock::now() >= end)
      return false;
    ::poll(nullptr, 0, 5);
  }
}

std::string bin_dir() {
  const char* dir = std::getenv("CAGED_BIN_DIR");
  return dir && *dir ? dir : "./bin";
}

std::string read_file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  // Not by iterators: they throw where read(2) fails, as for a process that
  // ends meanwhile.
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const std::string& path, std::string_view bytes,
                unsigned mode) {
  std::ofstream out{path, std::ios::binary | std::ios::trunc};
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out || ::chmod(path.c_str(), mode) != 0)
    give_up(("write " + path).c_str());
}

bool is_init(pid_t pid) {
  auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  auto at = status.find("NSpid:");
  if (at == std::string::npos)
    return false;
  std::istringstream line{
      status.substr(at + 6, status.find('\n', at) - at - 6)};
  int inside = 0;
  for (int n = 0; line >> n;)
    inside = n;
  return inside == 1;
}

bool memory_counts() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  std::fputs("memory is not judged: this build has a sanitizer\n", stderr);
  return false;
#else
  return true;
#endif
}

std::uint64_t status_kb(pid_t pid, std::string_view name) {
  std::ifstream in{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(in, line);)
    if (line.rfind(std::string{name} + ":", 0) == 0)
      return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10);
  return 0;
}

namespace {

/// The fields of /proc/PID/stat from the third on (proc(5)).
std::vector<std::string> stat_fields(pid_t pid) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  auto at = text.rfind(')');
  std::vector<std::string> fields;
  if (at == std::string::npos)
    return fields;
  for (auto i = at + 2; i < text.size();) {
    auto end = std::min(text.find(' ', i), text.size());
    fields.push_back(text.substr(i, end - i));
    i = end + 1;
  }
  return fields;
}

} // namespace

std::chrono::milliseconds cpu_time(pid_t pid) {
  auto fields = stat_fields(pid);
  if (fields.size() < 13)
    return 0ms;
  auto ticks = std::stoll(fields[11]) + std::stoll(fields[12]);
  return std::chrono::milliseconds{ticks * 1000 / ::sysconf(_SC_CLK_TCK)};
}

bool is_alive(pid_t pid) {
  auto fields = stat_fields(pid);
  return !fields.empty() && fields[0] != "Z" && fields[0] != "X";
}

} // namespace caged::test
