#include "mcp/process_table.hpp"

#include <csignal>
#include <optional>
#include <thread>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/process_tree.hpp"
#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace std::chrono_literals;
using caged::test::eventually;
using caged::test::patient;

namespace {

command_request sh(const std::string& script) {
  command_request out;
  out.argv = {"/bin/sh", "-c", script};
  out.env = clean_environment(environ);
  out.cwd = owned_fd{::open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  out.one_stream = true;
  return out;
}

std::string start(process_table& table, const std::string& script,
                  process_table::options how = {}) {
  auto id = table.start(sh(script), std::move(how));
  REQUIRE(id);
  return *id;
}

process_table::output read(process_table& table, const std::string& id,
                           std::optional<std::uint64_t> since = {},
                           std::size_t at_most = 1U << 20U,
                           std::chrono::milliseconds wait = 0ms) {
  cancellation never;
  auto out = table.read(id, since, at_most, wait, never);
  REQUIRE(out);
  return *out;
}

/// Its output once it has ended.
process_table::output end_of(process_table& table, const std::string& id) {
  REQUIRE(eventually(patient(20s), [&] { return !read(table, id).running; }));
  return read(table, id);
}

int children() {
  int found = 0;
  for (const auto& each : list_processes())
    found += each.parent == ::getpid() ? 1 : 0;
  return found;
}

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
  return "77" + std::to_string(::getpid()) + "." + std::to_string(n);
}

} // namespace

TEST_CASE("a background command's output is read in pieces by offset") {
  process_table table;
  const auto id = start(table, "echo one; echo two >&2; exit 3");
  CHECK(id == "bg-1");
  auto out = end_of(table, id);
  CHECK(out.bytes == "one\ntwo\n");
  CHECK(out.exit_code == 3);
  CHECK(out.next == 8);
  CHECK(out.total == 8);
  CHECK(read(table, id, 4).bytes == "two\n");
  CHECK(read(table, id, 8).bytes.empty());
  const auto last = read(table, id, 0, 3);
  CHECK(last.bytes == "wo\n");
  CHECK(last.offset == 5);
  CHECK(last.left_out == 5);
  cancellation never;
  CHECK(table.read(id, 9, 100, 0ms, never).error().code == ec::bad_request);
  CHECK(table.read("bg-2", {}, 100, 0ms, never).error().code == ec::not_found);
  CHECK(table.read("", {}, 100, 0ms, never).error().code == ec::not_found);
  CHECK(table.kill("bg-99", {}).error().code == ec::not_found);
}

TEST_CASE("waiting ends with new output, the end, the time or a cancel") {
  process_table table;
  const auto id = start(table, "read x; echo more");
  CHECK(end_of(table, id).bytes == "more\n"); // stdin is empty

  const auto next = start(table, "echo a; sleep 0.3; echo b; sleep 10000");
  CHECK(read(table, next, 0, 100, patient(20s)).bytes == "a\n");
  CHECK(read(table, next, 2, 100, patient(20s)).bytes == "b\n");
  CHECK(read(table, next, 4, 100, 60ms).bytes.empty());
  cancellation cancel;
  cancel.cancel();
  REQUIRE(table.read(next, 4, 100, 1h, cancel));
  // Catch2 asserts from one thread at a time.
  auto killed = false;
  std::thread killer{[&] { killed = table.kill(next, {}).has_value(); }};
  CHECK_FALSE(read(table, next, 4, 100, 1h).running);
  killer.join();
  CHECK(killed);
}

TEST_CASE("a flood in the background keeps its last bytes only") {
  process_table table;
  process_table::options how;
  how.kept_bytes = 1000;
  const auto id =
      start(table, "head -c 50000000 /dev/zero | tr '\\0' x; echo end", how);
  const auto out = end_of(table, id);
  CHECK(out.total == 50'000'004);
  CHECK(out.bytes.size() == 1000);
  CHECK(out.bytes.substr(996) == "end\n");
  CHECK(out.left_out == 50'000'004 - 1000);
  CHECK(read(table, id, 50'000'000).bytes == "end\n");
}

TEST_CASE("ending a background command takes its daemons too") {
  process_table table;
  const auto sleep = odd_sleep();
  const auto id = start(table, "trap '' TERM; setsid sh -c 'trap \"\" TERM; "
                               "setsid sleep "
                                   + sleep + " & sleep " + sleep + "' & sleep "
                                   + sleep + "; sleep " + sleep);
  REQUIRE(eventually(patient(10s), [&] { return count(sleep) >= 3; }));
  const auto out = table.kill(id, {});
  REQUIRE(out);
  CHECK_FALSE(out->running);
  CHECK_FALSE(out->processes_left);
  CHECK(count(sleep) == 0);
  CHECK(table.kill(id, {}).error().code == ec::wrong_state);
}

