#include <cstdlib>
#include <thread>

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "mcp/tools/families.hpp"
#include "tests/support/process.hpp"
#include "tests/unit/mcp/fake_call.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace std::chrono_literals;
using caged::test::eventually;
using caged::test::patient;

namespace {

/// base/ws is the workspace.
struct bench {
  test::temp_dir base;
  std::string ws = base / "ws";
  std::optional<workspace> where;
  server_config config;
  tool_set tools;
  std::optional<test::fake_call> by{std::in_place};

  explicit bench(std::optional<std::vector<std::string>> allowed = {}) {
    ::mkdir(ws.c_str(), 0755);
    ::mkdir((ws + "/sub").c_str(), 0755);
    auto opened = workspace::open(ws);
    REQUIRE(opened);
    where.emplace(std::move(*opened));
    config.allowed_commands = std::move(allowed);
    add_terminal_tools(tools, *where, config);
  }
  result<tool_result> call(const char* name, const json& args) {
    const auto* found = tools.find(name);
    REQUIRE(found != nullptr);
    const arguments given{args};
    return found->run(given, *by);
  }
  tool_result exec(json args) {
    if (!args.contains("timeout"))
      args["timeout"] = 60;
    auto out = call("terminal_exec", args);
    INFO((out ? "" : out.error().message));
    REQUIRE(out);
    CHECK_FALSE(out->is_error);
    return *out;
  }
  failure refused(const json& args) {
    auto out = call("terminal_exec", args);
    REQUIRE_FALSE(out);
    CHECK_FALSE(out.error().message.empty());
    return out.error();
  }
};

} // namespace

TEST_CASE("a plain command gives its output and nothing else") {
  bench on;
  const auto done = on.exec({{"command", "echo hello; pwd"}});
  CHECK(done.text == "hello\n" + on.where->root() + "\n");
  CHECK(done.text_member == "stdout");
  CHECK(done.structured["exit_code"] == 0);
  CHECK(done.structured["signal"].is_null());
  CHECK(done.structured["timed_out"] == false);
  CHECK(on.exec({{"command", "true"}}).text == "[no output]");
}

TEST_CASE("a command that fails is a result with its exit code") {
  bench on;
  auto done = on.exec({{"command", "echo out; printf err >&2; exit 3"}});
  CHECK(done.text == "out\nerr\n[exit code 3]");
  CHECK(done.structured["exit_code"] == 3);
  CHECK(done.structured["stdout"] == "out\n");
  CHECK(done.structured["stderr"] == "err");
  CHECK(done.structured["duration_ms"] > 0);
  done = on.exec({{"command", "kill -9 $$"}});
  CHECK(done.text == "[ended by SIGKILL]");
  CHECK(done.structured["signal"] == "SIGKILL");
  CHECK(done.structured["exit_code"].is_null());
  done = on.exec({{"command", "no-such-program-here"}});
  CHECK(done.structured["exit_code"] == 127);
}

TEST_CASE("an array is run without a shell") {
  bench on;
  CHECK(on.exec({{"command", {"echo", "$HOME;", "*"}}}).text == "$HOME; *\n");
  CHECK(on.exec({{"command", "-c"}}).structured["exit_code"] == 127);
  const auto why = on.refused({{"command", {"no-such-program-here"}}});
  CHECK(why.code == ec::not_found);
}

TEST_CASE("cwd, env and stdin are the command's") {
  bench on;
  CHECK(on.exec({{"command", "pwd; cat; echo $MINE"},
                 {"cwd", "sub"},
                 {"stdin", "in\n"},
                 {"env", {{"MINE", "yes"}}}})
            .text
        == on.where->root() + "/sub\nin\nyes\n");
  CHECK(on.exec({{"command", "pwd"}, {"cwd", on.where->root() + "/sub"}}).text
        == on.where->root() + "/sub\n");
  ::setenv("CAGED_MCP_TOKEN", "s3cret", 1);
  ::setenv("ANY_API_KEY", "s3cret", 1);
  CHECK(
      on.exec({{"command", "env; cat /proc/self/environ"}}).text.find("s3cret")
      == std::string::npos);
  ::unsetenv("CAGED_MCP_TOKEN");
  ::unsetenv("ANY_API_KEY");
}

