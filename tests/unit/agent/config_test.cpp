#include "agent/config.hpp"

#include <map>

#include <catch2/catch.hpp>

using namespace caged;
using namespace caged::agent;
using namespace std::chrono_literals;

namespace {

result<config> parse(std::vector<std::string> args,
                     const std::map<std::string, std::string>& env = {}) {
  return parse_config(std::move(args), [&](const char* name) -> const char* {
    auto it = env.find(name);
    return it == env.end() ? nullptr : it->second.c_str();
  });
}

} // namespace

TEST_CASE("the agent's defaults are the public ones") {
  auto got = parse({});
  REQUIRE(got);
  CHECK(got->workspace == "/workspace");
  CHECK(got->socket == "/run/caged/agent.sock");
  CHECK(got->heartbeat_interval == 5s);
  CHECK(got->metrics_interval == 10s);
  CHECK(got->log_level == log::level::info);
}

TEST_CASE("a flag goes before its variable, in both written forms") {
  const std::map<std::string, std::string> env = {
      {"CAGED_WORKSPACE", "/env"},
      {"CAGED_SOCKET", "/env.sock"},
      {"CAGED_HEARTBEAT_INTERVAL", "1m"},
      {"CAGED_METRICS_INTERVAL", "500ms"},
      {"CAGED_LOG_LEVEL", "error"}};
  auto by_env = parse({}, env);
  REQUIRE(by_env);
  CHECK(by_env->workspace == "/env");
  CHECK(by_env->socket == "/env.sock");
  CHECK(by_env->heartbeat_interval == 1min);
  CHECK(by_env->metrics_interval == 500ms);
  CHECK(by_env->log_level == log::level::error);
  auto by_flag = parse({"--workspace", "/flag/", "--socket=/flag.sock",
                        "--heartbeat-interval=2s", "--metrics-interval", "3s",
                        "--log-level=debug"},
                       env);
  REQUIRE(by_flag);
  CHECK(by_flag->workspace == "/flag");
  CHECK(by_flag->socket == "/flag.sock");
  CHECK(by_flag->heartbeat_interval == 2s);
  CHECK(by_flag->metrics_interval == 3s);
  CHECK(by_flag->log_level == log::level::debug);
  CHECK(parse({"--help"})->show_help);
  CHECK(parse({"--version"})->show_version);
}

TEST_CASE("a bad value names its flag or variable and the accepted form") {
  struct row {
    std::vector<std::string> args;
    std::map<std::string, std::string> env;
    std::vector<std::string> said;
  };
  const std::vector<row> rows = {
      {{"--heartbeat-interval", "soon"}, {}, {"--heartbeat-interval", "5s"}},
      {{"--heartbeat-interval=50ms"}, {}, {"--heartbeat-interval", "100ms"}},
      {{"--metrics-interval=2h"}, {}, {"--metrics-interval", "1h"}},
      {{"--log-level=trace"},
       {},
       {"--log-level", "debug, info, warn or error"}},
      {{"--workspace=rel"}, {}, {"--workspace", "absolute"}},
      {{"--workspace="}, {}, {"--workspace", "absolute"}},
      {{"--socket=" + std::string(108, 's')}, {}, {"--socket", "107", "108"}},
      {{}, {{"CAGED_LOG_LEVEL", ""}}, {"CAGED_LOG_LEVEL", "debug"}},
      {{}, {{"CAGED_METRICS_INTERVAL", "1"}}, {"CAGED_METRICS_INTERVAL", "1m"}},
      {{"--socket"}, {}, {"--socket", "missing", "107"}},
      {{"--unknown=1"}, {}, {"--unknown", "--help"}},
      {{"-x"}, {}, {"-x"}},
      {{"word"}, {}, {"word", "flags only"}},
      {{"--log-level\x1b[m"}, {}, {"\\x1B"}},
  };
  for (const auto& row : rows) {
    auto got = parse(row.args, row.env);
    REQUIRE_FALSE(got);
    CAPTURE(got.error().message);
    CHECK(got.error().code == ec::bad_request);
    for (const auto& part : row.said)
      CHECK(got.error().message.find(part) != std::string::npos);
  }
}

TEST_CASE("the help names every flag and variable") {
  auto text = help_text();
  for (const auto* name :
       {"--workspace", "CAGED_WORKSPACE", "--socket", "CAGED_SOCKET",
        "--heartbeat-interval", "CAGED_HEARTBEAT_INTERVAL",
        "--metrics-interval", "CAGED_METRICS_INTERVAL", "--log-level",
        "CAGED_LOG_LEVEL", "--version", "--help"})
    CHECK(text.find(name) != std::string::npos);
}
