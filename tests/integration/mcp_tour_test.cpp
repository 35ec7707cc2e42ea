#include <catch2/catch.hpp>

#include <filesystem>
#include <memory>

#include <csignal>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "tests/support/process.hpp"
#include "tests/unit/mcp/web_client.hpp"

// One server through all families of hostile inputs, one after the other: each
// has its own tests in tests/unit/mcp; this one looks at what is left of the
// process.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A server of its own with HTTP and WebSocket.
class one_server {
public:
  one_server() {
    std::filesystem::create_directories(workspace);
    std::filesystem::create_directories(dir_ / "outside");
    write_file(dir_ / "outside/secret", secret + "\n");
    server_ = std::make_unique<background>(std::vector<std::string>{
        bin_dir() + "/caged-mcp-server", "--mode", "http", "--port", "0",
        "--workspace", workspace, "--max-connections", "512"});
    REQUIRE(eventually(10s, [&] {
      const auto log = server_->err();
      const auto at = log.find("\"port\":");
      if (at != std::string::npos)
        port = static_cast<std::uint16_t>(std::stoi(log.substr(at + 7)));
      return port != 0;
    }));
  }

  json ask(const std::string& method, const json& params) {
    web_client client{port};
    const json message = {
        {"jsonrpc", "2.0"}, {"id", 1}, {"method", method}, {"params", params}};
    auto got = client.post(message.dump(), session_);
    if (got.headers.contains("mcp-session-id"))
      session_ = {{"Mcp-Session-Id", got.header("mcp-session-id")}};
    if (got.body.empty() || got.body.front() == '{')
      return json::parse(got.body, nullptr, false);
    const auto at = got.body.rfind("data: ");
    return json::parse(got.body.substr(at + 6), nullptr, false);
  }
  void initialize() {
    session_.clear();
    REQUIRE(ask("initialize",
                {{"protocolVersion", "2025-11-25"},
                 {"capabilities", json::object()},
                 {"clientInfo", {{"name", "tour"}, {"version", "1"}}}})
                .contains("result"));
  }
  std::string call(const std::string& tool, const json& arguments) {
    return ask("tools/call", {{"name", tool}, {"arguments", arguments}}).dump();
  }

  /// It lives, answers, and has stayed within its memory.
  void is_well(const char* after) {
    INFO("after " << after << ": VmHWM " << status_kb(server_->pid(), "VmHWM")
                  << " kB");
    REQUIRE(server_->alive());
    CHECK(ask("ping", json::object()).contains("result"));
    constexpr std::uint64_t most_kb = 64U << 10U;
    if (memory_counts())
      CHECK(status_kb(server_->pid(), "VmHWM") < most_kb);
  }

  int end() {
    server_->signal(SIGTERM);
    return server_->wait(10s) ? server_->exit() : -1;
  }

  std::uint16_t port = 0;
  const std::string secret = "NEVER-TO-BE-SEEN";

private:
  temp_dir dir_;

public:
  const std::string workspace = dir_ / "ws";

private:
  web_client::fields session_;
  std::unique_ptr<background> server_;
};

void paths(one_server& to) {
  std::filesystem::create_symlink("../outside", to.workspace + "/out");
  std::filesystem::create_symlink("/", to.workspace + "/root");
  for (const auto* path :
       {"../outside/secret", "out/secret", "/etc/passwd", "root/etc/passwd",
        "a/../../outside/secret", "./../outside/secret", "out/../out/secret",
        "//etc/passwd", "/proc/self/environ", "..", "../", "~/x", "\\..\\x",
        "a\nb/../../outside/secret"})
    for (const auto* tool : {"file_read", "file_write", "file_edit",
                             "file_list", "file_delete", "file_search"}) {
      const auto got = to.call(tool, {{"path", path},
                                      {"content", "x"},
                                      {"pattern", "*"},
                                      {"old_text", "N"},
                                      {"new_text", "M"}});
      CHECK_FALSE(has(got, to.secret));
      CHECK_FALSE(has(got, "root:x:0"));
    }
}

void commands(one_server& to) {
  for (const auto* command :
       {"yes | head -c 200M", "yes >&2 & sleep 100", "sleep 1000",
        "setsid sleep 1000 & setsid setsid sleep 1001 & exit 0", "cat",
        "for i in $(seq 200); do sleep 100 & done; wait",
        "trap '' TERM; sleep 1000", "exec 1>&- 2>&-; sleep 1000",
        "printf '\\377\\376\\000%.0s' $(seq 100000)", "kill -9 $$",
        "head -c 50M /dev/zero | tr '\\0' x", "ulimit -n 8; ls; ls /proc"})
    CHECK_FALSE(to.call("terminal_exec", {{"command", command}, {"timeout", 1}})
                    .empty());
  for (int i = 0; i < 20; ++i)
    to.call("terminal_exec", {{"command", "yes flood"}, {"background", true}});
  for (int i = 1; i <= 20; ++i)
    to.call("terminal_kill", {{"id", "bg-" + std::to_string(i)}});
}

