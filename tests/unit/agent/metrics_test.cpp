#include "agent/metrics.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::agent;

namespace {

/// A recorded tree of /proc and cgroup files.
struct tree {
  test::temp_dir dir;
  void add(const std::string& path, const std::string& text) {
    auto full = dir / path;
    std::filesystem::create_directories(
        std::filesystem::path{full}.parent_path());
    test::write_file(full, text);
  }
  agent_metrics sample() {
    return metrics_source{dir.path(), dir.path()}.sample();
  }
};

const char* stat_line = " (x) S 0 1 1 0 -1 0 0 0 0 0 100 50 30 20 20 0 1 0 1\n";

void add_base(tree& to) {
  to.add("proc/meminfo", "MemTotal:      2000000 kB\nMemFree: 1 kB\n");
  to.add("proc/1/stat", std::string{"1"} + stat_line);
  to.add("proc/7/stat", std::string{"7"} + stat_line);
  to.add("proc/1/statm", "1000 300 200 1 0 1 0\n");
  to.add("proc/7/statm", "1000 60 50 1 0 1 0\n");
}

} // namespace

TEST_CASE("cgroup v2 gives cpu and memory, less the cache that can go") {
  tree files;
  add_base(files);
  files.add("proc/self/cgroup", "0::/\n");
  files.add("proc/self/mountinfo",
            "30 20 0:26 /cage/a /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
  files.add("sys/fs/cgroup/cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
  files.add("sys/fs/cgroup/memory.current", "104857600\n");
  files.add("sys/fs/cgroup/memory.max", "536870912\n");
  files.add("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 4857600\n");
  auto got = files.sample();
  CHECK(got.cpu_seconds == Approx(2.5));
  CHECK(got.memory_used_bytes == 100000000);
  CHECK(got.memory_total_bytes == 536870912);
  CHECK(got.processes == 2);
}

TEST_CASE("cgroup v1 goes before an empty v2 beside it") {
  tree files;
  add_base(files);
  files.add("proc/self/cgroup",
            "5:memory:/cage/a\n4:cpu,cpuacct:/cage/a\n0::/\n");
  files.add(
      "proc/self/mountinfo",
      "30 20 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "31 20 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  files.add("sys/fs/cgroup/cpu/cage/a/cpuacct.usage", "1500000000\n");
  files.add("sys/fs/cgroup/memory/cage/a/memory.usage_in_bytes", "5000\n");
  files.add("sys/fs/cgroup/memory/cage/a/memory.limit_in_bytes",
            "9223372036854771712\n");
  files.add("sys/fs/cgroup/memory/cage/a/memory.stat",
            "inactive_file 1\ntotal_inactive_file 9000\n");
  auto got = files.sample();
  CHECK(got.cpu_seconds == Approx(1.5));
  CHECK(got.memory_used_bytes == 0); // more cache than use: never negative
  CHECK(got.memory_total_bytes == 2000000.0 * 1024); // no limit: the machine
}

TEST_CASE("without a cgroup the processes are summed up") {
  tree files;
  add_base(files);
  files.add("proc/self/cgroup", "0::/\n");
  files.add("proc/self/mountinfo", "30 20 0:26 / /proc rw - proc proc rw\n");
  files.add("proc/net/dev", "Inter-|   Receive\n face |bytes\n"
                            "    lo:  99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n"
                            "  eth0: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n"
                            "  eth1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n");
  metrics_source source{files.dir.path(), files.dir.path()};
  auto got = source.sample();
  CHECK(got.cpu_seconds == Approx(2 * 200.0 / 100));
  CHECK(got.memory_used_bytes == 110 * 4096);
  CHECK(got.network_receive_bytes == 1005.0);
  CHECK(got.network_transmit_bytes == 2006.0);
  source.change_limits(1000000, 2);
  CHECK(source.sample().memory_total_bytes == 1e6);
  // A process that goes unreaped takes its time with it; the counter stays.
  files.add("proc/7/stat", "");
  CHECK(source.sample().cpu_seconds == Approx(4));
}

TEST_CASE("where there is no network there are no network bytes") {
  tree files;
  add_base(files);
  files.add("proc/net/dev", "a\nb\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n");
  CHECK_FALSE(files.sample().network_receive_bytes);
}

TEST_CASE("the root of a hierarchy speaks of the machine and is not taken") {
  CHECK(find_cgroup("4:memory:/\n",
                    "31 20 0:27 / /cg rw - cgroup cgroup rw,memory\n", "memory")
            .directory.empty());
  CHECK(find_cgroup("4:memory:/a\n",
                    "31 20 0:27 /a /cg rw - cgroup cgroup rw,memory\n",
                    "memory")
            .directory
        == "/cg");
  CHECK(find_cgroup("", "", "memory").directory.empty());
  CHECK(find_cgroup("nonsense\n:::\n", "x - y\n - \n", "memory")
            .directory.empty());
}

TEST_CASE("a real sample of this machine is plausible") {
  auto got = metrics_source{"/"}.sample();
  CHECK(is_plausible(got, 1024, 1ULL << 50, 1ULL << 60, 1000000));
  CHECK(got.processes >= 1);
  CHECK(got.disk_total_bytes > 0);
}
