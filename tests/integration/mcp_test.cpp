#include <catch2/catch.hpp>

#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"

// caged mcp: an MCP client on the host, its server inside a real sandbox.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// `caged mcp ARGS` with a pipe to its stdin that stays open between messages.
class mcp_bridge {
public:
  mcp_bridge(const test_node& node, const std::vector<std::string>& args) {
    const auto fifo = dir_.path() + "/in";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    // For reading and writing: it does not wait for the other end.
    in_ = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(in_ >= 0);
    std::vector<std::string> argv = {"sh", "-c", "exec \"$0\" \"$@\" <" + fifo,
                                     bin_dir() + "/caged", "mcp"};
    argv.insert(argv.end(), args.begin(), args.end());
    process_options options;
    options.env["CAGED_ENDPOINT"] = node.endpoint();
    caged_ = std::make_unique<background>(argv, options);
  }
  ~mcp_bridge() { end_of_input(); }
  mcp_bridge(const mcp_bridge&) = delete;
  mcp_bridge& operator=(const mcp_bridge&) = delete;

  void say(const json& message) {
    auto line = message.dump() + "\n";
    REQUIRE(::write(in_, line.data(), line.size())
            == static_cast<ssize_t>(line.size()));
  }

  /// The answer to a request; null when none came in time.
  json ask(const std::string& method, const json& params,
           std::chrono::milliseconds deadline = 30s) {
    const auto id = ++last_;
    say({{"jsonrpc", "2.0"},
         {"id", id},
         {"method", method},
         {"params", params}});
    json out;
    eventually(deadline, [&] { return !(out = answer(id)).is_null(); });
    return out;
  }

  void initialize() {
    auto hello = ask("initialize",
                     {{"protocolVersion", "2025-06-18"},
                      {"capabilities", json::object()},
                      {"clientInfo", {{"name", "test"}, {"version", "1"}}}});
    INFO(caged_->err());
    REQUIRE(hello.is_object());
    CHECK(hello["result"]["protocolVersion"] == "2025-06-18");
    say({{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}});
  }

  /// The text of a tool's result, or why there is none.
  std::string call(const std::string& tool, const json& arguments,
                   std::chrono::milliseconds deadline = 30s) {
    auto got =
        ask("tools/call", {{"name", tool}, {"arguments", arguments}}, deadline);
    if (!got.is_object() || !got.contains("result"))
      return got.dump();
    return got["result"]["content"].at(0).value("text", "");
  }

  void end_of_input() {
    if (in_ >= 0)
      ::close(in_);
    in_ = -1;
  }

  background& caged() { return *caged_; }

private:
  json answer(int id) const {
    std::string all = caged_->out(), line;
    for (std::size_t at = 0, end = 0; at < all.size(); at = end + 1) {
      if ((end = all.find('\n', at)) == std::string::npos)
        break;
      auto message = json::parse(all.begin() + static_cast<std::ptrdiff_t>(at),
                                 all.begin() + static_cast<std::ptrdiff_t>(end),
                                 nullptr, false);
      if (message.is_object() && message.contains("id") && message["id"] == id)
        return message;
    }
    return nullptr;
  }

  temp_dir dir_;
  int in_ = -1, last_ = 0;
  std::unique_ptr<background> caged_;
};

} // namespace

TEST_CASE("an MCP client works in a sandbox, over a kill of the daemon") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  mcp_bridge mcp{node, {"web"}};
  mcp.initialize();
  auto tools = mcp.ask("tools/list", json::object());
  CHECK(tools["result"]["tools"].size() == 13);
  mcp.call("file_write", {{"path", "note.txt"}, {"content", "one\ntwo\n"}});
  CHECK(mcp.call("file_read", {{"path", "note.txt"}}) == "one\ntwo\n");
  // It is the sandbox's file, not the host's.
  CHECK(node.caged({"exec", "web", "--", "cat", "/workspace/note.txt"}).out
        == "one\ntwo\n");
  CHECK(has(mcp.call("terminal_exec", {{"command", "hostname"}}), "web"));
  CHECK(has(mcp.call("file_read", {{"path", "/etc/passwd"}}), "/workspace"));
  CHECK(has(mcp.call("file_search", {{"pattern", "*.txt"}}), "note.txt"));
  node.kill();
  REQUIRE(node.start());
  CHECK(mcp.call("file_edit", {{"path", "note.txt"},
                               {"old_text", "two"},
                               {"new_text", "three"}})
            .find("three")
        != std::string::npos);
  CHECK(mcp.call("file_read", {{"path", "note.txt"}}) == "one\nthree\n");
  mcp.end_of_input();
  CHECK(mcp.caged().wait(20s));
  CHECK(mcp.caged().exit() == 0);
  // Nothing of the server is left inside.
  CHECK(eventually(10s, [&] {
    return !has(node.caged({"exec", "web", "--", "ps"}).out, "mcp-server");
  }));
  CHECK(node.clear() == "");
}

