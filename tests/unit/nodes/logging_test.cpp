#include <filesystem>
#include <fstream>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/config.hpp"
#include "nodes/logging.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

/// What was logged to stderr, one line each.
std::vector<std::string> logged(const node_config& config,
                                const std::string& value) {
  auto path = fs::temp_directory_path() / ("caged-" + random_name(8));
  int old = ::dup(STDERR_FILENO);
  int to = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  ::dup2(to, STDERR_FILENO);
  ::close(to);
  set_up_logging(config);
  log_event("tested", {{"key", value}});
  ::dup2(old, STDERR_FILENO);
  ::close(old);
  std::vector<std::string> out;
  std::ifstream in{path};
  for (std::string line; std::getline(in, line);)
    out.push_back(line);
  fs::remove(path);
  return out;
}

} // namespace

TEST_CASE("an event is one JSON line, whatever is in its fields") {
  node_config config;
  config.log_format = "json";
  for (const std::string value :
       {"plain", "a \"quote\", {} %v and\na line", "\x1b[31m", "\xff\xfe"}) {
    auto lines = logged(config, value);
    REQUIRE(lines.size() == 1);
    INFO(lines[0]);
    auto parsed = nlohmann::json::parse(lines[0], nullptr, false);
    REQUIRE(parsed.is_object());
    CHECK(parsed["event"] == "tested");
    CHECK(parsed["level"] == "info");
    CHECK(parsed["time"].get<std::string>().size() >= 24);
    if (value != "\xff\xfe")
      CHECK(parsed["key"] == value);
  }
}

TEST_CASE("a text log passes no control character on") {
  node_config config;
  config.log_format = "text";
  auto lines = logged(config, "\x1b[31m\nfaked line");
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find('\x1b') == std::string::npos);
  CHECK(lines[0].find("tested") != std::string::npos);
}

TEST_CASE("what is below the level is not logged") {
  node_config config;
  config.log_level = "error";
  CHECK(logged(config, "x").empty());
}
