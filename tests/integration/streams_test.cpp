#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>

#include "tests/support/big_streams.hpp"
#include "tests/support/test_node.hpp"

// Streams of exec: bytes, back-pressure, memory, terminals.
using namespace caged::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("300 MB each way arrive intact with flat memory") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  check_big_streams(node, node, id);
}

TEST_CASE("a paused reader stops the producer, and nobody's memory grows") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  // dd writes what it has produced so far to a file on SIGUSR1.
  temp_dir dir;
  auto fifo = dir / "fifo";
  REQUIRE(run({"mkfifo", fifo}).exit == 0);
  process_options options;
  options.env["CAGED_ENDPOINT"] = node.endpoint();
  background reader{
      {"sh", "-c",
       bin_dir() + "/caged exec " + id
           + " -- sh -c 'i=0; while :; do head -c 1000000 "
             "/dev/zero; i=$((i+1)); echo $i > /workspace/n; done'"
             " > "
           + fifo},
      options};
  // Holds the pipe open without reading from it.
  background holder{{"sh", "-c", "exec sleep 600 < " + fifo}};
  auto produced = [&] {
    auto got = node.caged({"exec", id, "--", "cat", "/workspace/n"});
    return got.exit == 0 && !got.out.empty() ? std::stol(got.out) : 0L;
  };
  // It stops: the same count twice, ten seconds apart.
  long last = -1;
  auto since = std::chrono::steady_clock::now();
  CHECK(eventually(60s, [&] {
    auto count = produced();
    if (count != last) {
      last = count;
      since = std::chrono::steady_clock::now();
    }
    return std::chrono::steady_clock::now() - since >= 10s;
  }));
  CHECK(last < 20); // MB: windows and pipes, not the stream
  CHECK(status_kb(node.pid(), "VmHWM") < 120 * 1024);
}

TEST_CASE("Ctrl-C ends a command without a terminal, and the sandbox lives") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  auto job = node.start_caged(
      {"exec", id, "--", "sh", "-c", "echo ready; exec sleep 600"});
  REQUIRE(eventually(10s, [&] { return has(job->out(), "ready"); }));
  job->signal(SIGINT);
  CHECK(job->wait(10s));
  CHECK(job->exit() == 128 + SIGINT);
  CHECK(node.caged({"exec", id, "--", "true"}).exit == 0);
}

TEST_CASE("a closed pipe ends the command on the other side") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  auto got = run({"sh", "-c",
                  "CAGED_ENDPOINT=" + node.endpoint() + " " + bin_dir()
                      + "/caged exec " + id + " -- yes | head -n 3"},
                 within(20s));
  CHECK(got.out == "y\ny\ny\n");
  CHECK(eventually(10s, [&] {
    return !has(node.caged({"exec", id, "--", "ps"}).out, " yes");
  }));
}

namespace {

/// A real terminal: tmux on a socket of its own.
class terminal {
public:
  terminal(const test_node& node, int columns, int rows) {
    socket_ = dir_ / "tmux";
    process_options options;
    options.env["CAGED_ENDPOINT"] = node.endpoint();
    options.env["TERM"] = "xterm";
    run({"tmux", "-f", "/dev/null", "-S", socket_, "new-session", "-d", "-x",
         std::to_string(columns), "-y", std::to_string(rows), "sh"},
        options);
  }
  ~terminal() { run({"tmux", "-S", socket_, "kill-server"}); }
  void keys(std::vector<std::string> what) {
    std::vector<std::string> argv = {"tmux", "-S", socket_, "send-keys"};
    argv.insert(argv.end(), what.begin(), what.end());
    run(argv);
  }
  std::string screen() {
    return run({"tmux", "-S", socket_, "capture-pane", "-p"}).out;
  }
  bool shows(const std::string& text) {
    return eventually(15s, [&] { return has(screen(), text); });
  }
  void resize(int columns, int rows) {
    run({"tmux", "-S", socket_, "resize-window", "-x", std::to_string(columns),
         "-y", std::to_string(rows)});
  }

private:
  temp_dir dir_;
  std::string socket_;
};

} // namespace

TEST_CASE("vi, resizing and Ctrl-C work in a real terminal") {
  if (run({"tmux", "-V"}).exit != 0)
    return skip("tmux is not installed");
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--name", "term"});
  REQUIRE_FALSE(id.empty());
  terminal tmux{node, 80, 24};
  tmux.keys({bin_dir() + "/caged connect term; echo back=$?", "Enter"});
  tmux.keys({"echo in:$((40+2))", "Enter"});
  REQUIRE(tmux.shows("in:42"));
  tmux.keys({"stty size", "Enter"});
  CHECK(tmux.shows("24 80"));
  tmux.resize(100, 30);
  CHECK(eventually(15s, [&] {
    tmux.keys({"stty size", "Enter"});
    return has(tmux.screen(), "30 100");
  }));
  tmux.keys({"vi /workspace/note", "Enter"});
  CHECK(tmux.shows("~"));
  tmux.keys({"i", "typed in vi"});
  CHECK(tmux.shows("typed in vi"));
  // Its status line begins with I while it inserts, with - when it commands;
  // keys that follow Escape at once would be taken for Alt.
  CHECK(tmux.shows("I /workspace/note"));
  tmux.keys({"Escape"});
  CHECK(tmux.shows("- /workspace/note"));
  tmux.keys({":wq", "Enter"});
  CHECK(eventually(15s, [&] {
    return node.caged({"exec", id, "--", "cat", "/workspace/note"}).out
           == "typed in vi\n";
  }));
  tmux.keys({"echo slept; sleep 600", "Enter"});
  CHECK(tmux.shows("\nslept"));
  tmux.keys({"C-c"});
  tmux.keys({"echo still:$((1+1))", "Enter"});
  CHECK(tmux.shows("still:2"));
  tmux.keys({"exit 3", "Enter"});
  CHECK(tmux.shows("back=3"));
  // The terminal is usable again: echo and line editing are back.
  tmux.keys({"stty -a | grep -c ' echo '", "Enter"});
  CHECK(tmux.shows("\n1"));
  INFO(tmux.screen());
}
