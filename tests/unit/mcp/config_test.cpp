#include <cstdlib>

#include <catch2/catch.hpp>

#include "mcp/config.hpp"
#include "tests/support/process.hpp"

using namespace caged::mcp;
using caged::test::temp_dir;
using caged::test::write_file;

namespace {

/// A variable for as long as this lives.
class variable {
public:
  variable(const char* name, const char* value) : name_{name} {
    ::setenv(name, value, 1);
  }
  ~variable() { ::unsetenv(name_); }
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;

private:
  const char* name_;
};

server_config good(std::vector<std::string> args) {
  auto got = read_config(std::move(args));
  if (!got)
    FAIL(got.error().message);
  REQUIRE(got->serve);
  return *got->serve;
}

std::string bad(std::vector<std::string> args) {
  auto got = read_config(std::move(args));
  REQUIRE_FALSE(got);
  CHECK(got.error().message.find('\n') == std::string::npos);
  return got.error().message;
}

bool has(const std::string& text, std::string_view part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("without flags the server's defaults are the public ones") {
  const auto c = good({});
  CHECK(c.mode == transport::stdio);
  CHECK(c.host == "127.0.0.1");
  CHECK(c.port == 9090);
  CHECK(c.workspace == ".");
  CHECK_FALSE(c.read_only);
  CHECK_FALSE(c.allowed_commands);
  CHECK(c.log_level == "info");
  CHECK_FALSE(c.token);
  CHECK(c.limits.output_bytes == 1U << 20U);
  CHECK(c.socket.empty());
  CHECK(c.session_idle == std::chrono::seconds{1800});
  CHECK(c.idle_exit == std::chrono::seconds{0});
  CHECK_FALSE(c.one_session);
}

TEST_CASE("each flag of the server sets its part") {
  const auto c = good({"--mode",
                       "ws",
                       "--port=0",
                       "--host",
                       "localhost",
                       "--workspace",
                       "/tmp",
                       "--read-only",
                       "--allowed-commands",
                       "make, git",
                       "--log-level",
                       "debug",
                       "--allowed-origins",
                       "https://a.example",
                       "--allow-hooks",
                       "--git-author",
                       "A B <a@b.example>",
                       "--max-output-bytes",
                       "2048",
                       "--max-file-bytes",
                       "4096",
                       "--max-exec-seconds",
                       "5",
                       "--max-concurrent-calls",
                       "3",
                       "--session-idle",
                       "7",
                       "--idle-exit",
                       "9",
                       "--one-session"});
  CHECK(c.mode == transport::ws);
  CHECK(c.port == 0);
  CHECK(c.host == "127.0.0.1");
  CHECK(c.workspace == "/tmp");
  CHECK(c.read_only);
  CHECK(*c.allowed_commands == std::vector<std::string>{"make", "git"});
  CHECK(c.log_level == "debug");
  CHECK(c.allowed_origins == std::vector<std::string>{"https://a.example"});
  CHECK(c.allow_hooks);
  CHECK(c.git_author == "A B <a@b.example>");
  CHECK(c.limits.output_bytes == 2048);
  CHECK(c.limits.file_bytes == 4096);
  CHECK(c.limits.exec_most == std::chrono::seconds{5});
  CHECK(c.limits.concurrent_calls == 3);
  CHECK(c.session_idle == std::chrono::seconds{7});
  CHECK(c.idle_exit == std::chrono::seconds{9});
  CHECK(c.one_session);
}

TEST_CASE("a Unix socket takes the place of host and port") {
  CHECK(good({"--mode", "http", "--socket", "/run/a.sock"}).socket
        == "/run/a.sock");
  const auto longest = "/" + std::string(106, 's');
  CHECK(good({"--mode", "ws", "--socket", longest}).socket == longest);
  for (const auto& form : {longest + "s", std::string{"a.sock"},
                           std::string{"/"}, std::string{"/run/"}})
    CHECK(has(bad({"--mode", "ws", "--socket", form}), "--socket"));
  CHECK(has(bad({"--socket", "/a"}), "stdio"));
  for (const auto* other : {"--host=127.0.0.1", "--port=1"}) {
    const auto why = bad({"--mode", "http", "--socket", "/a", other});
    CHECK(has(why, "exclude each other"));
    CHECK(has(why, std::string{other}.substr(0, 6)));
  }
  variable path{"CAGED_MCP_SOCKET", "/b"};
  CHECK(good({"--mode", "http"}).socket == "/b");
}

TEST_CASE("a variable of the server counts unless there is the flag") {
  variable mode{"CAGED_MCP_MODE", "http"};
  variable port{"CAGED_MCP_PORT", "1234"};
  variable only{"CAGED_MCP_READ_ONLY", "true"};
  variable hooks{"CAGED_MCP_ALLOW_HOOKS", "0"};
  variable commands{"CAGED_MCP_ALLOWED_COMMANDS", "ls"};
  variable empty{"CAGED_MCP_LOG_LEVEL", ""};
  auto c = good({});
  CHECK(c.mode == transport::http);
  CHECK(c.port == 1234);
  CHECK(c.read_only);
  CHECK_FALSE(c.allow_hooks);
  CHECK(*c.allowed_commands == std::vector<std::string>{"ls"});
  CHECK(c.log_level == "info");
  c = good({"--port", "9", "--read-only=false", "--mode=stdio"});
  CHECK(c.port == 9);
  CHECK_FALSE(c.read_only);
  CHECK(c.mode == transport::stdio);
  variable wrong{"CAGED_MCP_MAX_EXEC_SECONDS", "soon"};
  CHECK(has(bad({}), "CAGED_MCP_MAX_EXEC_SECONDS"));
}

TEST_CASE("a bad value is named with its flag and the accepted form") {
  const std::vector<std::vector<std::string>> all = {
      {"--mode", "sse"},
      {"--mode", ""},
      {"--port", "65536"},
      {"--port", "-1"},
      {"--port", "90x"},
      {"--port", "0x10"},
      {"--host", "example.com"},
      {"--host", "127.0.0.1:80"},
      {"--read-only=maybe"},
      {"--allowed-commands", ""},
      {"--allowed-commands", "a,,b"},
      {"--log-level", "loud"},
      {"--allowed-origins", "example.com"},
      {"--allowed-origins", "https://a.example/path"},
      {"--git-author", "me"},
      {"--git-author", "A <a@b>\n[core]"},
      {"--git-author", "<a@b>"},
      {"--max-output-bytes", "0"},
      {"--max-output-bytes", "99999999999999999999"},
      {"--max-file-bytes", "1.5"},
      {"--max-exec-seconds", "0"},
      {"--max-concurrent-calls", "1000"},
      {"--session-idle", "0"},
      {"--idle-exit", "-1"},
      {"--idle-exit", "1h"},
      {"--one-session=perhaps"},
      {"--workspace", ""},
  };
  for (const auto& args : all) {
    const auto flag = args[0].substr(0, args[0].find('='));
    const auto why = bad(args);
    CHECK(has(why, flag));
    CHECK(has(why, " must be "));
  }
}

TEST_CASE("an unknown flag of the server is named with the nearest one") {
  CHECK(has(bad({"--readonly"}), "did you mean --read-only?"));
  CHECK(has(bad({"--prot=1"}), "did you mean --port?"));
  CHECK(has(bad({"serve"}), "serve"));
  CHECK(has(bad({"--port"}), "--port needs a value: a number"));
}

TEST_CASE("help shows every flag with its variable, and examples") {
  auto help = read_config({"--help"});
  REQUIRE(help);
  REQUIRE_FALSE(help->serve);
  for (const auto* each : {"--mode",
                           "--port",
                           "--host",
                           "--workspace",
                           "--read-only",
                           "--allowed-commands",
                           "--log-level",
                           "--token-file",
                           "--allowed-origins",
                           "--allow-hooks",
                           "--git-author",
                           "--max-output-bytes",
                           "--max-file-bytes",
                           "--max-exec-seconds",
                           "--max-concurrent-calls",
                           "--socket",
                           "--idle-exit",
                           "--one-session",
                           "--session-idle",
                           "CAGED_MCP_PORT",
                           "CAGED_MCP_READ_ONLY",
                           "Examples:"})
    CHECK(has(help->print, each));
  auto version = read_config({"--version"});
  REQUIRE(version);
  CHECK(version->print.rfind("caged-mcp-server ", 0) == 0);
}

TEST_CASE("a token file must be private, regular and hold one token") {
  temp_dir dir;
  const auto token = std::string(32, 't');
  write_file(dir / "good", token + "\n", 0600);
  CHECK(*good({"--token-file", dir / "good"}).token == token);
  write_file(dir / "open", token, 0644);
  CHECK(has(bad({"--token-file", dir / "open"}), "by others"));
  write_file(dir / "group", token, 0620);
  CHECK(has(bad({"--token-file", dir / "group"}), "by others"));
  write_file(dir / "short", "abc", 0600);
  CHECK(has(bad({"--token-file", dir / "short"}), "3 bytes"));
  write_file(dir / "spaces", token + " " + token, 0600);
  CHECK(has(bad({"--token-file", dir / "spaces"}), "spaces"));
  write_file(dir / "long", std::string(5000, 't'), 0600);
  bad({"--token-file", dir / "long"});
  CHECK(has(bad({"--token-file", dir / "none"}), "does not exist"));
  CHECK(has(bad({"--token-file", dir.path()}), "is no file"));
  const auto why = bad({"--token-file", dir / "open"});
  CHECK(why.find(token) == std::string::npos);
}

TEST_CASE("beyond loopback the server wants a token") {
  temp_dir dir;
  write_file(dir / "token", std::string(32, 't'), 0600);
  for (const auto* host : {"0.0.0.0", "::", "192.0.2.1", "2001:db8::1"}) {
    CHECK(has(bad({"--mode", "http", "--host", host}), "--token-file"));
    CHECK(
        good({"--mode", "http", "--host", host, "--token-file", dir / "token"})
            .host
        == host);
    good({"--host", host}); // stdio listens nowhere
  }
  for (const auto* host : {"127.0.0.1", "127.9.9.9", "::1", "localhost"})
    good({"--mode", "ws", "--host", host});
}
