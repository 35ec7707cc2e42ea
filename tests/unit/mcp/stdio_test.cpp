// The program itself over pipes.

#include <csignal>
#include <set>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/support/process.hpp"

using namespace caged::test;
using nlohmann::json;

namespace {

/// The server with pipes of ours.
class piped {
public:
  explicit piped(std::vector<std::string> flags = {}) {
    std::signal(SIGPIPE, SIG_IGN); // a server that is gone is a failed check
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0)
      throw std::runtime_error{"no pipe"};
    std::vector<std::string> args = {bin_dir() + "/caged-mcp-server",
                                     "--workspace", dir_.path(), "--log-level",
                                     "error"};
    args.insert(args.end(), flags.begin(), flags.end());
    std::vector<char*> argv;
    for (auto& each : args)
      argv.push_back(each.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      std::signal(SIGPIPE, SIG_DFL);
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = out[0];
    ::fcntl(in_, F_SETFL, O_NONBLOCK);
  }
  ~piped() {
    close_in();
    close_out();
    if (exit_ < 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  piped(const piped&) = delete;
  piped& operator=(const piped&) = delete;

  void close_in() {
    if (in_ >= 0)
      ::close(std::exchange(in_, -1));
  }
  void close_out() {
    if (out_ >= 0)
      ::close(std::exchange(out_, -1));
  }

  /// Writes what the server takes within `most`; how much that was.
  std::size_t write(std::string_view text,
                    std::chrono::milliseconds most = 20s) {
    const auto until = std::chrono::steady_clock::now() + most;
    std::size_t done = 0;
    while (done < text.size() && std::chrono::steady_clock::now() < until) {
      const auto n = ::write(in_, text.data() + done, text.size() - done);
      if (n > 0)
        done += static_cast<std::size_t>(n);
      else if (errno != EAGAIN)
        break;
      pollfd ready{in_, POLLOUT, 0};
      ::poll(&ready, 1, 20);
    }
    return done;
  }
  void send(const json& message) { write(message.dump() + "\n"); }

  /// The next message; null at the end or after 20 seconds.
  json next() {
    for (;;) {
      if (auto at = read_.find('\n'); at != std::string::npos) {
        auto out = json::parse(read_.substr(0, at));
        read_.erase(0, at + 1);
        return out;
      }
      pollfd ready{out_, POLLIN, 0};
      if (::poll(&ready, 1, 20'000) != 1)
        return nullptr;
      char bytes[65536];
      const auto n = ::read(out_, bytes, sizeof bytes);
      if (n <= 0)
        return nullptr;
      read_.append(bytes, static_cast<std::size_t>(n));
    }
  }
  json ask(const std::string& method, const json& params = json::object()) {
    send({{"jsonrpc", "2.0"},
          {"id", ++last_},
          {"method", method},
          {"params", params}});
    auto got = next();
    CHECK(got["id"] == last_);
    return got;
  }
  void initialize() {
    CHECK(ask("initialize", {{"protocolVersion", "2025-06-18"}})
              .contains("result"));
  }

  /// The exit code; -1 while it lives at the deadline, 128 + a signal.
  int ended(std::chrono::milliseconds most = 10s) {
    auto status = 0;
    eventually(most, [&] {
      if (exit_ < 0 && ::waitpid(pid_, &status, WNOHANG) == pid_)
        exit_ =
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      return exit_ >= 0;
    });
    return exit_;
  }
  pid_t pid() const { return pid_; }
  std::string drain() {
    std::string out = std::move(read_);
    char bytes[65536];
    for (ssize_t n = 0; (n = ::read(out_, bytes, sizeof bytes)) > 0;)
      out.append(bytes, static_cast<std::size_t>(n));
    return out;
  }
  const temp_dir& dir() const { return dir_; }

private:
  temp_dir dir_;
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, exit_ = -1, last_ = 0;
  std::string read_;
};

const std::string ping = R"({"jsonrpc":"2.0","id":1,"method":"ping"})";

} // namespace

TEST_CASE(
    "the server answers line by line over stdio and ends with its input") {
  piped s;
  s.initialize();
  CHECK(s.ask("ping")["result"] == json::object());
  CHECK(s.ask("tools/list")["result"]["tools"].is_array());
  s.close_in();
  CHECK(s.ended() == 0);
  CHECK(s.next().is_null());
}

TEST_CASE("pipelined requests are all answered in their order") {
  piped s;
  s.initialize();
  std::string all;
  for (auto i = 0; i < 1000; ++i)
    all +=
        json{{"jsonrpc", "2.0"}, {"id", i}, {"method", "ping"}}.dump() + "\n";
  CHECK(s.write(all) == all.size());
  for (auto i = 0; i < 1000; ++i)
    REQUIRE(s.next()["id"] == i);
}

namespace {

json call(int id, const char* tool, const json& arguments) {
  return {{"jsonrpc", "2.0"},
          {"id", id},
          {"method", "tools/call"},
          {"params", {{"name", tool}, {"arguments", arguments}}}};
}

/// 200,000 lines to be read with their numbers: tens of milliseconds.
std::string long_read(const piped& s, int id) {
  write_file(s.dir() / "big", std::string(200'000, '\n'));
  return call(id, "file_read", {{"path", "big"}, {"line_numbers", true}}).dump()
         + "\n";
}

} // namespace

TEST_CASE("brief calls that come in bursts are all answered, each once") {
  piped s;
  s.initialize();
  auto id = 0;
  for (auto burst = 0; burst < 10; ++burst) {
    std::string all;
    std::set<int> open;
    for (auto i = 0; i < 30; ++i) {
      const auto name = "f" + std::to_string(i % 7);
      all += call(id, "file_write",
                  {{"path", name}, {"content", std::to_string(i)}})
                 .dump()
             + "\n" + call(id + 1, "file_list", json::object()).dump() + "\n";
      open.insert({id, id + 1});
      id += 2;
    }
    CHECK(s.write(all) == all.size());
    while (!open.empty()) {
      const auto got = s.next();
      INFO(got.dump());
      REQUIRE(got.contains("result"));
      REQUIRE(got["result"].value("isError", false) == false);
      REQUIRE(open.erase(got["id"].get<int>()) == 1);
    }
  }
  s.close_in();
  CHECK(s.ended() == 0);
}

TEST_CASE("a message behind a call that takes longer does not wait for it") {
  piped s({"--max-file-bytes", "16777216", "--max-output-bytes", "16777216"});
  s.initialize();
  const auto big = long_read(s, 7);
  // A machine may be too busy for the second thread once, not always.
  auto first = 0;
  for (int turn = 0; turn < 20 && first != 1; ++turn) {
    s.write(big + ping + "\n");
    first = s.next()["id"];
    CHECK(s.next()["id"] == (first == 1 ? 7 : 1));
  }
  CHECK(first == 1);
  // The one who was busy guards now, and so on.
  for (int turn = 0; turn < 5; ++turn) {
    s.write(big + big + ping + "\n");
    std::multiset<int> all;
    for (int i = 0; i < 3; ++i)
      all.insert(s.next()["id"].get<int>());
    CHECK(all == std::multiset<int>{1, 7, 7});
  }
  SECTION("the end of the input") {
    s.write(big);
    s.close_in();
    CHECK(s.next()["id"] == 7);
  }
  SECTION("a signal while it waits") {
    ::kill(s.pid(), SIGTERM);
  }
  SECTION("a signal while it works") {
    s.write(big + big + big);
    ::kill(s.pid(), SIGTERM);
  }
  CHECK(s.ended() == 0);
}

TEST_CASE("half messages wait for their other half") {
  piped s;
  const auto text = ping + "\n" + ping + "\r\n\n\r\n" + ping + "\n";
  for (const auto c : text)
    s.write(std::string(1, c));
  for (auto i = 0; i < 3; ++i)
    CHECK(s.next()["result"] == json::object());
  // At the end, what is whole is answered and what is not is dropped.
  s.write(ping);
  s.close_in();
  CHECK(s.next()["result"] == json::object());
  CHECK(s.ended() == 0);
  piped half;
  half.write(ping.substr(0, 20));
  half.close_in();
  CHECK(half.ended() == 0);
  CHECK(half.drain().empty());
}

TEST_CASE("SIGTERM and SIGINT end the server while it waits for input") {
  for (const auto number : {SIGTERM, SIGINT}) {
    piped s;
    s.initialize();
    ::kill(s.pid(), number);
    CHECK(s.ended() == 0);
  }
}

TEST_CASE("a client that does not read stops being read, and then goes on") {
  piped s;
  s.initialize();
  std::string flood;
  for (auto i = 0; i < 200'000; ++i)
    flood += R"({"jsonrpc":"2.0","id":)" + std::to_string(i)
             + R"(,"method":"tools/list"})" + "\n";
  const auto taken = s.write(flood, 2s);
  CHECK(taken < flood.size());
  if (caged::test::memory_counts())
    CHECK(status_kb(s.pid(), "VmHWM") < 64 * 1024);
  SECTION("it reads at last") {
    // Only whole lines were taken for sure.
    const auto lines = static_cast<std::size_t>(
        std::count(flood.begin(),
                   flood.begin() + static_cast<std::ptrdiff_t>(taken), '\n'));
    for (std::size_t i = 0; i < lines; ++i)
      REQUIRE(s.next()["id"] == i);
  }
  SECTION("it says SIGTERM") {
    ::kill(s.pid(), SIGTERM);
    CHECK(s.ended() == 0);
  }
  SECTION("it is gone") {
    s.close_out();
    CHECK(s.ended() == 0);
  }
}

TEST_CASE("a line that is too long is refused and the next one answered") {
  piped s;
  s.initialize();
  const std::string mega(1U << 20U, 'x');
  s.write(R"({"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":")");
  for (auto i = 0; i < 60; ++i)
    REQUIRE(s.write(mega) == mega.size());
  s.write("\"}}\n" + ping + "\n");
  auto got = s.next();
  CHECK(got["id"].is_null());
  CHECK(got["error"]["code"] == -32600);
  CHECK(s.next()["result"] == json::object());
  if (caged::test::memory_counts())
    CHECK(status_kb(s.pid(), "VmHWM") < 64 * 1024);
}

TEST_CASE("the largest message that is taken fits into the memory bound") {
  piped s;
  s.initialize();
  const std::string mega(1U << 20U, 'x');
  for (auto round = 0; round < 3; ++round) {
    s.write(
        R"({"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x","arguments":{"content":")");
    for (auto i = 0; i < 23; ++i)
      REQUIRE(s.write(mega) == mega.size());
    s.write("\"}}}\n");
    CHECK(s.next()["error"]["code"] == -32602);
  }
  if (caged::test::memory_counts())
    CHECK(status_kb(s.pid(), "VmHWM") < 64 * 1024);
}

TEST_CASE("rubbish over stdio is answered with errors, and costs no memory") {
  piped s;
  s.initialize();
  std::string deep(1'000'000, '['), values = "[";
  for (auto i = 0; i < 2'000'000; ++i)
    values += "1,";
  const std::vector<std::string> all = {"rubbish",
                                        deep,
                                        values,
                                        std::string("\xff\xfe\x00", 3),
                                        R"({"jsonrpc":"2.0"})",
                                        R"({"a":)" + deep,
                                        "\"" + std::string(3'000'000, 'x')};
  for (const auto& each : all) {
    s.write(each + "\n");
    auto got = s.next();
    REQUIRE(got.contains("error"));
    CHECK(got["id"].is_null());
  }
  CHECK(s.ask("ping")["result"] == json::object());
  if (caged::test::memory_counts())
    CHECK(status_kb(s.pid(), "VmHWM") < 64 * 1024);
}

TEST_CASE("the program refuses a bad flag with exit 2 and one sentence") {
  const auto program = bin_dir() + "/caged-mcp-server";
  auto wrong = run({program, "--port", "x"});
  CHECK(wrong.exit == 2);
  CHECK(wrong.err.find("--port") != std::string::npos);
  CHECK(std::count(wrong.err.begin(), wrong.err.end(), '\n') == 1);
  CHECK(run({program, "--workspace", "/no/such/folder"}).exit == 2);
  auto version = run({program, "--version"});
  CHECK(version.exit == 0);
  CHECK(version.out.rfind("caged-mcp-server ", 0) == 0);
  CHECK(run({program, "--help"}).exit == 0);
}

TEST_CASE(
    "the log of the program is JSON on stderr, stdout has messages only") {
  temp_dir dir;
  process_options options;
  options.in =
      ping + "\nrubbish\n" + R"({"jsonrpc":"2.0","id":2,"method":"x"})";
  auto got = run({bin_dir() + "/caged-mcp-server", "--workspace", dir.path(),
                  "--log-level", "debug"},
                 options);
  CHECK(got.exit == 0);
  const auto lines = [](const std::string& text) {
    std::vector<json> out;
    for (std::size_t at = 0; at < text.size();) {
      const auto end = text.find('\n', at);
      out.push_back(json::parse(text.substr(at, end - at)));
      at = end + 1;
    }
    return out;
  };
  const auto out = lines(got.out);
  CHECK(out.size() == 3);
  for (const auto& each : out)
    CHECK(each["jsonrpc"] == "2.0");
  const auto log = lines(got.err);
  CHECK(log.size() >= 2);
  for (const auto& each : log)
    CHECK(each.contains("message"));
}
