#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <set>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "tests/support/gateway_client.hpp"

// Every tool on a repository that an enemy wrote, in a real sandbox: nothing of
// it runs, nothing leads out, and no process of the host opens a file of it.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Who opens files of a file system: host pids, from fanotify(7).
class opens {
public:
  /// `of`: any path on it. Nothing is seen where the kernel lacks it: ok().
  explicit opens(const std::string& of)
      : fd_{::fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC
                                | FAN_UNLIMITED_QUEUE,
                            O_RDONLY | O_CLOEXEC)} {
    ok_ = fd_ >= 0
          && ::fanotify_mark(fd_, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN,
                             AT_FDCWD, of.c_str())
                 == 0;
  }
  ~opens() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  opens(const opens&) = delete;
  opens& operator=(const opens&) = delete;
  bool ok() const { return ok_; }

  std::set<pid_t> seen() {
    std::set<pid_t> out;
    alignas(fanotify_event_metadata) std::array<char, 65536> some{};
    for (;;) {
      const auto n = ::read(fd_, some.data(), some.size());
      if (n <= 0)
        return out;
      auto left = static_cast<int>(n);
      for (const auto* each =
               reinterpret_cast<const fanotify_event_metadata*>(some.data());
           FAN_EVENT_OK(each, left); each = FAN_EVENT_NEXT(each, left)) {
        out.insert(each->pid);
        if (each->fd >= 0)
          ::close(each->fd);
      }
    }
  }

private:
  int fd_;
  bool ok_ = false;
};

/// A repository whose configuration, hooks, attributes and links all want out;
/// what runs leaves a mark.
void write_repository(const std::string& at) {
  const auto git = [&](std::vector<std::string> argv) {
    argv.insert(argv.begin(), {"git", "-C", at});
    process_options quiet;
    quiet.env = {{"GIT_CONFIG_GLOBAL", "/dev/null"},
                 {"GIT_CONFIG_NOSYSTEM", "1"}};
    const auto done = run(argv, quiet);
    INFO(done.err);
    REQUIRE(done.exit == 0);
  };
  std::filesystem::create_directories(at);
  git({"init", "-q", "-b", "main"});
  git({"config", "user.name", "Eve"});
  git({"config", "user.email", "eve@example.org"});
  write_file(at + "/a.txt", "one\n");
  git({"add", "a.txt"});
  git({"commit", "-q", "-m", "first"});
  write_file(at + "/a.txt", "two\n");
  // From here on git itself would run all of this.
  const std::string evil = "sh -c 'echo ran >> /tmp/ran; cat'";
  for (const auto* hook : {"pre-commit", "prepare-commit-msg", "commit-msg",
                           "post-commit", "post-index-change"})
    write_file(at + "/.git/hooks/" + hook, "#!/bin/sh\necho hook >> /tmp/ran\n",
               0755);
  write_file(at + "/.git/config",
             "[core]\n repositoryformatversion = 0\n bare = false\n"
             " fsmonitor = \""
                 + evil
                 + "\"\n hooksPath = .git/hooks\n"
                   " pager = \""
                 + evil + "\"\n editor = \"" + evil
                 + "\"\n"
                   " sshCommand = \""
                 + evil
                 + "\"\n"
                   "[user]\n name = Eve\n email = eve@example.org\n"
                   "[diff]\n external = \""
                 + evil
                 + "\"\n"
                   "[diff \"x\"]\n textconv = \""
                 + evil
                 + "\"\n"
                   " command = \""
                 + evil
                 + "\"\n"
                   "[filter \"x\"]\n clean = \""
                 + evil
                 + "\"\n"
                   " smudge = \""
                 + evil + "\"\n process = \"" + evil
                 + "\"\n"
                   " required = true\n"
                   "[commit]\n gpgSign = true\n[gpg]\n program = \""
                 + evil
                 + "\"\n"
                   "[include]\n path = /root/secret\n"
                   "[alias]\n status = !"
                 + evil + "\n");
  write_file(at + "/.gitattributes", "*.txt filter=x diff=x merge=x\n");
  std::filesystem::create_symlink("/root/secret", at + "/secret");
  std::filesystem::create_symlink("/", at + "/root");
  std::filesystem::create_symlink("../../../../root", at + "/up");
  std::filesystem::create_symlink("/proc/1/root/root/secret", at + "/proc");
  std::filesystem::create_symlink("/var/lib/caged", at + "/host");
}

} // namespace