TEST_CASE("a signal is only sent") {
  process_table table;
  const auto id =
      start(table, "trap 'echo got' USR1; echo ready; while :; do sleep 0.02; "
                   "done");
  REQUIRE(eventually(patient(10s), [&] { return read(table, id).total > 0; }));
  // The whole tree gets it, and sleep has no handler: it ends.
  REQUIRE(table.kill(id, SIGUSR1));
  CHECK(eventually(patient(10s), [&] {
    return read(table, id).bytes.find("got") != std::string::npos;
  }));
  CHECK(read(table, id).running);
  // A stopped one ends as well.
  REQUIRE(table.kill(id, SIGSTOP));
  CHECK(table.kill(id, {}));
}

TEST_CASE("the timeout of a background command ends it") {
  process_table table;
  const auto sleep = odd_sleep();
  process_table::options how;
  how.timeout = 100ms;
  const auto id =
      start(table, "setsid sleep " + sleep + " & sleep " + sleep, how);
  const auto out = end_of(table, id);
  CHECK(out.timed_out);
  CHECK(eventually(patient(5s), [&] { return count(sleep) == 0; }));
}

TEST_CASE("at most 16 run, the one that ended first is forgotten first") {
  process_table table;
  const auto first = start(table, "echo first");
  end_of(table, first);
  const auto second = start(table, "echo second");
  end_of(table, second);
  for (std::size_t i = 2; i < process_table::most; ++i)
    start(table, "sleep 10000");
  CHECK(table.list().size() == process_table::most);
  const auto next = start(table, "sleep 10000");
  CHECK(next == "bg-17");
  cancellation never;
  CHECK_FALSE(table.read(first, {}, 100, 0ms, never));
  CHECK(table.read(second, {}, 100, 0ms, never));
  start(table, "sleep 10000");
  const auto full = table.start(sh("true"), {});
  REQUIRE_FALSE(full);
  CHECK(full.error().code == ec::no_capacity);
  REQUIRE(table.kill(next, {}));
  CHECK(table.start(sh("true"), {}));
}

TEST_CASE("a command that cannot start takes no place") {
  process_table table;
  auto bad = sh("");
  bad.argv = {"no-such-program-here"};
  for (int i = 0; i < 40; ++i)
    CHECK(table.start(bad, {}).error().code == ec::not_found);
  CHECK(table.list().empty());
}

TEST_CASE("with the table everything ends quickly and is reaped") {
  const auto sleep = odd_sleep();
  const auto before = children();
  std::chrono::steady_clock::time_point begin;
  {
    process_table table;
    for (int i = 0; i < 8; ++i)
      start(table, "trap '' TERM; setsid sleep " + sleep + " & sleep " + sleep
                       + "; sleep " + sleep);
    cancellation never;
    std::unique_ptr<command> left;
    auto done =
        run_command(sh("setsid sleep " + sleep + " & exit"), {}, never, &left);
    REQUIRE(left);
    table.adopt(std::move(left));
    // A shell and two sleeps each, and the one that was left.
    REQUIRE(eventually(patient(20s), [&] { return count(sleep) == 25; }));
    begin = std::chrono::steady_clock::now();
  }
  CHECK(std::chrono::steady_clock::now() - begin < patient(5s));
  CHECK(count(sleep) == 0);
  CHECK(children() == before);
}

TEST_CASE("what a command left may go on writing, and is reaped at its end") {
  process_table table;
  test::temp_dir dir;
  const auto before = children();
  cancellation never;
  std::unique_ptr<command> left;
  auto done = run_command(sh("(for i in 1 2 3 4 5 6 7 8 9; do sleep 0.02; "
                             "head -c 100000 /dev/zero || exit; done; echo x > "
                             + dir / "done" + ") & exit 0"),
                          {}, never, &left);
  REQUIRE(left);
  table.adopt(std::move(left));
  CHECK(eventually(patient(20s),
                   [&] { return test::read_file(dir / "done") == "x\n"; }));
  CHECK(eventually(patient(20s), [&] { return children() == before; }));
}

TEST_CASE("a letter is not cut while more may come") {
  process_table table;
  const auto id =
      start(table, "printf 'a\\342\\202'; sleep 0.5; printf '\\254b'; sleep 9");
  REQUIRE(eventually(patient(10s), [&] { return read(table, id).total >= 3; }));
  const auto part = read(table, id);
  if (part.total == 3) {
    CHECK(part.bytes == "a");
    CHECK(part.next == 1);
  }
  CHECK(eventually(patient(10s), [&] {
    return read(table, id, 1).bytes
           == "\xe2\x82\xac"
              "b";
  }));
}
