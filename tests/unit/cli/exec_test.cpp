#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "cli/command_line.hpp"
#include "cli/endpoint.hpp"
#include "cli/exec.hpp"
#include "nodes/client_port.hpp"

// The command line's exec against a scripted node behind a real socket.
using namespace caged;
using namespace std::chrono_literals;

namespace {

/// A node whose handler runs on the port's thread.
struct fake_node {
  using script = std::function<void(fake_node&, api::request&)>;
  explicit fake_node(script handler) : handle{std::move(handler)} {
    char name[] = "/tmp/caged-exec-XXXXXX";
    dir = ::mkdtemp(name);
    auto made = client_port::open(
        {endpoint(), "caged"}, [this](api::request r) { handle(*this, r); },
        [](std::string) {});
    REQUIRE(made.has_value());
    port = std::move(*made);
    ready = true;
  }
  ~fake_node() {
    port->stop();
    std::filesystem::remove_all(dir);
  }
  std::string endpoint() const { return "ipc://" + dir + "/node.sock"; }
  void answer(const api::request& to, api::reply_body body) {
    while (!ready)
      std::this_thread::yield();
    port->send({to.route, to.id, std::move(body)});
  }

  std::string dir;
  script handle;
  std::unique_ptr<client_port> port;
  std::atomic<bool> ready{false};
};

/// Swaps a standard descriptor for the time of a test.
class redirect {
public:
  redirect(int which, int with) : which_{which}, saved_{::dup(which)} {
    ::dup2(with, which);
  }
  ~redirect() {
    ::dup2(saved_, which_);
    ::close(saved_);
  }

private:
  int which_, saved_;
};

/// Sends `total` bytes of stdout as credit allows, then exits with `code`.
struct producer {
  explicit producer(std::uint64_t bytes) : total{bytes} {}
  std::uint64_t total, sent = 0, credit = 0, acked = 0;
  int code = 0;
  bool over = false;
  std::vector<int> signals;

  void operator()(fake_node& node, api::request& r) {
    if (auto* exec = std::get_if<api::exec>(&r.body)) {
      credit = exec->stdout_credit;
      node.answer(r, api::exec_started{"cage-abcdefgh", 7, true});
    } else if (auto* more = std::get_if<api::stream_credit>(&r.body)) {
      if (more->on == api::channel::out)
        credit = std::max(credit, more->limit);
    } else if (auto* ack = std::get_if<api::stream_ack>(&r.body)) {
      if (ack->on == api::channel::out)
        acked = ack->offset;
    } else if (auto* signal = std::get_if<api::exec_signal>(&r.body)) {
      signals.push_back(signal->number);
      if (!over)
        node.answer(r, api::exec_exit{-1, signal->number, "signaled"});
      over = true;
    }
    while (!over && sent < std::min(credit, total)) {
      auto n = std::min<std::uint64_t>(std::min(credit, total) - sent,
                                       limits::frame_max);
      node.answer(
          r, api::stream_data{api::channel::out, sent,
                              std::string(static_cast<std::size_t>(n), 'x')});
      sent += n;
    }
    if (!over && sent == total) {
      over = true;
      node.answer(r, api::stream_eof{api::channel::out, total});
      node.answer(r, api::stream_eof{api::channel::err, 0});
      node.answer(r, api::exec_exit{code, 0, "exited"});
    }
  }
};

api::exec command() {
  api::exec out;
  out.sandbox = "web";
  out.argv = {"true"};
  return out;
}

constexpr std::uint64_t hundred_mb = 100'000'000;

} // namespace

TEST_CASE("100 MB of output arrive, all acknowledged, with the exit code") {
  producer p{hundred_mb};
  p.code = 7;
  fake_node node{std::ref(p)};
  std::array<int, 2> pipe{};
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  std::uint64_t got = 0;
  std::thread reader{[&] {
    std::vector<char> buffer(1 << 16);
    for (ssize_t n; (n = ::read(pipe[0], buffer.data(), buffer.size())) > 0;)
      got += static_cast<std::uint64_t>(n);
  }};
  result<int> code = 0;
  {
    redirect out{STDOUT_FILENO, pipe[1]};
    ::close(pipe[1]);
    code = cli::run_exec(node.endpoint(), command());
  }
  reader.join();
  ::close(pipe[0]);
  node.port->stop();
  CHECK(code == 7);
  CHECK(got == hundred_mb);
  CHECK(p.acked == hundred_mb);
}

