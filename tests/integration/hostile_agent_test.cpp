#include <catch2/catch.hpp>

#include <filesystem>
#include <sstream>

#include "tests/support/test_node.hpp"

// A tenant who has taken the agent's own place: PID 1 of the sandbox is
// tests/probe/hostile_agent.cpp and tells one lie. Each costs its own sandbox,
// `why` names it, and the honest sandbox beside it never notices.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// An agent directory in which the liar is the agent.
class liars {
public:
  liars() {
    std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
    namespace fs = std::filesystem;
    fs::copy_file(bin_dir() + "/hostile_agent", dir_ / "caged-agent");
    fs::copy_file(bin_dir() + "/caged-agent", dir_ / "caged-agent.real");
    node = std::make_unique<test_node>(std::vector<std::string>{
        "--agent-dir", dir_.path(), "--heartbeat-interval", "500ms"});
    REQUIRE(node->start());
    good = node->up({"--name", "good"});
    REQUIRE_FALSE(good.empty());
  }

  void up(const std::string& lie) {
    REQUIRE_FALSE(
        node->up({"--name", "evil", "-w", "/hostile/" + lie}).empty());
  }
  process_result exec() {
    return node->caged({"exec", "evil", "--", "true"}, within(20s));
  }
  /// The lie stands in `why`; the node and the other sandbox are as before.
  void costs_only_itself(const std::string& cause) {
    auto told = eventually(15s, [&] { return node->why_says("evil", cause); });
    INFO(node->caged({"why", "evil"}).out);
    CHECK(told);
    CHECK(node->caged({"exec", good, "--", "echo", "fine"}).out == "fine\n");
    CHECK(node->state(good) == "running");
    CHECK(node->caged({"destroy", "evil"}).exit == 0);
    CHECK(node->clear() == "");
  }

  std::unique_ptr<test_node> node;
  std::string good;

private:
  temp_dir dir_;
};

/// A lie that is told when an exec is asked for: its client ends with the
/// sandbox. What the client printed.
std::string lies_to_an_exec(const std::string& lie, const std::string& cause) {
  liars two;
  two.up(lie);
  auto got = two.node->start_caged({"exec", "evil", "--", "true"});
  two.costs_only_itself(cause);
  CHECK(got->wait(20s));
  CHECK(got->exit() == 125);
  return got->out();
}

} // namespace

TEST_CASE("an agent that sends output at a false offset is cut off") {
  CHECK(lies_to_an_exec("offsets", "offset 4096 where 0 was expected").empty());
}

TEST_CASE("an agent that sends more than its credit is cut off") {
  lies_to_an_exec("credit", "beyond its credit");
}

TEST_CASE("an agent that acknowledges what was never sent is cut off") {
  CHECK(lies_to_an_exec("ack", "beyond what was sent").empty());
}

TEST_CASE("an exit code that cannot be is refused") {
  CHECK(lies_to_an_exec("exit", "exit with a code or signal out of range")
            .empty());
}

TEST_CASE("an agent that floods the link is cut off, the node stays small") {
  liars two;
  auto before = status_kb(two.node->pid(), "VmHWM");
  two.up("flood");
  two.costs_only_itself("messages a second that nobody asked for");
  CHECK(status_kb(two.node->pid(), "VmHWM") < before + 16 * 1024);
}

TEST_CASE("a line without an end is refused and takes no memory") {
  liars two;
  auto before = status_kb(two.node->pid(), "VmHWM");
  two.up("silent-flood");
  two.costs_only_itself("no heartbeat");
  CHECK(status_kb(two.node->pid(), "VmHWM") < before + 16 * 1024);
}

TEST_CASE("negative and impossible metrics are refused and never exported") {
  liars two;
  two.up("negative");
  auto refused = eventually(15s, [&] {
    std::istringstream lines{two.node->metrics()};
    for (std::string line; std::getline(lines, line);)
      if (line.rfind("caged_agent_samples_refused_total{", 0) == 0
          && line.back() != '0') // one series a sandbox, and small counts
        return true;
    return false;
  });
  INFO(two.node->metrics());
  CHECK(refused);
  CHECK_FALSE(has(two.node->metrics(), " -5"));
  CHECK_FALSE(has(two.node->metrics(), " 1e+18"));
  two.costs_only_itself("metrics were refused");
}

TEST_CASE("an agent's control characters are escaped everywhere") {
  liars two;
  two.up("control");
  auto got = two.exec();
  CHECK(got.exit == 125);
  CHECK_FALSE(has(got.err, "\x1b"));
  CHECK(has(got.err, "owned"));
  for (const auto& view : {"get", "why"})
    CHECK_FALSE(has(two.node->caged({view, "evil"}).out, "\x1b"));
  CHECK_FALSE(has(two.node->log(), "\x1b"));
  two.costs_only_itself("hello");
}

TEST_CASE("a socket that another process of the sandbox holds is refused") {
  liars two;
  auto up = two.node->caged({"up", "--name", "evil", "-w", "/hostile/impostor"},
                            within(60s));
  CHECK(up.exit != 0);
  CHECK(has(up.err, "did not answer"));
  two.costs_only_itself("listens on it, the sandbox's init is");
}

TEST_CASE("an agent that never answers fails its own start with that cause") {
  liars two;
  auto up = two.node->caged({"up", "--name", "evil", "-w", "/hostile/mute"},
                            within(60s));
  CHECK(up.exit != 0);
  CHECK(has(up.err, "did not answer within"));
  two.costs_only_itself("did not answer within");
}
