#include "cli/host_facts.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>

#include <elf.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace caged::cli::host {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t most = 64 * 1024;
constexpr int program_ms = 5000;

bool write_map(const std::string& file) {
  std::ofstream out{file};
  out << "0 1000000 65536\n" << std::flush;
  return out.good();
}

} // namespace

std::optional<std::string> read(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  if (!in)
    return std::nullopt;
  std::string out(most, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  if (in.bad())
    return std::nullopt;
  out.resize(static_cast<std::size_t>(in.gcount()));
  return out;
}

std::optional<std::string> run(const std::vector<std::string>& argv) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) < 0)
    return std::nullopt;
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const auto& word : argv)
    words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  auto child = ::fork();
  if (child == 0) {
    int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, STDIN_FILENO);
    ::dup2(pipe[1], STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  ::close(pipe[1]);
  std::string out;
  bool ended = false;
  pollfd ready{pipe[0], POLLIN, 0};
  while (child > 0 && out.size() < most && ::poll(&ready, 1, program_ms) == 1) {
    std::array<char, 4096> bytes{};
    auto n = ::read(pipe[0], bytes.data(), bytes.size());
    if (n <= 0) {
      ended = n == 0;
      break;
    }
    out.append(bytes.data(), static_cast<std::size_t>(n));
  }
  ::close(pipe[0]);
  int status = -1;
  if (child > 0) {
    if (!ended)
      ::kill(child, SIGKILL);
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }
  if (!ended || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return std::nullopt;
  return out;
}

fs::path find_program(const fs::path& root, const std::string& name) {
  for (const char* dir : {"usr/local/sbin", "usr/local/bin", "usr/sbin",
                          "usr/bin", "sbin", "bin"}) {
    auto path = root / dir / name;
    if (::access(path.c_str(), X_OK) == 0)
      return path;
  }
  return {};
}

std::optional<bool> is_static(const fs::path& program) {
  auto bytes = read(program);
  Elf64_Ehdr head{};
  if (!bytes || bytes->size() < sizeof head)
    return std::nullopt;
  std::memcpy(&head, bytes->data(), sizeof head);
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0
      || head.e_ident[EI_CLASS] != ELFCLASS64
      || head.e_phentsize != sizeof(Elf64_Phdr))
    return std::nullopt;
  for (std::size_t i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr part{};
    if (head.e_phoff > bytes->size()
        || bytes->size() - head.e_phoff < (i + 1) * sizeof part)
      return std::nullopt;
    std::memcpy(&part, bytes->data() + head.e_phoff + i * sizeof part,
                sizeof part);
    if (part.p_type == PT_INTERP)
      return false;
  }
  return true;
}

bool has_module(const fs::path& root, const std::string& release,
                const std::string& name) {
  auto dir = root / "lib/modules" / release;
  for (const char* file : {"modules.builtin", "modules.dep"}) {
    std::ifstream in{dir / file};
    for (std::string line; std::getline(in, line);) {
      auto path = line.substr(0, line.find(':'));
      auto base = path.substr(path.rfind('/') + 1);
      if (base.rfind(name + ".ko", 0) == 0)
        return true;
    }
  }
  return false;
}

int idmap_error(const fs::path& directory) {
  auto tree = static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, directory.c_str(),
                OPEN_TREE_CLONE | static_cast<unsigned>(O_CLOEXEC)));
  if (tree < 0)
    return errno;
  // The map is that of a short-lived process.
  auto holder = static_cast<pid_t>(
      ::syscall(SYS_clone, static_cast<unsigned long>(CLONE_NEWUSER | SIGCHLD),
                nullptr, nullptr, nullptr, nullptr));
  if (holder == 0)
    for (;;)
      ::pause();
  int error = holder < 0 ? errno : 0;
  if (holder > 0) {
    auto proc = "/proc/" + std::to_string(holder);
    bool mapped = write_map(proc + "/uid_map") && write_map(proc + "/gid_map");
    int space = ::open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC);
    ::kill(holder, SIGKILL);
    ::waitpid(holder, nullptr, 0);
    mount_attr attr{};
    attr.attr_set = MOUNT_ATTR_IDMAP;
    attr.userns_fd = static_cast<std::uint64_t>(space);
    if (!mapped || space < 0)
      error = EPERM;
    else if (::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr,
                       sizeof attr)
             < 0)
      error = errno;
    if (space >= 0)
      ::close(space);
  }
  ::close(tree);
  return error;
}

} // namespace caged::cli::host
