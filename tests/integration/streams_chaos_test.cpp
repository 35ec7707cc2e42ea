#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/support/chance.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/pty.hpp"

// Streams of many sandboxes over kills of the daemon at seeded moments: with
// pipes, stdin in flight, terminals, and commands that end while it is away.
// $CAGED_SEED repeats a run; the seed is printed when one fails.
using namespace caged::test;

namespace {

std::string hash_of_numbers(const std::string& last) {
  return run({"sh", "-c", "seq 1 " + last + " | sha256sum"}, within(60s)).out;
}

/// One client and what it must have seen when it ends.
struct stream {
  std::string sandbox;
  int code = 0; ///< the command's
  std::unique_ptr<background> client;
  std::unique_ptr<pty> terminal;
  bool sends = false;
};

class fleet_of_streams {
public:
  fleet_of_streams(test_node& node, std::vector<std::string> ids)
      : node_{node}, ids_{std::move(ids)}, inits_{inits(node)} {}

  void print();    ///< numbered lines until told
  void send();     ///< and takes numbered lines in, all the while
  void show();     ///< on a terminal, until a line is typed
  void end_away(); ///< until a signal that comes while the daemon is away

  void begun();     ///< waits until all run
  void ready_one(); ///< a command of end_away() prints no more, and waits
  /// The daemon is away: that command ends.
  void end_one();
  void end_all();
  void check();

private:
  stream& add();
  std::string exec_line(const stream& of, const std::string& flags,
                        const std::string& script) const;
  std::unique_ptr<background> bash(const std::string& line) const;

