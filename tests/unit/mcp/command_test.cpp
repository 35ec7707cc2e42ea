#include "mcp/command.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mcp/process_tree.hpp"
#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace std::chrono_literals;
using caged::test::eventually;
using caged::test::patient;
using caged::test::temp_dir;

namespace {

command_request request(std::vector<std::string> argv) {
  command_request out;
  out.argv = std::move(argv);
  out.env = clean_environment(environ);
  out.cwd = owned_fd{::open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  return out;
}

command_request sh(const std::string& script) {
  return request({"/bin/sh", "-c", script});
}

outcome run(const command_request& what, run_options how = {},
            std::unique_ptr<command>* left = nullptr) {
  cancellation never;
  auto done = run_command(what, how, never, left);
  REQUIRE(done);
  return std::move(*done);
}

outcome run(const std::string& script,
            std::chrono::milliseconds timeout = 20s) {
  run_options how;
  how.timeout = patient(timeout);
  return run(sh(script), how);
}

/// Live processes whose command line has this word.
int count(const std::string& word) {
  int found = 0;
  for (const auto& each : list_processes()) {
    const auto text =
        test::read_file("/proc/" + std::to_string(each.pid) + "/cmdline");
    found += !each.zombie() && text.find(word) != std::string::npos ? 1 : 0;
  }
  return found;
}

/// For sleep(1): what no other process here sleeps.
std::string odd_sleep() {
  static int n = 0;
  ++n;
  return "99" + std::to_string(::getpid()) + "." + std::to_string(n) + "5";
}

int children() {
  int found = 0;
  for (const auto& each : list_processes())
    found += each.parent == ::getpid() ? 1 : 0;
  return found;
}

int descriptors() {
  int found = 0;
  for (int fd = 0; fd < 1024; ++fd)
    found += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return found;
}

} // namespace

TEST_CASE("a command's streams, exit code and signal are told apart") {
  auto done = run("echo out; echo err >&2; exit 3");
  CHECK(done.out.bytes == "out\n");
  CHECK(done.err.bytes == "err\n");
  CHECK(done.exit_code == 3);
  CHECK(done.signal == 0);
  CHECK_FALSE(done.timed_out);
  CHECK_FALSE(done.processes_left);

  done = run("kill -9 $$");
  CHECK_FALSE(done.exit_code);
  CHECK(done.signal == SIGKILL);
}

TEST_CASE("commands leave no process, no zombie and no descriptor") {
  run("true");
  const auto fds = descriptors();
  const auto before = children();
  for (int i = 0; i < 20; ++i)
    run("true; (true) & wait; true");
  CHECK(descriptors() == fds);
  CHECK(children() == before);
}

TEST_CASE("64 commands at a time each get their own output") {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 64; ++i)
    threads.emplace_back([&good, i] {
      cancellation never;
      const auto text = std::to_string(i);
      run_options how;
      how.timeout = patient(60s);
      auto done = run_command(sh("read x; echo $x-" + text), how, never);
      auto what = sh("cat");
      what.in = text;
      auto second = run_command(what, how, never);
      if (done && second && done->out.bytes == "-" + text + "\n"
          && second->out.bytes == text)
        ++good;
    });
  for (auto& each : threads)
    each.join();
  CHECK(good == 64);
}

TEST_CASE("a program that is missing, not executable or no program is named") {
  cancellation never;
  auto bad = run_command(request({"no-such-program-here"}), {}, never);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == ec::not_found);
  CHECK(bad.error().message.find("no-such-program-here") != std::string::npos);

  temp_dir dir;
  test::write_file(dir / "plain", "#!/bin/sh\necho hi\n", 0644);
  bad = run_command(request({dir / "plain"}), {}, never);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == ec::denied);

  // As shells do it: a script without "#!".
  test::write_file(dir / "script", "echo $1\n", 0755);
  CHECK(run(request({dir / "script", "hi"})).out.bytes == "hi\n");

  CHECK_FALSE(run_command(request({}), {}, never));
  CHECK_FALSE(run_command(request({""}), {}, never));
}