TEST_CASE("100 MB of stdin arrive within credit, and its end") {
  std::uint64_t got = 0, credit = 0;
  bool within = true;
  fake_node node{[&](fake_node& self, api::request& r) {
    auto grant = [&] {
      credit = got + limits::window_default;
      self.answer(r, api::stream_ack{api::channel::in, got});
      self.answer(r, api::stream_credit{api::channel::in, credit});
    };
    if (std::holds_alternative<api::exec>(r.body)) {
      self.answer(r, api::exec_started{"cage-abcdefgh", 7, true});
      grant();
    } else if (auto* data = std::get_if<api::stream_data>(&r.body)) {
      within = within && data->offset == got;
      got += data->bytes.size();
      within = within && got <= credit;
      grant();
    } else if (auto* eof = std::get_if<api::stream_eof>(&r.body)) {
      within = within && eof->offset == got;
      self.answer(r, api::exec_exit{0, 0, "exited"});
    }
  }};
  std::array<int, 2> pipe{};
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  std::thread writer{[&] {
    std::vector<char> buffer(100'000, 'i');
    for (std::uint64_t sent = 0; sent < hundred_mb;) {
      auto n = ::write(pipe[1], buffer.data(), buffer.size());
      if (n <= 0)
        break;
      sent += static_cast<std::uint64_t>(n);
    }
    ::close(pipe[1]);
  }};
  auto what = command();
  what.wants_stdin = true;
  result<int> code = 1;
  {
    redirect in{STDIN_FILENO, pipe[0]};
    code = cli::run_exec(node.endpoint(), what);
  }
  ::close(pipe[0]);
  writer.join();
  node.port->stop();
  CHECK(code == 0);
  CHECK(within);
  CHECK(got == hundred_mb);
}

TEST_CASE("a reader that closes the pipe ends the command with SIGPIPE") {
  producer p{hundred_mb * 1000};
  fake_node node{std::ref(p)};
  std::array<int, 2> pipe{};
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  std::thread reader{[&] {
    char byte = 0;
    (void)!::read(pipe[0], &byte, 1);
    ::close(pipe[0]);
  }};
  result<int> code = 0;
  {
    redirect out{STDOUT_FILENO, pipe[1]};
    ::close(pipe[1]);
    code = cli::run_exec(node.endpoint(), command());
  }
  reader.join();
  node.port->stop();
  CHECK(code == 128 + SIGPIPE);
  CHECK(p.signals == std::vector<int>{SIGPIPE});
  CHECK(p.sent < 10'000'000);
}

TEST_CASE("a paused reader stops the producer at its window") {
  producer p{hundred_mb * 1000};
  std::atomic<std::uint64_t> sent{0};
  fake_node node{[&](fake_node& self, api::request& r) {
    p(self, r);
    sent = p.sent;
  }};
  std::array<int, 2> pipe{};
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  auto capacity = static_cast<std::uint64_t>(::fcntl(pipe[0], F_GETPIPE_SZ));
  std::uint64_t at_rest = 0;
  std::thread reader{[&] {
    // Reads nothing until the producer has stood still for a second, then
    // hangs up, which ends the command.
    auto since = std::chrono::steady_clock::now();
    auto until = since + 20s;
    while (std::chrono::steady_clock::now() - since < 1s
           && std::chrono::steady_clock::now() < until) {
      if (auto now = sent.load(); now != at_rest) {
        at_rest = now;
        since = std::chrono::steady_clock::now();
      }
      std::this_thread::yield();
    }
    ::close(pipe[0]);
  }};
  result<int> code = 0;
  {
    redirect out{STDOUT_FILENO, pipe[1]};
    ::close(pipe[1]);
    code = cli::run_exec(node.endpoint(), command());
  }
  reader.join();
  node.port->stop();
  CHECK(code == 128 + SIGPIPE);
  CHECK(at_rest > 0);
  CHECK(at_rest <= capacity + 1024 * 1024); // the pipe and the largest window
}

TEST_CASE("exit codes are the command's, 128+n, or 124 for a timeout") {
  CHECK(cli::exit_code_of({3, 0, "exited"}) == 3);
  CHECK(cli::exit_code_of({-1, 9, "signaled"}) == 137);
  CHECK(cli::exit_code_of({-1, 9, "timeout"}) == 124);
}

TEST_CASE("a dead endpoint is told at once, with the remedy") {
  auto begun = std::chrono::steady_clock::now();
  auto got = cli::run_exec("ipc:///tmp/caged-no-such-node.sock", command());
  REQUIRE_FALSE(got.has_value());
  CHECK(got.error().code == ec::unavailable);
  CHECK(got.error().hint.find("caged-node") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begun < 2s);
}

TEST_CASE("an error of the node is the error of exec") {
  fake_node node{[](fake_node& self, api::request& r) {
    self.answer(r,
                api::error_reply{{ec::not_found, "no such", "look"}, {}, {}});
  }};
  auto got = cli::run_exec(node.endpoint(), command());
  REQUIRE_FALSE(got.has_value());
  CHECK(got.error().code == ec::not_found);
}

TEST_CASE("everything behind -- is the command's, flags and verbs alike") {
  std::vector<std::vector<std::string>> seen;
  std::map<std::string, std::string> env;
  fake_node node{[&](fake_node& self, api::request& r) {
    if (auto* exec = std::get_if<api::exec>(&r.body)) {
      seen.push_back(exec->argv);
      env = exec->env;
      self.answer(r, api::exec_started{"cage-abcdefgh", 7, true});
      self.answer(r, api::exec_exit{5, 0, "exited"});
    }
  }};
  auto endpoint = node.endpoint();
  auto run = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"caged", "--endpoint", endpoint});
    std::vector<char*> argv;
    for (auto& arg : args)
      argv.push_back(arg.data());
    return cli::run_command_line(static_cast<int>(argv.size()), argv.data());
  };
  const std::vector<std::vector<std::string>> commands = {
      {"ls", "-l", "--help"},
      {"list"},
      {"sh", "-s", "--", "x", "-e", "y"},
      {"env", "--endpoint", "z", ""}};
  for (const auto& command : commands) {
    std::vector<std::string> args = {"exec",  "--no-stdin", "-e",
                                     "A=b c", "web",        "--"};
    args.insert(args.end(), command.begin(), command.end());
    CHECK(run(args) == 5);
  }
  node.port->stop();
  CHECK(seen == commands);
  CHECK(env == std::map<std::string, std::string>{{"A", "b c"}});
}