TEST_CASE("a cwd outside the workspace, through a link, or gone is refused") {
  bench on;
  ::symlink("/etc", (on.ws + "/out").c_str());
  ::symlink("../..", (on.ws + "/up").c_str());
  ::symlink("sub", (on.ws + "/in").c_str());
  test::write_file(on.ws + "/file", "");
  ::mkdir((on.base / "ws-evil").c_str(), 0755);
  for (const std::string cwd :
       {"..", "../ws-evil", "/", "/etc", "out", "out/..", "up", "sub/../..",
        "file", "gone", "/proc/self/root", "/proc/self/cwd"}) {
    INFO(cwd);
    on.refused({{"command", "true"}, {"cwd", cwd}});
  }
  CHECK(on.exec({{"command", "pwd -P"}, {"cwd", "in"}}).text
        == on.where->root() + "/sub\n");
  ::rmdir((on.ws + "/sub").c_str());
  CHECK(on.refused({{"command", "true"}, {"cwd", "sub"}}).code
        == ec::not_found);
}

TEST_CASE("arguments that make no sense are refused with a sentence") {
  bench on;
  const std::string nul{"a\0b", 3};
  for (const json& args : {json::object(),
                           json{{"command", ""}},
                           json{{"command", " \n\t"}},
                           json{{"command", json::array()}},
                           json{{"command", {""}}},
                           json{{"command", 5}},
                           json{{"command", {1, 2}}},
                           json{{"command", nul}},
                           json{{"command", {"echo", nul}}},
                           json{{"command", "true"}, {"timeout", 0}},
                           json{{"command", "true"}, {"timeout", -1}},
                           json{{"command", "true"}, {"timeout", 1e9}},
                           json{{"command", "true"}, {"timeout", "30"}},
                           json{{"command", "true"}, {"env", {{"A=B", "c"}}}},
                           json{{"command", "true"}, {"env", {{"", "c"}}}},
                           json{{"command", "true"}, {"env", {{"A", nul}}}},
                           json{{"command", "true"}, {"env", {{nul, "c"}}}},
                           json{{"command", "true"}, {"env", {{"A", 1}}}},
                           json{{"command", "true"}, {"env", "A=b"}},
                           json{{"command", "true"}, {"stdin", 1}},
                           json{{"command", "true"}, {"background", "yes"}},
                           json{{"command", "true"}, {"comand", "x"}}}) {
    INFO(args.dump());
    on.refused(args);
  }
  CHECK(on.refused({{"command", "echo " + std::string(200'000, 'x')}}).code
        == ec::too_large);
}

TEST_CASE("a timeout says so and keeps what was written") {
  bench on;
  const auto done =
      on.exec({{"command", "echo begin; sleep 10000"}, {"timeout", 0.5}});
  CHECK(done.text
        == "begin\n[timed out after 0.5 s: ended with everything it started]");
  CHECK(done.structured["timed_out"] == true);
  CHECK(done.structured["stdout"] == "begin\n");
}

TEST_CASE("what a command leaves in the background lives until the session's "
          "end") {
  bench on;
  const auto done = on.exec({{"command", "sleep 10000 & echo $!"}});
  CHECK(done.structured["processes_left"] == true);
  const auto pid = std::stoi(done.structured["stdout"].get<std::string>());
  CHECK(test::is_alive(pid));
  on.by.reset();
  CHECK_FALSE(test::is_alive(pid));
}

TEST_CASE("a background command is read and ended by its id") {
  bench on;
  auto done =
      on.exec({{"command", "echo up; sleep 10000"}, {"background", true}});
  const std::string id = done.structured["id"];
  CHECK(done.text.find(id) != std::string::npos);
  auto out =
      on.call("terminal_output", {{"id", id}, {"since", 0}, {"wait", 60}});
  REQUIRE(out);
  CHECK(out->structured["output"] == "up\n");
  CHECK(out->structured["next_offset"] == 3);
  CHECK(out->structured["running"] == true);
  CHECK(out->text.rfind("up\n[runs since ", 0) == 0);
  CHECK_FALSE(on.call("terminal_output", {{"id", id}, {"since", 4}}));
  CHECK_FALSE(on.call("terminal_output", {{"id", id}, {"since", -1}}));
  CHECK_FALSE(on.call("terminal_output", {{"id", "bg-7"}}));
  CHECK_FALSE(on.call("terminal_output", json::object()));
  CHECK_FALSE(on.call("terminal_kill", {{"id", id}, {"signal", "NONSENSE"}}));
  CHECK_FALSE(on.call("terminal_kill", {{"id", id}, {"signal", 99}}));
  REQUIRE(on.call("terminal_kill", {{"id", id}, {"signal", "SIGCONT"}}));
  REQUIRE(on.call("terminal_kill", {{"id", id}, {"signal", 18}}));
  out = on.call("terminal_kill", {{"id", id}});
  REQUIRE(out);
  CHECK(out->structured["running"] == false);
  CHECK(out->structured["signal"] == "SIGTERM");
  CHECK_FALSE(on.call("terminal_kill", {{"id", id}}));
}

TEST_CASE("a cancelled call returns soon") {
  bench on;
  std::thread later{[&] {
    eventually(patient(10s), [&] { return on.by->said > 0; });
    on.by->cancel().cancel();
  }};
  on.exec({{"command", "echo text; sleep 10000"}, {"timeout", 600}});
  later.join();
  CHECK(on.by->messages.at(0).find("text") != std::string::npos);
}

TEST_CASE("with an allow list nothing goes through a shell") {
  bench on{std::vector<std::string>{"echo", "cat"}};
  CHECK(on.exec({{"command", "echo 'a  b' \"c\""}}).text == "a  b c\n");
  CHECK(on.exec({{"command", {"echo", "; touch pwned"}}}).text
        == "; touch pwned\n");
  for (const json& args :
       {json{{"command", "echo a; touch pwned"}},
        json{{"command", "echo $(touch pwned)"}},
        json{{"command", "echo `touch pwned`"}},
        json{{"command", "echo a && touch pwned"}},
        json{{"command", "echo a || touch pwned"}},
        json{{"command", "echo a | touch pwned"}},
        json{{"command", "echo a & touch pwned"}},
        json{{"command", "echo a > pwned"}},
        json{{"command", "echo a >> pwned"}},
        json{{"command", "cat < /dev/null > pwned"}},
        json{{"command", "echo a\ntouch pwned"}},
        json{{"command", "echo() { touch pwned; }; echo"}},
        json{{"command", "echo \"$(touch pwned)\""}},
        json{{"command", "(touch pwned)"}},
        json{{"command", "X=1 echo a"}},
        json{{"command", "touch pwned"}},
        json{{"command", "./echo"}},
        json{{"command", ""}},
        json{{"command", " "}},
        json{{"command", {"sh", "-c", "touch pwned"}}},
        json{{"command", {"sub/echo"}}},
        json{{"command", {""}}},
        json{{"command", "echo a"}, {"env", {{"LD_PRELOAD", "./x.so"}}}},
        json{{"command", "echo a"}, {"env", {{"PATH", "."}}}},
        json{{"command", "touch pwned"}, {"background", true}},
        json{{"command", "echo a; touch pwned"}, {"background", true}}}) {
    INFO(args.dump());
    on.refused(args);
  }
  CHECK(::access((on.ws + "/pwned").c_str(), F_OK) != 0);
}

TEST_CASE("a program in the working folder does not stand for an allowed one") {
  bench on{std::vector<std::string>{"echo"}};
  test::write_file(on.ws + "/echo", "#!/bin/sh\n/bin/touch pwned\n", 0755);
  CHECK(on.exec({{"command", "echo a"}}).text == "a\n");
  CHECK(::access((on.ws + "/pwned").c_str(), F_OK) != 0);
}

TEST_CASE("the tools describe themselves") {
  bench on;
  for (const auto& each : on.tools.all()) {
    CHECK(each.writes);
    for (const auto& schema : {each.input_schema(), each.output_schema()}) {
      CHECK(schema["type"] == "object");
      for (const std::string name : schema["required"])
        CHECK(schema["properties"].contains(name));
    }
  }
  bench listed{std::vector<std::string>{"echo"}};
  const auto* exec = listed.tools.find("terminal_exec");
  CHECK(exec->description.find("echo") != std::string::npos);
  CHECK_FALSE(exec->input_schema()["properties"].contains("env"));
}
