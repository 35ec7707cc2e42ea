#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"

// The wall clock of a node jumps by a day, forth and back: only what is printed
// as a date may change. tests/probe/shifted_clock.cpp moves it for that process
// alone.
using namespace caged::test;
using nlohmann::json;

namespace {

constexpr long day = 24 * 3600;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A node whose clock can be moved.
class moved_clock {
public:
  moved_clock() {
    move(0);
    node = std::make_unique<test_node>(
        std::vector<std::string>{"--heartbeat-interval", "500ms",
                                 "--metrics-interval", "500ms"},
        std::vector<std::string>{
            "env", "LD_PRELOAD=" + bin_dir() + "/shifted_clock.so",
            "CAGED_TEST_CLOCK=" + file_});
  }

  static bool possible() {
    return std::filesystem::exists(bin_dir() + "/shifted_clock.so");
  }

  /// In place: the node has the file mapped.
  void move(long seconds) {
    auto fd =
        std::fopen(file_.c_str(), std::filesystem::exists(file_) ? "r+" : "w");
    REQUIRE(fd);
    CHECK(std::fwrite(&seconds, sizeof seconds, 1, fd) == 1);
    std::fclose(fd);
  }

private:
  temp_dir dir_;
  std::string file_ = dir_ / "clock";

public:
  std::unique_ptr<test_node> node;
};

/// Several heartbeats and readings go by.
void let_beat() {
  auto since = std::chrono::steady_clock::now();
  eventually(10s,
             [&] { return std::chrono::steady_clock::now() - since > 2200ms; });
}

json facts(const test_node& node, const std::string& id) {
  auto got = json::parse(node.caged({"get", id, "--format", "json"}).out,
                         nullptr, false);
  return got.is_object() ? got : json::object();
}

void all_as_before(const test_node& node) {
  CHECK(node.state("idle") == "running");
  CHECK(node.state("mortal") == "running");
  CHECK(node.state("asleep") == "paused");
  CHECK(node.state("broken") == "failed");
  for (const char* id : {"idle", "mortal"})
    CHECK(node.caged({"exec", id, "--", "echo", "fine"}).out == "fine\n");
  auto page = node.metrics();
  CHECK(has(page, "caged_sandbox_up"));
  for (const char* id : {"idle", "mortal"}) {
    auto with = "{sandbox=\"" + facts(node, id).value("id", "?") + "\"";
    auto age = node.series("caged_agent_heartbeat_age_seconds" + with);
    REQUIRE(age);
    CHECK(*age >= 0);
    CHECK(*age < 3600);
    CHECK(node.series("caged_agent_samples_refused_total" + with).value_or(1)
          == 0);
    CHECK(node.series("caged_sandbox_up" + with).value_or(0) == 1);
  }
}

} // namespace

TEST_CASE("a clock moved by a day, forth and back, ends and pauses nothing") {
  if (!moved_clock::possible())
    return skip("nothing can be preloaded into this build");
  moved_clock clock;
  auto& node = *clock.node;
  REQUIRE(node.start());
  REQUIRE_FALSE(
      node.up({"--name", "idle", "--timeout", "10m", "--ttl", "0"}).empty());
  REQUIRE_FALSE(
      node.up({"--name", "mortal", "--timeout", "0", "--ttl", "30m"}).empty());
  REQUIRE_FALSE(node.up({"--name", "asleep"}).empty());
  REQUIRE(node.caged({"pause", "asleep"}).exit == 0);
  auto broken = node.up({"--name", "broken"});
  auto init = node.init_of(broken);
  REQUIRE(init > 0);
  REQUIRE(::kill(init, SIGKILL) == 0);
  REQUIRE(eventually(10s, [&] { return node.state("broken") == "failed"; }));
  auto events = node.start_caged({"events", "-f"});
  REQUIRE(eventually(10s, [&] { return has(events->out(), "broken"); }));

  int round = 0;
  for (long off : {day, -day, 0L}) {
    CAPTURE(off);
    clock.move(off);
    let_beat();
    all_as_before(node);
    // And over a restart, which reads ages from the journal.
    CHECK(node.stop() == 0);
    REQUIRE(node.start());
    let_beat();
    all_as_before(node);
    auto name = "new-" + std::to_string(++round);
    REQUIRE_FALSE(node.up({"--name", name}).empty());
    auto made = facts(node, name).value("created_ms", std::int64_t{0});
    auto now = std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::system_clock::now().time_since_epoch());
    CHECK(std::abs(made / 1000 - now.count() - off) < 600); // it was moved
    CHECK(eventually(10s, [&] { return has(events->out(), name); }));
    CHECK(node.caged({"destroy", name}).exit == 0);
  }
  CHECK(events->alive());
  CHECK_FALSE(has(node.caged({"why", "idle"}).out, "heartbeat"));
  events.reset();
  CHECK(node.clear() == "");
}

TEST_CASE("timeouts that are due come while the clock jumps back a day") {
  if (!moved_clock::possible())
    return skip("nothing can be preloaded into this build");
  moved_clock clock;
  auto& node = *clock.node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "idle", "--timeout", "2s"}).empty());
  REQUIRE_FALSE(node.up({"--name", "mortal", "--ttl", "4s"}).empty());
  clock.move(-day);
  CHECK(eventually(10s, [&] { return node.state("idle") == "paused"; }));
  CHECK(eventually(10s, [&] { return node.state("mortal").empty(); }));
  clock.move(0);
  CHECK(node.clear() == "");
}
