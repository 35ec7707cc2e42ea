#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodes/cgroup/cgroup.hpp"
#include "nodes/oci/disk_image.hpp"
#include "nodes/oci/oci_driver.hpp"
#include "nodes/oci/sys.hpp"

namespace fs = std::filesystem;
using namespace caged;
using namespace std::chrono_literals;

namespace {

const std::string node_id = "driver-test-" + std::to_string(::getpid());
const std::string group = "/caged-" + node_id;

/// ops/vm-test says how much slower an emulated processor is.
int slowness() {
  const char* factor = std::getenv("CAGED_SLOW_MACHINE");
  return factor ? std::max(1, std::atoi(factor)) : 1;
}

/// A driver in a directory of its own; what runs inside is the probe, in a
/// mode. The destructor checks that nothing is left.
struct host {
  explicit host(const std::string& mode) {
    char name[] = "/tmp/caged-driver-XXXXXX";
    dir = ::mkdtemp(name);
    fs::create_directories(dir / "bin");
    auto* programs = std::getenv("CAGED_BIN_DIR");
    fs::copy_file(fs::path{programs ? programs : "bin"} / "isolation_probe",
                  dir / "bin/caged-agent");
    REQUIRE(sys::write_file(dir / "bin/mode", mode, 0644));
    options.node_id = node_id;
    options.data_dir = dir / "data";
    options.run_dir = dir / "run";
    options.agent_binary_dir = dir / "bin";
    restart();
    auto able = driver->check();
    if (!able)
      FAIL(able.error().message << " " << able.error().hint);
  }

  ~host() {
    for (const auto& id : made)
      CHECK(driver->destroy(id, false));
    auto rest = driver->inventory();
    CHECK((rest && rest->empty()));
    driver.reset();
    CHECK_FALSE(cgroup::tree{}.exists(group));
    CHECK(oci::loops_beneath(dir).empty());
    CHECK(fs::is_empty(dir / "data/sandboxes"));
    fs::remove_all(dir);
  }

  void restart() {
    driver.reset();
    driver = make_oci_driver(options);
    driver->on_exit([this](exit_report report) {
      std::lock_guard guard{mutex};
      exits.push_back(std::move(report));
    });
    driver->on_oom([this](std::string, std::uint64_t n) { kills = n; });
  }

  launch_request request(unsigned slot) {
    launch_request out;
    auto digits = std::to_string(slot);
    out.id = "cage-" + std::string(8 - digits.size(), 'a') + digits;
    out.slot = slot;
    out.spec.disk_gb = 1;
    return out;
  }

  process_ref start(const launch_request& what) {
    made.insert(what.id);
    auto init = driver->start(what);
    if (!init)
      FAIL(init.error().message);
    return *init;
  }

  bool logged(const std::string& id, const std::string& text) {
    return sys::wait_until(30s * slowness(), [&] {
      return driver->agent_log(id).find(text) != std::string::npos;
    });
  }

  bool ended(const std::string& id, exit_report& out) {
    return sys::wait_until(10s * slowness(), [&] {
      std::lock_guard guard{mutex};
      for (auto& one : exits)
        if (one.id == id) {
          out = one;
          return true;
        }
      return false;
    });
  }

  fs::path dir;
  oci_options options;
  std::unique_ptr<runtime> driver;
  std::set<std::string> made;
  std::mutex mutex;
  std::vector<exit_report> exits;
  std::atomic<std::uint64_t> kills{0};
};

std::set<lease> found(runtime& driver, const std::string& id) {
  std::set<lease> out;
  auto all = driver.inventory();
  REQUIRE(all);
  for (auto& one : *all)
    if (one.sandbox == id && one.what.kind != "process")
      out.insert(one.what);
  return out;
}

} // namespace

