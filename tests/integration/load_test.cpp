#include <catch2/catch.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/support/chance.hpp"
#include "tests/support/test_node.hpp"

// A mixed load, and what it leaves of descriptors, threads and memory.
using namespace caged::test;
namespace fs = std::filesystem;

namespace {

struct footprint {
  std::size_t descriptors = 0, threads = 0;
  std::uint64_t memory_kb = 0; ///< VmRSS
};

std::size_t entries(const fs::path& dir) {
  std::error_code gone;
  std::size_t n = 0;
  for (fs::directory_iterator it{dir, gone}, end; !gone && it != end;
       it.increment(gone))
    ++n;
  return n;
}

footprint of(pid_t pid) {
  auto proc = fs::path{"/proc"} / std::to_string(pid);
  footprint out{entries(proc / "fd"), entries(proc / "task"), 0};
  std::ifstream status{proc / "status"};
  for (std::string word; status >> word;)
    if (word == "VmRSS:")
      status >> out.memory_kb;
  return out;
}

/// What went wrong; Catch's own macros are for one thread.
class complaints {
public:
  void add(std::string text) {
    std::lock_guard guard{mutex_};
    all_ += std::move(text) + "\n";
  }
  std::string all() const { return all_; }

private:
  std::mutex mutex_;
  std::string all_;
};

/// One user at work: sandboxes come, do everything, and go.
void work(const test_node& node, unsigned number, std::atomic<bool>& over,
          std::atomic<int>& rounds, complaints& wrong) {
  chance random{seed() * 100 + number};
  temp_dir files;
  std::ofstream{files / "data"} << std::string(300'000, 'x');
  auto name = "user-" + std::to_string(number);
  auto fine = [&](std::vector<std::string> args, int exit = 0) {
    auto got = node.caged(std::move(args), within(60s));
    if (got.exit != exit)
      wrong.add("exit " + std::to_string(got.exit) + ": " + got.err);
  };
  while (!over) {
    fine({"up", "--name", name, "--cpus", "1", "--memory", "128"});
    fine({"exec", name, "--", "sh", "-c", "head -c 3000000 /dev/zero | wc -c"});
    fine({"exec", name, "--", "sh", "-c", "exit 3"}, 3);
    auto in = node.caged({"exec", name, "--", "wc", "-c"},
                         with_input(std::string(200'000, 'y'), 60s));
    if (in.exit != 0 || in.out != "200000\n")
      wrong.add("stdin: " + in.out + in.err);
    fine({"cp", files / "data", name + ":/tmp/data"});
    fine({"cp", name + ":/tmp/data", files / "back"});
    fine({"exec", "-d", name, "--", "sh", "-c", "seq 1 2000; sleep 100"});
    if (random.below(2) == 0) {
      fine({"pause", name});
      fine({"exec", "--resume", name, "--", "true"});
    }
    // A client that is gone in the middle.
    auto cut = node.start_caged({"exec", name, "--", "cat", "/dev/zero"});
    random.let_pass(200ms);
    cut->signal(SIGKILL);
    cut->wait(30s);
    if (node.metrics().empty())
      wrong.add("no metrics");
    fine({"destroy", name});
    ++rounds;
  }
}

/// Runs users for the time, then waits until the node is alone again.
int load(test_node& node, std::chrono::seconds time) {
  std::atomic<bool> over{false};
  std::atomic<int> rounds{0};
  complaints wrong;
  std::vector<std::thread> users;
  for (unsigned i = 0; i < 3; ++i)
    users.emplace_back([&, i] { work(node, i, over, rounds, wrong); });
  auto until = std::chrono::steady_clock::now() + time;
  eventually(time + 1s,
             [&] { return std::chrono::steady_clock::now() >= until; });
  over = true;
  for (auto& user : users)
    user.join();
  CHECK(wrong.all() == "");
  return rounds;
}

void leaves_nothing(std::chrono::seconds time) {
  INFO("CAGED_SEED=" << seed());
  test_node node{{"--pool", "minimal=2", "--pool-load", "100"}};
  REQUIRE(node.start());
  auto full = [&] {
    return node.series("caged_node_pool_ready{template=\"minimal\"") == 2.0;
  };
  REQUIRE(eventually(30s, full));
  load(node, std::max<std::chrono::seconds>(time / 10, 5s)); // warm
  REQUIRE(eventually(30s, full));
  auto before = of(node.pid());
  auto rounds = load(node, time);
  CHECK(rounds > 0);
  footprint after;
  // Connections of clients that were killed are noticed within seconds.
  CHECK(eventually(60s, [&] {
    after = of(node.pid());
    return full() && after.descriptors <= before.descriptors
           && after.threads <= before.threads;
  }));
  constexpr std::uint64_t most_kb = 8 * 1024;
  INFO(rounds << " rounds; descriptors " << before.descriptors << " -> "
              << after.descriptors << ", threads " << before.threads << " -> "
              << after.threads << ", memory " << before.memory_kb << " -> "
              << after.memory_kb << " kB");
  CHECK(after.descriptors <= before.descriptors);
  CHECK(after.threads <= before.threads);
  CHECK(after.memory_kb <= before.memory_kb + most_kb);
  std::printf("load: %d rounds in %lld s; descriptors %zu -> %zu, threads %zu "
              "-> %zu, memory %llu -> %llu kB\n",
              rounds, static_cast<long long>(time.count()), before.descriptors,
              after.descriptors, before.threads, after.threads,
              static_cast<unsigned long long>(before.memory_kb),
              static_cast<unsigned long long>(after.memory_kb));
  auto audit = node.caged({"node", "audit"});
  CHECK(audit.out.find("orphan") == std::string::npos);
  CHECK(node.clear() == "");
}

} // namespace

TEST_CASE("a mixed load leaves the daemon as large as it was") {
  leaves_nothing(20s);
}

TEST_CASE("a mixed load of ten minutes leaves the daemon as large as it was",
          "[.full]") {
  leaves_nothing(600s);
}