void repositories(one_server& to) {
  const auto git = [&](std::vector<std::string> argv) {
    argv.insert(argv.begin(), {"git", "-C", to.workspace});
    process_options quiet;
    quiet.env = {{"GIT_CONFIG_GLOBAL", "/dev/null"},
                 {"GIT_CONFIG_NOSYSTEM", "1"}};
    REQUIRE(run(argv, quiet).exit == 0);
  };
  git({"init", "-q"});
  git({"config", "user.name", "Eve"});
  git({"config", "user.email", "eve@example.org"});
  std::string lines;
  for (int i = 0; i < 300'000; ++i)
    lines += "line " + std::to_string(i) + "\n";
  write_file(to.workspace + "/big.txt", lines);
  git({"add", "big.txt"});
  git({"commit", "-q", "-m", "big"});
  for (auto& c : lines)
    if (c == 'l')
      c = 'L';
  write_file(to.workspace + "/big.txt", lines);
  std::string line;
  line.resize(30'000'000, 'x');
  write_file(to.workspace + "/one-line.txt", line);
  for (int i = 0; i < 12; ++i)
    for (const auto* tool : {"git_status", "git_diff", "git_log"})
      CHECK_FALSE(to.call(tool, json::object()).empty());
  write_file(to.workspace + "/.git/index", std::string(3'000'000, '\xff'));
  CHECK_FALSE(to.call("git_status", json::object()).empty());
  CHECK_FALSE(to.call("git_commit", {{"message", "x"}}).empty());
  write_file(to.workspace + "/.git/HEAD", "ref: " + std::string(5000, 'a'));
  for (const auto* tool : {"git_status", "git_diff", "git_log"})
    CHECK_FALSE(to.call(tool, json::object()).empty());
}

void protocol(one_server& to) {
  std::vector<std::string> bad = {
      std::string(100'000, '['),
      std::string(20'000, '{') + "\"a\":",
      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\""
          + std::string(5'000'000, 'x') + "\"}",
      std::string("\xff\xfe\x00\x01", 4),
      "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}",
      "{\"jsonrpc\":\"2.0\",\"id\":1e999,\"method\":\"ping\"}",
      "[]",
      "",
      "null",
      "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}",
      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}",
      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":7}"};
  std::string many = "[";
  for (int i = 0; i < 50'000; ++i)
    many += "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},";
  bad.push_back(many + "1]");
  for (const auto& body : bad) {
    web_client client{to.port};
    CHECK(client.post(body).status >= 200);
  }
  // Over WebSocket: a flood whose answers nobody reads.
  web_client flood{to.port};
  REQUIRE(flood.handshake().status == 101);
  const auto ping =
      web_client::frame(1, R"({"jsonrpc":"2.0","id":1,"method":"ping"})");
  for (int i = 0; i < 200'000; ++i)
    if (flood.send_some(ping) != ping.size())
      break;
  web_client half{to.port};
  REQUIRE(half.handshake().status == 101);
  half.send(
      web_client::frame(1, std::string(4'000'000, 'x')).substr(0, 900'000));
}

void web(one_server& to) {
  std::vector<std::unique_ptr<web_client>> all;
  for (int i = 0; i < 500; ++i) {
    all.push_back(std::make_unique<web_client>(to.port));
    switch (i % 5) {
    case 0: // silence
      break;
    case 1: // half a handshake
      all.back()->send("GET /mcp HTTP/1.1\r\nHost: loc");
      break;
    case 2: // half a body
      all.back()->send(
          "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
          "application/json\r\nAccept: */*\r\nContent-Length: 20000000\r\n\r\n"
          + std::string(30'000, 'x'));
      break;
    case 3: // a head without end
      all.back()->send("GET /mcp HTTP/1.1\r\nX: " + std::string(30'000, 'x'));
      break;
    default: // a page of elsewhere
      all.back()->send(web_client::upgrade(
          {{"Origin", "https://evil.example"}, {"Host", "evil.example"}}));
    }
  }
}

} // namespace

TEST_CASE("one MCP server survives every family of abuse within 64 MB") {
  one_server to;
  to.initialize();
  to.is_well("its start");
  paths(to);
  to.is_well("paths");
  commands(to);
  to.is_well("commands");
  protocol(to);
  to.is_well("protocol");
  repositories(to);
  to.is_well("repositories");
  web(to);
  to.initialize();
  to.is_well("connections");
  CHECK(read_file(to.workspace + "/../outside/secret") == to.secret + "\n");
  CHECK(to.end() == 0);
}