TEST_CASE("what a start makes is what its leases name, and destroy frees it",
          "[vm]") {
  host h{"idle"};
  auto what = h.request(1);
  auto init = h.start(what);
  auto named = h.driver->leases(what);
  CHECK(found(*h.driver, what.id)
        == std::set<lease>{named.begin(), named.end()});
  const auto says = [&](const char* line) {
    auto status =
        sys::read_small("/proc/" + std::to_string(init.pid) + "/status");
    return status && status->find(line) != std::string::npos;
  };
  // crun has let its child go when it returns, not more: the filter is the
  // child's last step before the program.
  CHECK(sys::wait_until(5s * slowness(), [&] { return says("Seccomp:\t2"); }));
  CHECK(says("Uid:\t1000065536\t"));
  auto stats = h.driver->stats(what);
  REQUIRE(stats);
  CHECK(stats->memory_limit_bytes == what.spec.memory_mb << 20);
  CHECK(stats->pids_limit == what.spec.pids);
  CHECK(stats->pids == 1);
  CHECK(stats->disk_bytes > 0);
  auto mounts = sys::read_small("/proc/self/mountinfo").value_or("");
  CHECK(mounts.find(h.dir.string()) == std::string::npos);
  REQUIRE(h.driver->destroy(what.id, false));
  CHECK(found(*h.driver, what.id).empty());
  CHECK(h.driver->destroy(what.id, false)); // idempotent
}

TEST_CASE("everything forbidden is refused inside a sandbox", "[vm]") {
  // What the probe looks for and must not see.
  auto fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  const char name[] = "caged-isolation-test";
  std::memcpy(at.sun_path + 1, name, sizeof name - 1);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&at),
                 offsetof(sockaddr_un, sun_path) + sizeof name)
          == 0);
  REQUIRE(::listen(fd, 1) == 0);
  host h{"probe"};
  auto what = h.request(2);
  h.start(what);
  exit_report end;
  REQUIRE(h.ended(what.id, end));
  ::close(fd);
  auto log = h.driver->agent_log(what.id);
  INFO(log);
  CHECK(log.find("ALLOWED") == std::string::npos);
  CHECK(log.find("refused i386") != std::string::npos);
  CHECK(std::count(log.begin(), log.end(), '\n') > 70);
  CHECK(end.status == 0);
}

TEST_CASE("memory over the limit kills the eater, and the driver tells") {
  host h{"memory"};
  auto what = h.request(3);
  what.spec.memory_mb = 128;
  h.start(what);
  REQUIRE(h.logged(what.id, "memory child ended by signal 9"));
  CHECK(sys::wait_until(5s, [&] { return h.kills > 0; }));
  auto stats = h.driver->stats(what);
  REQUIRE(stats);
  CHECK(stats->oom_kills > 0);
}

TEST_CASE("a fork bomb stops at the pids limit") {
  host h{"forks"};
  auto what = h.request(4);
  what.spec.pids = 64;
  h.start(what);
  REQUIRE(h.logged(what.id, "forks stopped at 63 errno 11"));
  auto stats = h.driver->stats(what);
  REQUIRE(stats);
  CHECK(stats->pids == 64);
  CHECK(stats->pids_refused > 0);
}

TEST_CASE("a full disk is ENOSPC inside") {
  host h{"disk"};
  auto what = h.request(5);
  h.start(what);
  REQUIRE(h.logged(what.id, "errno 28"));
  auto stats = h.driver->stats(what);
  REQUIRE(stats);
  CHECK(stats->disk_bytes <= (1ULL << 30) + (1 << 20));
}

TEST_CASE("pause freezes, resume thaws, a frozen sandbox can be destroyed") {
  host h{"idle"};
  auto what = h.request(6);
  h.start(what);
  CHECK(h.driver->pause(what.id));
  CHECK(h.driver->resume(what.id));
  CHECK(h.driver->pause(what.id));
  CHECK(h.driver->destroy(what.id, false));
}

TEST_CASE("a sandbox is tuned to another spec, both ways, also while frozen") {
  host h{"idle"};
  auto what = h.request(20);
  auto init = h.start(what);
  CHECK(h.driver->pause(what.id));
  auto name = [&] {
    auto got = sys::run(
        {"nsenter", "-t", std::to_string(init.pid), "--uts", "uname", "-n"},
        10s);
    return got ? got->output : got.error().message;
  };
  CHECK(name() == what.id + "\n");
  auto other = what;
  other.spec.name = "web";
  other.spec.memory_mb = what.spec.memory_mb * 4;
  other.spec.pids = 77;
  other.spec.cpus = 3;
  for (const auto& spec : {other, what}) {
    auto tuned = h.driver->tune(spec, init);
    INFO((tuned ? "" : tuned.error().message));
    REQUIRE(tuned);
    auto stats = h.driver->stats(spec);
    REQUIRE(stats);
    CHECK(stats->memory_limit_bytes == spec.spec.memory_mb << 20U);
    CHECK(stats->pids_limit == spec.spec.pids);
    CHECK(name() == (spec.spec.name.empty() ? what.id : "web") + "\n");
  }
  CHECK(h.driver->resume(what.id));
  CHECK(h.driver->destroy(what.id, false));
  CHECK(h.driver->tune(what, init).error().code == ec::not_found);
}

