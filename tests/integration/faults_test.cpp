#include <catch2/catch.hpp>

#include "tests/support/faults.hpp"
#include "tests/support/test_node.hpp"

// The disk beneath a node is full, or its journal cannot be written: what needs
// it is refused with the cause, nothing is claimed, what lives goes on, and
// with the cause the trouble is gone.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Nothing in the kernel or the journal that should not be there.
void in_order(const test_node& node) {
  auto audit = node.caged({"node", "audit"});
  INFO(audit.out << audit.err);
  CHECK(audit.exit == 0);
  CHECK_FALSE(has(audit.out, "orphan"));
  CHECK_FALSE(has(audit.out, "missing"));
}

/// What is dirty in a sandbox goes to its disk layer while there is room.
void settle(const test_node& node, const std::string& id) {
  CHECK(node.caged({"exec", id, "--", "sync"}).exit == 0);
}

} // namespace

TEST_CASE("on a full disk ups are refused, sandboxes live, and room mends it") {
  small_disk disk{400};
  if (!disk.ok())
    return skip("no right to mount a file system");
  test_node node{{"--data-dir", disk.path("data"), "--disk-gb", "20"}};
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up(smallest("one")).empty());
  REQUIRE_FALSE(node.up(smallest("two")).empty());
  REQUIRE_FALSE(node.up(smallest("three")).empty());
  // It writes when it is told to: into a pipe that costs no disk.
  auto detached =
      node.caged({"exec", "-d", "one", "--", "sh", "-c",
                  "mkfifo /dev/shm/go; echo before; read x < /dev/shm/go; "
                  "seq 1 20000; echo told > /dev/shm/told; read x < "
                  "/dev/shm/go; echo after"});
  REQUIRE(detached.exit == 0);
  auto told = [&](const char* file) {
    return node.caged({"exec", "one", "--", "test", "-e", file}).exit == 0;
  };
  REQUIRE(eventually(10s, [&] { return told("/dev/shm/go"); }));
  for (const char* id : {"one", "two", "three"})
    settle(node, id);

  disk.fill();
  refused(up(node, "four"), {disk.path("data")});
  CHECK(answers(node, "one"));
  CHECK(answers(node, "two"));
  auto go = [&] {
    return node.caged({"exec", "one", "--", "sh", "-c", "echo > /dev/shm/go"})
               .exit
           == 0;
  };
  CHECK(go());
  CHECK(eventually(10s, [&] { return told("/dev/shm/told"); }));
  CHECK(
      eventually(10s, [&] { return node.why_says("one", "output is lost"); }));
  CHECK(node.why_says("one", "exec-logs"));
  refused(node.caged({"exec", "-d", "one", "--", "true"}),
          {disk.path("data"), "space"});
  auto paused = node.caged({"pause", "two"}, within(20s));
  INFO(paused.err);
  CHECK((paused.exit == 0) == (node.state("two") == "paused"));
  // It makes room, so it must not need any.
  auto destroyed = node.caged({"destroy", "three"}, within(30s));
  INFO(destroyed.err);
  CHECK(destroyed.exit == 0);
  CHECK(node.alive());

  disk.drain();
  CHECK(node.caged({"resume", "two"}).exit == 0);
  CHECK(up(node, "four").exit == 0);
  for (const char* id : {"one", "two", "four"})
    CHECK(answers(node, id));
  CHECK(go());
  auto log = node.caged({"attach", "--no-stdin", "one"}, within(20s));
  INFO(log.err);
  CHECK(log.exit == 0);
  CHECK(has(log.out, "before\n"));
  CHECK(has(log.out, "bytes here were lost"));
  CHECK(has(log.out, "after\n"));
  CHECK(node.why_says("one", "output is lost")); // in the journal by now
  in_order(node);
  CHECK(node.clear() == "");
}

TEST_CASE("a journal that cannot be written claims nothing and loses nothing") {
  small_disk disk{400};
  if (!disk.ok())
    return skip("no right to mount a file system");
  test_node node{{"--data-dir", disk.path("data"), "--disk-gb", "20"}};
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up(smallest("one")).empty());
  REQUIRE_FALSE(node.up(smallest("two")).empty());
  REQUIRE_FALSE(node.up(smallest("asleep")).empty());
  REQUIRE(node.caged({"pause", "asleep"}).exit == 0);
  auto files = [&] {
    std::vector<std::string> out;
    for (const char* name : {"journal.db", "store.db"})
      for (const char* part : {"", "-wal"})
        out.push_back(disk.path("data/") + name + part);
    return out;
  };
  {
    read_only_files journal{files()};
    REQUIRE(journal.ok());
    refused(up(node, "three"), {disk.path("data"), "not permitted"});
    refused(node.caged({"pause", "one"}, within(20s)), {"journal.db"});
    CHECK(node.state("one") == "running");
    CHECK(node.why_says("one", "could not be recorded"));
    CHECK(node.series("caged_sandbox_state{sandbox=\"").value_or(0) == 1);
    CHECK_FALSE(has(node.metrics(), "state=\"paused\"} 2"));
    refused(node.caged({"resume", "asleep"}, within(20s)), {"journal.db"});
    CHECK(eventually(5s, [&] { return node.state("asleep") == "paused"; }));
    refused(node.caged({"exec", "-d", "one", "--", "true"}), {"journal.db"});
    refused(node.caged({"destroy", "two"}, within(30s)), {"store.db"});
    CHECK(node.state("two") == "stopping");
    CHECK(answers(node, "one"));
    CHECK(node.alive());
  }
  // Asked for before: done by itself, or by whoever asks again.
  CHECK(node.caged({"destroy", "two"}, within(30s)).exit == 0);
  CHECK(up(node, "two").exit == 0);
  CHECK(node.caged({"pause", "one"}).exit == 0);
  CHECK(node.state("one") == "paused");
  CHECK(node.caged({"resume", "one", "asleep"}).exit == 0);
  for (const char* id : {"one", "two", "asleep"})
    CHECK(answers(node, id));
  CHECK(node.why_says("one", "could not be recorded")); // from the journal
  in_order(node);

  // A node that is started on it says so and leaves the sandboxes alone.
  node.kill();
  {
    read_only_files journal{files()};
    CHECK_FALSE(node.start());
    CHECK(has(node.log(), disk.path("data")));
  }
  REQUIRE(node.start());
  for (const char* id : {"one", "two", "asleep"})
    CHECK(eventually(10s, [&] { return answers(node, id); }));
  in_order(node);
  CHECK(node.clear() == "");
}