TEST_CASE("arguments and environment beyond the system's limits are refused, "
          "and huge ones within them work") {
  cancellation never;
  auto bad =
      run_command(request({"/bin/echo", std::string(200'000, 'x')}), {}, never);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == ec::too_large);

  std::vector<std::string> argv(5000, std::string(100, 'y'));
  argv[0] = "/bin/echo";
  CHECK(run(request(argv)).out.total == 4999 * 101);

  auto what = sh("echo done");
  for (int i = 0; i < 100; ++i)
    what.env.push_back("BIG" + std::to_string(i) + "="
                       + std::string(120'000, 'z'));
  bad = run_command(what, {}, never);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == ec::too_large);
}

TEST_CASE("a command has clean signals, descriptors and a session of its own") {
  // What the server ignores or has open is none of its business.
  ::signal(SIGUSR1, SIG_IGN);
  owned_fd open{::open("/dev/null", O_RDONLY)}; // without O_CLOEXEC
  auto done = run("grep -E '^Sig(Blk|Ign)' /proc/self/status; "
                  "ls /proc/$$/fd | wc -l; cut -d' ' -f6 /proc/$$/stat; "
                  "echo $$");
  ::signal(SIGUSR1, SIG_DFL);
  std::istringstream lines{done.out.bytes};
  std::string name, mask, fds, session, pid;
  lines >> name >> mask;
  CHECK(mask.find_first_not_of('0') == std::string::npos);
  lines >> name >> mask;
  CHECK(mask.find_first_not_of('0') == std::string::npos);
  lines >> fds >> session >> pid;
  CHECK(fds == "3");
  CHECK(session == pid);
}

TEST_CASE("secrets of the server's environment are not passed, env is added") {
  const char* const from[] = {"PATH=/usr/bin:/bin",
                              "CAGED_MCP_TOKEN=s3cret",
                              "CAGED_API_KEY=s3cret",
                              "OPENAI_API_KEY=s3cret",
                              "GITHUB_TOKEN=s3cret",
                              "AWS_SECRET_ACCESS_KEY=s3cret",
                              "SSH_AUTH_SOCK=s3cret",
                              "LD_PRELOAD=s3cret",
                              "https_proxy=http://user:s3cret@proxy",
                              "http_proxy=http://proxy",
                              "LC_ALL=C",
                              "HOME=/home/me",
                              "TERM=xterm",
                              "broken",
                              nullptr};
  const auto env = clean_environment(from, {{"MINE", "1"}, {"HOME", "/else"}});
  std::string all;
  for (const auto& pair : env)
    all += pair + "\n";
  CHECK(all.find("s3cret") == std::string::npos);
  CHECK(all.find("CAGED") == std::string::npos);
  CHECK(all.find("broken") == std::string::npos);
  CHECK(variable(env, "MINE") == "1");
  CHECK(variable(env, "HOME") == "/else");
  CHECK(variable(env, "TERM") == "dumb");
  CHECK(variable(env, "LC_ALL") == "C");
  CHECK(variable(env, "http_proxy") == "http://proxy");
  CHECK(variable(env, "PATH") == "/usr/bin:/bin");
  CHECK_FALSE(variable(env, "LANG").empty());
  CHECK_FALSE(variable(env, "USER").empty());
  CHECK_FALSE(variable(env, "TMPDIR").empty());
}

TEST_CASE("a timeout ends a command that never ends") {
  const auto sleep = odd_sleep();
  auto done = run("sleep " + sleep + " & sleep " + sleep, 100ms);
  CHECK(done.timed_out);
  CHECK_FALSE(done.processes_left);
  CHECK(count(sleep) == 0);
}

TEST_CASE("a daemon that forked twice into a session of its own dies at the "
          "timeout") {
  const auto sleep = odd_sleep();
  auto done = run("setsid sh -c 'setsid sleep " + sleep
                      + " >/dev/null 2>&1 </dev/null & exit' & sleep " + sleep,
                  500ms);
  CHECK(done.timed_out);
  CHECK_FALSE(done.processes_left);
  CHECK(count(sleep) == 0);
}

TEST_CASE("a daemon with an empty environment and without descriptors dies, "
          "one of another command lives") {
  const auto mine = odd_sleep();
  const auto other = odd_sleep();
  std::unique_ptr<command> left;
  auto first =
      run(sh("setsid env -i /bin/sleep " + other + " >/dev/null 2>&1 & exit 0"),
          {}, &left);
  CHECK(first.processes_left);
  REQUIRE(left);
  auto done = run("(setsid env -i /bin/sh -c 'exec /bin/sleep " + mine
                      + " 0<&- 1<&- 2<&-' &) ; sleep " + mine,
                  500ms);
  CHECK(done.timed_out);
  CHECK(count(mine) == 0);
  CHECK(eventually(patient(5s), [&] { return count(other) == 1; }));
  left.reset();
  CHECK(count(other) == 0);
}

TEST_CASE("a command that ignores SIGTERM is killed, one that handles it may "
          "still speak") {
  auto done = run("trap '' TERM; while :; do sleep 0.05; done", 100ms);
  CHECK(done.timed_out);
  CHECK(done.signal == SIGKILL);

  done =
      run("trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done", 300ms);
  CHECK(done.timed_out);
  CHECK(done.out.bytes == "bye\n");
  CHECK(done.exit_code == 5);
}

TEST_CASE("a stopped command is ended") {
  const auto sleep = odd_sleep();
  auto done = run("sleep " + sleep + " & kill -STOP $!; kill -STOP $$", 200ms);
  CHECK(done.timed_out);
  CHECK_FALSE(done.processes_left);
  CHECK(count(sleep) == 0);
}

TEST_CASE("a storm of forks is ended") {
  const auto sleep = odd_sleep();
  // 50 processes, half of them in sessions of their own, each made again.
  auto done = run("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 "
                  "21 22 23 24 25; do (trap '' TERM; while :; do sleep 0.01; "
                  ": " + sleep
                      + "; done) & setsid sleep " + sleep + " & done; wait",
                  1s);
  CHECK(done.timed_out);
  CHECK_FALSE(done.processes_left);
  CHECK(count(sleep) == 0);
}

TEST_CASE("a command that kills its keeper dies with what it started") {
  const auto sleep = odd_sleep();
  const auto before = children();
  auto done = run("setsid sleep " + sleep + " & setsid sh -c 'sleep " + sleep
                  + " & sleep " + sleep + "' & kill -9 $PPID; sleep " + sleep);
  CHECK(done.signal == SIGKILL);
  CHECK_FALSE(done.timed_out);
  CHECK(eventually(patient(5s), [&] { return count(sleep) == 0; }));
  CHECK(children() == before);
}

TEST_CASE("a keeper may be killed before it has said that it runs") {
  const auto sleep = odd_sleep();
  const auto before = children();
  // On one CPU the command is often through before its keeper goes on.
  cpu_set_t all, one;
  REQUIRE(::sched_getaffinity(0, sizeof all, &all) == 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &all))
      CPU_SET(cpu, &one);
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  for (int i = 0; i < 100; ++i) {
    auto done = run("kill -9 $PPID; sleep " + sleep);
    CHECK(done.signal == SIGKILL);
    CHECK_FALSE(done.timed_out);
  }
  REQUIRE(::sched_setaffinity(0, sizeof all, &all) == 0);
  CHECK(eventually(patient(5s), [&] { return count(sleep) == 0; }));
  CHECK(children() == before);
}

TEST_CASE("a child that holds stdout open does not hold up the command") {
  const auto sleep = odd_sleep();
  const auto begin = std::chrono::steady_clock::now();
  std::unique_ptr<command> left;
  auto done = run(sh("sleep " + sleep + " & echo started"), {}, &left);
  CHECK(done.out.bytes == "started\n");
  CHECK(done.exit_code == 0);
  CHECK(done.processes_left);
  CHECK(std::chrono::steady_clock::now() - begin < patient(20s));
  REQUIRE(left);
  left.reset();
  CHECK(count(sleep) == 0);
}

TEST_CASE("a child that floods stdout does not hold up the command either") {
  std::unique_ptr<command> left;
  auto done = run(sh("yes & yes >&2 & exit 4"), {}, &left);
  CHECK(done.exit_code == 4);
  CHECK(left);
}

TEST_CASE("200 MB on both streams are read without growing") {
  run("true");
  const auto before = test::status_kb(::getpid(), "VmHWM");
  run_options how;
  how.timeout = patient(100s);
  auto done = run(sh("echo begin; echo first >&2; "
                     "head -c 200000000 /dev/zero | tr '\\0' 'a' & "
                     "head -c 200000000 /dev/zero | tr '\\0' 'b' >&2; wait; "
                     "echo end; echo last >&2"),
                  how);
  const auto grown = test::status_kb(::getpid(), "VmHWM") - before;
  CHECK(done.exit_code == 0);
  CHECK(done.out.total == 200'000'010);
  CHECK(done.err.total == 200'000'011);
  // What follows may be left out: they share the room, and the other may flood
  // it first.
  CHECK(done.out.bytes.rfind("begin\n", 0) == 0);
  CHECK(done.err.bytes.rfind("first\n", 0) == 0);
  CHECK(done.out.bytes.substr(done.out.bytes.size() - 5) == "aend\n");
  CHECK(done.err.bytes.substr(done.err.bytes.size() - 6) == "blast\n");
  CHECK(done.out.bytes.size() + done.err.bytes.size() < (1U << 20U) + 200);
  CHECK(done.out.left_out > 198'000'000);
  if (caged::test::memory_counts())
    CHECK(grown < 8 * 1024);
  if (caged::test::memory_counts())
    CHECK(before + grown < 64 * 1024);
}

TEST_CASE("stdout that is closed early or never used is no end") {
  auto done = run("exec >&- 2>&-; sleep 0.2; exit 7");
  CHECK(done.exit_code == 7);
  CHECK(done.out.bytes.empty());
}

TEST_CASE("stdin is empty unless given, and may be left unread") {
  CHECK(run("cat; echo end").out.bytes == "end\n");
  auto what = sh("wc -c");
  what.in = std::string(3'000'000, 'x');
  CHECK(run(what).out.bytes == "3000000\n");
  what = sh("exit 0");
  what.in = std::string(3'000'000, 'x');
  CHECK(run(what).exit_code == 0);
}

TEST_CASE("output that is no text becomes text") {
  auto done = run("printf 'a\\000b\\377\\303'");
  CHECK(done.out.bytes == std::string{"a\0b\xef\xbf\xbd\xef\xbf\xbd", 9});
  CHECK(done.out.total == 5);
}

TEST_CASE("cancelling ends the tree at once") {
  const auto sleep = odd_sleep();
  cancellation cancel;
  std::thread later{[&] {
    eventually(patient(10s), [&] { return count(sleep) >= 2; });
    cancel.cancel();
  }};
  run_options how;
  how.timeout = 1h;
  auto done = run_command(sh("setsid sleep " + sleep + " & sleep " + sleep),
                          how, cancel);
  later.join();
  REQUIRE(done);
  CHECK(done->cancelled);
  CHECK_FALSE(done->timed_out);
  CHECK(count(sleep) == 0);
}

TEST_CASE("progress tells the last line while a command runs") {
  std::vector<std::string> lines;
  run_options how;
  how.timeout = patient(30s);
  how.progress = [&](auto, std::string_view line) { lines.emplace_back(line); };
  run(sh("printf 'one\\ntwo\\n\\n'; sleep 1.2"), how);
  REQUIRE_FALSE(lines.empty());
  CHECK(lines.back() == "two");
}

TEST_CASE("head and tail are kept, a flood on one stream spares the other") {
  kept_output kept{100};
  kept.err("warning\n");
  for (int i = 0; i < 1000; ++i)
    kept.out("line " + std::to_string(i) + "\n");
  CHECK(kept.last_line() == "line 999");
  const auto err = kept.take_err();
  CHECK(err.bytes == "warning\n");
  CHECK(err.left_out == 0);
  const auto out = kept.take_out();
  CHECK(out.bytes.rfind("line 0\nline 1\n", 0) == 0);
  CHECK(out.bytes.find("bytes of stdout left out") != std::string::npos);
  CHECK(out.bytes.substr(out.bytes.size() - 9) == "line 999\n");
  CHECK(out.total == 8890);
}

TEST_CASE("letters are not cut in the middle") {
  kept_output kept{11}; // head 5, tail 6
  for (int i = 0; i < 20; ++i)
    kept.out("\xe2\x82\xac"); // three bytes
  const auto out = kept.take_out();
  CHECK(out.bytes.find("\xef\xbf\xbd") == std::string::npos);
  CHECK(out.left_out == 60 - 3 - 6);
  CHECK(whole_utf8("ab\xe2\x82") == 2);
  CHECK(whole_utf8("ab\xe2\x82\xac") == 5);
  CHECK(whole_utf8("\x82\x82\x82\x82") == 4);
  CHECK(utf8_tail("\x82\xac"
                  "a")
        == 2);
}

TEST_CASE("a ring keeps the last bytes at their offsets") {
  ring_output ring{10};
  std::string all;
  for (int i = 0; i < 40; ++i) {
    const std::string piece(static_cast<std::size_t>(i % 13),
                            static_cast<char>('a' + i % 26));
    ring.add(piece);
    all += piece;
    REQUIRE(ring.total() == all.size());
    REQUIRE(ring.first() == all.size() - std::min<std::size_t>(10, all.size()));
    REQUIRE(ring.slice(ring.first(), ring.total()) == all.substr(ring.first()));
    if (ring.total() > ring.first() + 2)
      REQUIRE(ring.slice(ring.first() + 1, ring.total() - 1)
              == all.substr(ring.first() + 1, ring.total() - ring.first() - 2));
  }
}