TEST_CASE("tools on a hostile repository stay inside, the host opens none of "
          "it") {
  test_node node;
  REQUIRE(node.start());
  const auto id = node.up({"--name", "web", "--workdir", "/work"});
  REQUIRE_FALSE(id.empty());
  temp_dir dir;
  write_repository(dir / "repo");
  const auto copied = node.caged({"cp", dir / "repo", "web:/work/repo"});
  INFO(copied.err);
  REQUIRE(node.caged({"exec", "web", "--", "sh", "-c",
                      "mkdir -p /root; echo TOP-SECRET > /root/secret; "
                      "test -d /work/repo/.git && mv /work/repo/.git "
                      "/work/repo/.gitattributes /work/repo/* /work/"})
              .exit
          == 0);
  const auto with = make_token(node, {"--sandbox", "web"});
  session mcp{port_of(node), with};
  REQUIRE(mcp.initialize().contains("result"));

  const auto init = node.init_of(id);
  opens watch{"/proc/" + std::to_string(init) + "/root/work"};
  if (!watch.ok()) {
    std::cout
        << "SKIPPED: this kernel does not let fanotify watch an overlay\n";
    node.clear();
    return;
  }
  const std::string out = "TOP-SECRET";
  for (const auto* link : {"secret", "root/root/secret", "up/secret", "proc",
                           "host", "../root/secret", "/root/secret"}) {
    INFO(link);
    for (const auto* tool : {"file_read", "file_list"}) {
      const auto got = mcp.call(tool, {{"path", link}});
      CHECK_FALSE(has(got, out));
    }
    const auto written =
        mcp.call("file_write", {{"path", link}, {"content", "overwritten"}});
    const auto edited =
        mcp.call("file_edit",
                 {{"path", link}, {"old_text", "TOP"}, {"new_text", "NOT"}});
    CHECK_FALSE(has(written + edited, out));
  }
  CHECK_FALSE(has(mcp.call("file_search", {{"content", "TOP-SEC"}}), out));
  CHECK(has(mcp.call("file_search", {{"pattern", "*.txt"}}), "a.txt"));
  // A setting that leads out is refused; without it the tools work, and what
  // the rest of the configuration names does not run.
  for (const auto* tool : {"git_status", "git_diff", "git_log"}) {
    const auto got = mcp.call(tool, nlohmann::json::object());
    INFO(tool << ": " << got);
    CHECK(has(got, "leads elsewhere"));
    CHECK_FALSE(has(got, out));
  }
  mcp.call("terminal_exec",
           {{"command", "grep -v -e include -e secret .git/config > c; "
                        "mv c .git/config"}});
  for (const auto& [tool, says] :
       std::vector<std::pair<std::string, std::string>>{{"git_status", "a.txt"},
                                                        {"git_diff", "+two"},
                                                        {"git_log", "first"}}) {
    const auto got = mcp.call(tool, nlohmann::json::object());
    INFO(tool << ": " << got);
    CHECK(has(got, says));
  }
  const auto commit =
      mcp.call("git_commit", {{"message", "mine"}, {"files", {"a.txt"}}});
  INFO(commit);
  CHECK(has(mcp.call("terminal_exec", {{"command", "cat /root/secret"}}), out));
  CHECK(
      has(mcp.call("terminal_exec", {{"command", "echo begun; exec sleep 1000"},
                                     {"background", true}}),
          "bg-1"));
  mcp.call("terminal_output", {{"id", "bg-1"}});
  mcp.call("terminal_kill", {{"id", "bg-1"}});
  mcp.call("file_delete", {{"path", "host"}});

  const auto inside = node.caged({"exec", "web", "--", "sh", "-c",
                                  "cat /root/secret; cat /tmp/ran 2>/dev/null; "
                                  "ls -d /var/lib/caged 2>&1"});
  CHECK(has(inside.out, "TOP-SECRET\n"));
  CHECK_FALSE(has(inside.out, "ran"));
  CHECK_FALSE(has(inside.out, "hook"));

  // Somebody opened its files: the server inside; nobody of the host did.
  const auto who = watch.seen();
  CHECK_FALSE(who.empty());
  CHECK(who.count(node.pid()) == 0);
  CHECK(who.count(::getpid()) == 0);
  std::error_code gone;
  const auto ours = std::filesystem::read_symlink("/proc/self/ns/pid", gone);
  for (const auto pid : who) {
    const auto theirs = std::filesystem::read_symlink(
        "/proc/" + std::to_string(pid) + "/ns/pid", gone);
    INFO("pid " << pid);
    if (!gone) // one that has ended was a command inside
      CHECK(theirs != ours);
  }
  CHECK(node.clear() == "");
}