TEST_CASE("the end of an init is reported with its status") {
  host h{"idle"};
  auto what = h.request(7);
  auto init = h.start(what);
  ::kill(init.pid, SIGKILL);
  exit_report end;
  REQUIRE(h.ended(what.id, end));
  CHECK(WIFSIGNALED(end.status));
  CHECK(end.process == init);
  CHECK_FALSE(end.oom_killed);
}

TEST_CASE("a new driver takes a sandbox over and sees its end") {
  host h{"idle"};
  auto what = h.request(8);
  auto init = h.start(what);
  h.restart();
  auto wrong = init;
  wrong.start_time += 1;
  auto refused = h.driver->recover(what, wrong);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ec::agent_lost);
  REQUIRE(h.driver->recover(what, init));
  ::kill(init.pid, SIGKILL);
  exit_report end;
  CHECK(h.ended(what.id, end));
}

TEST_CASE("a kept disk outlives destroy, and nothing else does") {
  host h{"idle"};
  auto what = h.request(9);
  h.start(what);
  REQUIRE(h.driver->destroy(what.id, true));
  auto rest = found(*h.driver, what.id);
  REQUIRE(rest.size() == 1);
  CHECK(rest.begin()->kind == "directory");
  CHECK(fs::exists(h.dir / "data/sandboxes" / what.id / "disk.img"));
}

TEST_CASE("half-made sandboxes are freed from the id alone") {
  host h{"idle"};
  auto what = h.request(10);
  auto dir = h.dir / "data/sandboxes" / what.id;
  SECTION("only the directory") {
    fs::create_directories(dir);
  }
  SECTION("an image on a loop device that was never mounted") {
    auto empty = oci::empty_image(h.dir / "data", 1);
    REQUIRE(empty);
    fs::create_directories(dir);
    REQUIRE(oci::copy_sparse(*empty, dir / "disk.img"));
    REQUIRE(oci::attach_loop(dir / "disk.img"));
  }
  SECTION("a cgroup in one hierarchy") {
    cgroup::tree groups;
    fs::create_directories(groups.dir(group + "/" + what.id, "memory"));
  }
  SECTION("crun's directory") {
    fs::create_directories(h.dir / "run/crun" / what.id);
  }
  fs::create_directories(h.dir / "data/sandboxes");
  REQUIRE(h.driver->destroy(what.id, false));
  CHECK(found(*h.driver, what.id).empty());
}

TEST_CASE("a start that fails leaves nothing and says why") {
  host h{"idle"};
  auto what = h.request(11);
  SECTION("an unknown template names the known ones") {
    what.spec.template_name = "nope";
    auto got = h.driver->start(what);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::not_found);
    CHECK(got.error().hint.find("minimal") != std::string::npos);
  }
  SECTION("a network that is not there yet") {
    what.spec.network = network_mode::full;
    auto got = h.driver->start(what);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::unsupported);
  }
  SECTION("a missing agent") {
    fs::remove(h.dir / "bin/caged-agent");
    auto got = h.driver->start(what);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::resource);
  }
  fs::create_directories(h.dir / "data/sandboxes");
  CHECK(h.driver->inventory()->empty());
}

TEST_CASE("fifty at once from four workers all start and all go") {
  host h{"idle"};
  std::atomic<unsigned> next{0}, failures{0};
  std::mutex lock;
  std::string first;
  auto all = [&](auto work) {
    next = 0;
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; ++i)
      workers.emplace_back([&] {
        for (auto n = next++; n < 50; n = next++)
          if (auto done = work(h.request(100 + n)); !done) {
            ++failures;
            std::lock_guard guard{lock};
            first = done.error().message;
          }
      });
    for (auto& one : workers)
      one.join();
  };
  for (unsigned n = 0; n < 50; ++n)
    h.made.insert(h.request(100 + n).id);
  all([&](const launch_request& what) { return h.driver->start(what); });
  INFO(first);
  CHECK(failures == 0);
  CHECK(cgroup::tree{}.processes(group).size() == 50);
  all([&](const launch_request& what) {
    return h.driver->destroy(what.id, false);
  });
  CHECK(failures == 0);
}
