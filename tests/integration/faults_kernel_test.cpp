#include <catch2/catch.hpp>

#include <filesystem>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/support/faults.hpp"
#include "tests/support/test_node.hpp"

// A node that the kernel refuses something: loop devices, descriptors,
// processes, inotify instances. What is asked anew fails with the cause, the
// sandboxes that live never notice, and with the cause the trouble is gone.
using namespace caged::test;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Two that live, before the fault. The id of the first.
std::string begin(test_node& node) {
  REQUIRE(node.start());
  auto first = up(node, "one");
  REQUIRE(first.exit == 0);
  REQUIRE(up(node, "two").exit == 0);
  return first.out.substr(0, first.out.find('\n'));
}

/// Both live, and so does a third that is made now: the fault is over.
void mended(test_node& node) {
  auto third = up(node, "third");
  INFO(third.err);
  CHECK(third.exit == 0);
  for (const char* id : {"one", "two", "third"})
    CHECK(answers(node, id));
  CHECK(node.state("one") == "running");
  CHECK(node.state("two") == "running");
  auto audit = node.caged({"node", "audit"});
  CHECK_FALSE(has(audit.out, "orphan"));
  CHECK_FALSE(has(audit.out, "missing"));
  CHECK(node.clear() == "");
}

/// The node's own /dev: what it finds there is up to the test.
std::vector<std::string> own_dev() {
  return {"unshare",
          "-m",
          "--propagation",
          "private",
          "sh",
          "-ec",
          "mount -t tmpfs -o mode=755 none /dev; mkdir /dev/pts /dev/shm; "
          "node() { mknod -m 666 /dev/$1 c $2 $3; }; node null 1 3; node zero "
          "1 5; node full 1 7; node random 1 8; node urandom 1 9; node tty 5 "
          "0; node ptmx 5 2; node loop-control 10 237; exec \"$@\"",
          "sh"};
}

void give_loops(const test_node& node, pid_t pid, bool give) {
  constexpr unsigned most = 1024;
  (void)node;
  for (unsigned number = 0; number < most; ++number) {
    auto file = "/proc/" + std::to_string(pid) + "/root/dev/loop"
                + std::to_string(number);
    if (give)
      ::mknod(file.c_str(), S_IFBLK | 0600, ::makedev(7, number));
    else
      ::unlink(file.c_str());
  }
}

} // namespace

TEST_CASE("without a loop device an up is refused and the others live on") {
  test_node node{{}, own_dev()};
  if (!node.start())
    return skip("no private /dev: " + node.log());
  give_loops(node, node.pid(), true);
  REQUIRE(up(node, "one").exit == 0);
  REQUIRE(up(node, "two").exit == 0);
  REQUIRE(up(node, "gone").exit == 0);
  give_loops(node, node.pid(), false);
  refused(up(node, "third"), {"loop device", "losetup -a"});
  CHECK(node.caged({"list", "--all"}).exit == 0);
  CHECK(answers(node, "one"));
  CHECK(answers(node, "two"));
  CHECK(node.caged({"destroy", "gone"}).exit == 0); // needs none
  give_loops(node, node.pid(), true);
  mended(node);
}

TEST_CASE("a node that is short of descriptors keeps them for what runs") {
  test_node node;
  begin(node);
  descriptor_limit limit{node.pid()};
  limit.leave(40);
  refused(up(node, "third"), {"descriptors", "LimitNOFILE"});
  CHECK(answers(node, "one"));
  CHECK(answers(node, "two"));
  limit.restore();
  mended(node);
}

TEST_CASE("a node without any descriptor turns clients away and lives on") {
  test_node node{{"--heartbeat-interval", "500ms"}};
  auto init = node.init_of(begin(node));
  REQUIRE(init > 0);
  auto running = node.start_caged(
      {"exec", "one", "--", "sh", "-c",
       "mkfifo /dev/shm/go; echo ready; read x < /dev/shm/go; echo $x"});
  REQUIRE(eventually(10s, [&] { return has(running->out(), "ready"); }));
  {
    descriptor_limit limit{node.pid()};
    limit.leave(0);
    for (int i = 0; i < 3; ++i)
      refused(node.caged({"list"}, within(20s)), {"node.sock"});
    CHECK(node.alive());
    CHECK(eventually(5s,
                     [&] { return has(node.log(), "no descriptor is left"); }));
    // Attached before: it goes on as if nothing were.
    auto pipe = "/proc/" + std::to_string(init) + "/root/dev/shm/go";
    auto fd = ::open(pipe.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(fd >= 0);
    CHECK(::write(fd, "on\n", 3) == 3);
    ::close(fd);
    CHECK(running->wait(10s));
    CHECK(running->exit() == 0);
    CHECK(running->out() == "ready\non\n");
    // Longer than the heartbeats that make a silent one unhealthy.
    auto since = std::chrono::steady_clock::now();
    CHECK(eventually(10s, [&] {
      return std::chrono::steady_clock::now() - since > 2500ms;
    }));
  }
  mended(node);
}

TEST_CASE("a node restarted with too few descriptors fails no sandbox") {
  test_node node;
  begin(node);
  node.kill();
  REQUIRE(node.start());
  {
    descriptor_limit limit{node.pid()};
    limit.leave(12);
    CHECK(node.alive());
  }
  mended(node);
}

TEST_CASE("a node that may start no process says so and the others live on") {
  pid_cage cage;
  if (!cage.ok())
    return skip("no cgroup with a limit of processes can be made");
  test_node node;
  begin(node);
  cage.take(node.pid());
  cage.close();
  refused(up(node, "third"), {"unavailable", "pids.max"});
  CHECK(answers(node, "one"));
  CHECK(answers(node, "two"));
  CHECK(node.caged({"pause", "two"}).exit == 0);
  CHECK(node.caged({"resume", "two"}).exit == 0);
  cage.open();
  mended(node);
}

TEST_CASE("a tenant who takes all inotify instances takes only its own") {
  test_node node;
  begin(node);
  for (const char* id : {"one", "two"})
    REQUIRE(node.caged({"cp", bin_dir() + "/inotify_probe",
                        std::string{id} + ":/usr/bin/inotify_probe"})
                .exit
            == 0);
  auto greedy = node.start_caged({"exec", "one", "--", "inotify_probe", "20"});
  REQUIRE(eventually(20s, [&] { return has(greedy->out(), "user 20\n"); }));
  auto other = node.caged({"exec", "two", "--", "inotify_probe", "0"});
  INFO(greedy->out() << other.out);
  CHECK(other.exit == 0);
  auto here = ::inotify_init1(IN_CLOEXEC);
  CHECK(here >= 0);
  if (here >= 0)
    ::close(here);
  CHECK(answers(node, "one"));
  mended(node);
}