TEST_CASE("a session without a sandbox has one of its own until it ends") {
  test_node node;
  REQUIRE(node.start());
  mcp_bridge mcp{node, {"--template", "minimal", "--read-only"}};
  mcp.initialize();
  auto tools = mcp.ask("tools/list", json::object());
  for (const auto& tool : tools["result"]["tools"])
    CHECK(tool["name"] != "terminal_exec");
  auto list = json::parse(node.caged({"list", "--format", "json"}).out);
  REQUIRE(list.size() == 1);
  CHECK(has(mcp.caged().err(), list[0]["id"].get<std::string>()));
  mcp.end_of_input();
  CHECK(mcp.caged().wait(20s));
  CHECK(mcp.caged().exit() == 0);
  CHECK(json::parse(node.caged({"list", "--format", "json"}).out).empty());
  CHECK(node.clear() == "");
}

TEST_CASE("a session is refused in one sentence") {
  test_node node;
  REQUIRE(node.start());
  auto unknown = node.caged({"mcp", "nobody"}, with_input(""));
  CHECK(unknown.exit == 125);
  CHECK(has(unknown.err, "nobody"));
  auto missing = node.caged({"mcp", "-t", "nothing"}, with_input(""));
  CHECK(missing.exit == 125);
  CHECK(has(missing.err, "nothing"));
  CHECK(node.caged({"list", "-q"}).out.empty());
  // Without the server beside the agent.
  temp_dir bare;
  std::filesystem::copy_file(bin_dir() + "/caged-agent",
                             bare.path() + "/caged-agent");
  // The sandbox's root, somebody else here, starts it.
  std::filesystem::permissions(bare.path(), std::filesystem::perms{0755});
  test_node other{{"--agent-dir", bare.path()}};
  REQUIRE(other.start());
  REQUIRE_FALSE(other.up({"--name", "web"}).empty());
  auto absent = other.caged({"mcp", "web"}, with_input(""));
  CHECK(absent.exit == 125);
  CHECK(has(absent.err, "install caged-mcp-server"));
  CHECK(other.clear() == "");
  CHECK(node.clear() == "");
}

TEST_CASE("the snippet for a client holds what it has to start") {
  process_options options;
  options.env["CAGED_ENDPOINT"] = "ipc:///run/elsewhere/node.sock";
  auto got = run({bin_dir() + "/caged", "mcp", "config", "claude", "web",
                  "--workspace", "/srv"},
                 options);
  REQUIRE(got.exit == 0);
  auto server = json::parse(got.out)["mcpServers"]["caged"];
  CHECK(server["command"].get<std::string>()
        == std::filesystem::canonical(bin_dir() + "/caged").string());
  CHECK(server["args"] == json({"mcp", "web", "--workspace", "/srv"}));
  CHECK(server["env"]["CAGED_ENDPOINT"] == "ipc:///run/elsewhere/node.sock");
  CHECK(has(got.err, ".mcp.json"));
  auto cursor = run({bin_dir() + "/caged", "mcp", "config", "cursor"});
  REQUIRE(cursor.exit == 0);
  CHECK(json::parse(cursor.out)["mcpServers"]["caged"]["args"]
        == json({"mcp", "--template", "minimal"}));
  CHECK(run({bin_dir() + "/caged", "mcp", "config", "emacs"}).exit == 2);
}