  test_node& node_;
  std::vector<std::string> ids_;
  std::map<std::string, pid_t> inits_;
  temp_dir dir_;
  std::vector<stream> all_;
  std::vector<std::size_t> enders_;
};

const char* const not_told = "[ ! -e /tmp/told ]";

stream& fleet_of_streams::add() {
  auto& made = all_.emplace_back();
  made.sandbox = ids_.at(all_.size() - 1);
  made.code = static_cast<int>(10 + all_.size());
  return made;
}

std::string fleet_of_streams::exec_line(const stream& of,
                                        const std::string& flags,
                                        const std::string& script) const {
  return bin_dir() + "/caged exec " + flags + " " + of.sandbox + " -- sh -c '"
         + script + "; exit " + std::to_string(of.code) + "'";
}

std::unique_ptr<background>
fleet_of_streams::bash(const std::string& line) const {
  process_options options;
  options.env["CAGED_ENDPOINT"] = node_.endpoint();
  return std::make_unique<background>(
      std::vector<std::string>{"bash", "-c", line}, options);
}

void fleet_of_streams::print() {
  auto& item = add();
  item.client = bash(
      exec_line(item, "--no-stdin", count_while(not_told) + "; echo $i >&2")
      + " | sha256sum; exit ${PIPESTATUS[0]}");
}

void fleet_of_streams::send() {
  auto& item = add();
  item.sends = true;
  auto told = "[ ! -e " + dir_ / "told" + " ]";
  auto sent = dir_ / ("sent-" + item.sandbox);
  item.client =
      bash("{ " + count_while(told) + "; echo $i > " + sent + "; } | "
           + exec_line(item, "",
                       "exec 3<&0; sha256sum <&3 >/workspace/in & exec "
                       "3<&-; "
                           + count_while(not_told) + "; wait; echo $i >&2")
           + " | sha256sum; exit ${PIPESTATUS[1]}");
}

void fleet_of_streams::show() {
  auto& item = add();
  item.terminal = std::make_unique<pty>();
  item.client =
      bash("exec "
           + exec_line(item, "-t",
                       "stty -echo; " + count_while(not_told)
                           + "; read line; echo $line $i")
           + " < " + item.terminal->path() + " > " + item.terminal->path());
}

void fleet_of_streams::end_away() {
  auto& item = add();
  enders_.push_back(all_.size() - 1);
  // What it still prints then has to fit into the agent.
  item.client =
      bash(exec_line(item, "--no-stdin",
                     "trap go=1 USR1; " + count_while(not_told)
                         + "; while [ -z \"$go\" ]; do sleep 0.05; done; "
                           "seq $((i+1)) $((i+1000)); echo $((i+1000)) >&2")
           + " | sha256sum; exit ${PIPESTATUS[0]}");
}

void fleet_of_streams::begun() {
  for (const auto& item : all_) {
    INFO(item.sandbox);
    REQUIRE(eventually(60s, [&] {
      return find_command(inits_.at(item.sandbox), "i=$((i+25000))") > 0;
    }));
  }
}

/// Bytes that wait in the pipe which is a process's stdout; -1: there is none.
int waiting_in_stdout(pid_t process) {
  const auto path = "/proc/" + std::to_string(process) + "/fd/1";
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  int bytes = -1;
  if (fd < 0 || ::ioctl(fd, FIONREAD, &bytes) != 0)
    bytes = -1;
  if (fd >= 0)
    ::close(fd);
  return bytes;
}

void fleet_of_streams::ready_one() {
  if (enders_.empty())
    return;
  const auto& sandbox = all_[enders_.back()].sandbox;
  CHECK(node_.caged({"exec", sandbox, "--", "touch", "/tmp/told"}).exit == 0);
  // It has to be through with its numbers, and they out of its pipe, so that
  // the rest fits there: while the daemon is away nobody takes more of them.
  CHECK(eventually(30s, [&] {
    const auto shell = find_command(inits_.at(sandbox), "trap go=1");
    return shell > 0 && find_command(shell, "sleep") > 0
           && waiting_in_stdout(shell) == 0;
  }));
}

void fleet_of_streams::end_one() {
  if (enders_.empty())
    return;
  const auto& item = all_[enders_.back()];
  enders_.pop_back();
  auto shell = find_command(inits_.at(item.sandbox), "trap go=1");
  REQUIRE(shell > 0);
  REQUIRE(::kill(shell, SIGUSR1) == 0);
  CHECK(eventually(30s, [&] { return !is_alive(shell); }));
  CHECK(item.client->alive());
}

void fleet_of_streams::end_all() {
  for (auto& item : all_) {
    INFO(item.sandbox);
    CHECK(node_.caged({"exec", item.sandbox, "--", "touch", "/tmp/told"}).exit
          == 0);
    if (item.terminal)
      item.terminal->type("typed\r");
  }
  write_file(dir_ / "told", "");
}

void fleet_of_streams::check() {
  for (auto& item : all_) {
    CAPTURE(item.sandbox, item.code, item.sends, item.terminal != nullptr);
    REQUIRE(item.client->wait(120s));
    INFO(item.client->err());
    CHECK(item.client->exit() == item.code);
    if (item.terminal) {
      auto shown = item.terminal->out();
      auto end = last_line(shown); // "typed N\r"
      auto count = end.substr(end.find(' ') + 1);
      CHECK(end.rfind("typed ", 0) == 0);
      CHECK(shown
            == numbered(std::strtoull(count.c_str(), nullptr, 10), "\r\n") + end
                   + "\n");
      continue;
    }
    CHECK(item.client->out() == hash_of_numbers(last_line(item.client->err())));
    if (item.sends) {
      auto in =
          node_.caged({"exec", item.sandbox, "--", "cat", "/workspace/in"});
      auto sent = last_line(read_file(dir_ / ("sent-" + item.sandbox)));
      CHECK(in.out == hash_of_numbers(sent));
    }
  }
}

/// 50 sandboxes and 20 streams at full size.
void survive(std::size_t sandboxes, int printers, int kills) {
  CAPTURE(seed());
  chance random;
  test_node node{roomy()};
  REQUIRE(node.start());
  auto ids = make_fleet(node, sandboxes);
  REQUIRE(ids.size() == sandboxes);
  auto before = inits(node);
  REQUIRE(before.size() == sandboxes);
  fleet_of_streams streams{node, ids};
  for (int i = 0; i < printers; ++i)
    streams.print();
  for (int i = 0; i < 3; ++i) {
    streams.send();
    streams.show();
    streams.end_away();
  }
  streams.begun();
  for (int kill = 0; kill < kills; ++kill) {
    CAPTURE(kill);
    if (kill >= kills - 3)
      streams.ready_one();
    random.let_pass(800ms);
    node.kill();
    if (kill >= kills - 3)
      streams.end_one();
    REQUIRE(node.start());
    CHECK(running(node).size() == sandboxes);
  }
  streams.end_all();
  streams.check();
  for (const auto& id : ids)
    CHECK(node.caged({"exec", id, "--", "echo", "here"}).out == "here\n");
  CHECK(inits(node) == before);
  CHECK(audit_findings(node).empty());
  CHECK(node.clear() == "");
}

} // namespace

TEST_CASE("11 streams of 12 sandboxes are whole after 4 kills of the daemon") {
  survive(12, 2, 4);
}

TEST_CASE("20 streams of 50 sandboxes are whole after 10 kills of the daemon",
          "[.full]") {
  survive(50, 11, 10);
}
