#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "nodes/cgroup/cgroup.hpp"

namespace fs = std::filesystem;
using namespace caged;
using cgroup::layout;

namespace {

/// A recorded tree: files as the kernel has them, in a directory of its own.
struct recorded {
  recorded() {
    char name[] = "/tmp/caged-cgroup-XXXXXX";
    root = ::mkdtemp(name);
  }
  ~recorded() { fs::remove_all(root); }
  void file(const std::string& name, const std::string& text) {
    fs::create_directories((root / name).parent_path());
    std::ofstream{root / name} << text;
  }
  fs::path root;
};

void v1(recorded& tree) {
  for (auto name : {"memory", "cpu", "cpuacct", "pids", "freezer"})
    tree.file(std::string{name} + "/cgroup.procs", "1\n");
  tree.file("memory/memory.memsw.limit_in_bytes", "9223372036854771712\n");
  tree.file("memory/c/a/memory.usage_in_bytes", "491520\n");
  tree.file("memory/c/a/memory.limit_in_bytes", "536870912\n");
  tree.file("memory/c/a/memory.max_usage_in_bytes", "600000\n");
  tree.file("memory/c/a/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  tree.file("cpuacct/c/a/cpuacct.usage", "2500000000\n");
  tree.file("cpu/c/a/cpu.stat",
            "nr_periods 35\nnr_throttled 30\nthrottled_time 1500000000\n");
  tree.file("pids/c/a/pids.current", "7\n");
  tree.file("pids/c/a/pids.max", "512\n");
  tree.file("pids/c/a/pids.events", "max 4\n");
  tree.file("pids/c/a/cgroup.procs", "42\n41\n");
}

} // namespace

TEST_CASE("the layout of cgroups is told by its files") {
  recorded tree;
  CHECK(cgroup::detect(tree.root) == layout::none);
  v1(tree);
  CHECK(cgroup::detect(tree.root) == layout::v1);
  tree.file("unified/cgroup.controllers", "\n");
  CHECK(cgroup::detect(tree.root) == layout::hybrid);
  CHECK_FALSE(cgroup::unified_has_controllers(tree.root));
  tree.file("unified/cgroup.controllers", "hugetlb\n");
  CHECK(cgroup::unified_has_controllers(tree.root));
  tree.file("cgroup.controllers", "cpu memory pids\n");
  CHECK(cgroup::detect(tree.root) == layout::v2);
}

TEST_CASE("version 1 counters are read in their units") {
  recorded files;
  v1(files);
  cgroup::tree tree{files.root};
  CHECK(tree.missing_controllers().empty());
  CHECK(tree.swap_accounting());
  auto got = tree.stats("/c/a");
  REQUIRE(got);
  CHECK(got->cpu_seconds == Approx(2.5));
  CHECK(got->cpu_throttled_seconds == Approx(1.5));
  CHECK(got->memory_bytes == 491520);
  CHECK(got->memory_limit_bytes == 536870912);
  CHECK(got->memory_peak_bytes == 600000);
  CHECK(got->oom_kills == 3);
  CHECK(got->pids == 7);
  CHECK(got->pids_limit == 512);
  CHECK(got->pids_refused == 4);
  CHECK(tree.children("/c") == std::vector<std::string>{"a"});
  CHECK(tree.processes("/c/a") == std::vector<std::int32_t>{41, 42});
}

TEST_CASE("version 2 counters are read in their units, and max is no limit") {
  recorded files;
  files.file("cgroup.controllers", "cpuset cpu io memory pids\n");
  files.file("c/a/cpu.stat", "usage_usec 2500000\nuser_usec 1\nsystem_usec 1\n"
                             "nr_periods 1\nthrottled_usec 500000\n");
  files.file("c/a/memory.current", "4096\n");
  files.file("c/a/memory.max", "max\n");
  files.file("c/a/memory.events",
             "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n");
  files.file("c/a/pids.current", "1\n");
  files.file("c/a/pids.events", "max 2\n");
  files.file("system.slice/memory.max", "max\n");
  files.file("system.slice/memory.swap.max", "max\n");
  cgroup::tree tree{files.root};
  CHECK(tree.missing_controllers().empty());
  auto got = tree.stats("/c/a");
  REQUIRE(got);
  CHECK(got->cpu_seconds == Approx(2.5));
  CHECK(got->cpu_throttled_seconds == Approx(0.5));
  CHECK(got->memory_limit_bytes == 0);
  CHECK(got->oom_kills == 1);
  CHECK(got->pids_refused == 2);
}

TEST_CASE("a controller that is missing is named") {
  recorded files;
  files.file("cgroup.controllers", "cpu pids\n");
  CHECK(cgroup::tree{files.root}.missing_controllers()
        == std::vector<std::string>{"memory"});
}

TEST_CASE("a cgroup that does not exist has no stats") {
  recorded files;
  v1(files);
  auto got = cgroup::tree{files.root}.stats("/c/absent");
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::not_found);
}

TEST_CASE("limits are changed in the order that the kernel demands") {
  recorded tree;
  v1(tree);
  tree.file("memory/c/a/memory.memsw.limit_in_bytes", "536870912\n");
  tree.file("cpu/c/a/cpu.cfs_quota_us", "100000\n");
  cgroup::tree groups{tree.root};
  auto text = [&](const std::string& name) {
    std::ifstream in{tree.root / name};
    std::string out;
    std::getline(in, out);
    return out.substr(0, out.find('\n'));
  };
  REQUIRE(groups.limit("/c/a", {1'073'741'824, 3, 99}));
  CHECK(text("memory/c/a/memory.limit_in_bytes") == "1073741824");
  CHECK(text("memory/c/a/memory.memsw.limit_in_bytes") == "1073741824");
  CHECK(text("cpu/c/a/cpu.cfs_quota_us").rfind("300000", 0) == 0);
  CHECK(text("pids/c/a/pids.max").rfind("99", 0) == 0);
  CHECK(groups.limit("/c/b", {1, 1, 1}).error().code == ec::not_found);
  fs::remove(tree.root / "pids/c/a/pids.max");
  auto refused = groups.limit("/c/a", {1, 1, 1});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ec::resource);
  CHECK(refused.error().message.find("pids.max") != std::string::npos);
}

TEST_CASE("limits of version 2 have files of their own") {
  recorded tree;
  tree.file("cgroup.controllers", "cpu memory pids\n");
  for (auto name : {"memory.max", "cpu.max", "pids.max", "cgroup.procs"})
    tree.file(std::string{"c/a/"} + name, "");
  cgroup::tree groups{tree.root};
  REQUIRE(groups.limit("/c/a", {1'073'741'824, 2, 64}));
  std::ifstream memory{tree.root / "c/a/memory.max"},
      cpu{tree.root / "c/a/cpu.max"}, pids{tree.root / "c/a/pids.max"};
  std::string one, two, three;
  std::getline(memory, one);
  std::getline(cpu, two);
  std::getline(pids, three);
  CHECK(one == "1073741824");
  CHECK(two == "200000 100000");
  CHECK(three == "64");
}
