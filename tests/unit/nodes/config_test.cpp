#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/config.hpp"

using namespace caged;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

/// Sends one of our own descriptors into a file for a while.
class captured {
public:
  explicit captured(FILE* stream)
      : stream_{stream},
        fd_{::fileno(stream)},
        old_{::dup(fd_)},
        path_{fs::temp_directory_path() / ("caged-" + random_name(8))} {
    std::fflush(stream_);
    int to = ::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ::dup2(to, fd_);
    ::close(to);
  }
  ~captured() {
    std::fflush(stream_);
    ::dup2(old_, fd_);
    ::close(old_);
    fs::remove(path_);
  }
  std::string text() {
    std::fflush(stream_);
    std::ifstream in{path_};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

private:
  FILE* stream_;
  int fd_, old_;
  fs::path path_;
};

struct outcome {
  parsed_config parsed;
  std::string out, err;
};

/// CLI11 prints through iostreams, which share stdio's descriptors.
outcome parse(std::vector<std::string> args,
              const std::map<std::string, std::string>& env = {}) {
  std::vector<const char*> argv{"caged-node"};
  for (const auto& arg : args)
    argv.push_back(arg.c_str());
  for (const auto& [key, value] : env)
    ::setenv(key.c_str(), value.c_str(), 1);
  outcome result;
  {
    captured out{stdout}, err{stderr};
    result.parsed =
        parse_node_config(static_cast<int>(argv.size()), argv.data());
    std::fflush(nullptr);
    result.out = out.text();
    result.err = err.text();
  }
  for (const auto& [key, _] : env)
    ::unsetenv(key.c_str());
  return result;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct yaml {
  fs::path path =
      fs::temp_directory_path() / ("caged-" + random_name(8) + ".yaml");
  explicit yaml(const std::string& text) { std::ofstream{path} << text; }
  ~yaml() { fs::remove(path); }
};

} // namespace

TEST_CASE("without any setting a node knows what its machine can give") {
  auto got = parse({});
  CHECK_FALSE(got.parsed.exit_code.has_value());
  const auto& c = got.parsed.config;
  CHECK(c.data_dir == "/var/lib/caged");
  CHECK(c.client_endpoint == "ipc:///run/caged/node.sock");
  CHECK(c.metrics_address == "127.0.0.1:9464");
  CHECK(c.heartbeat_interval == 5s);
  CHECK(c.failed_retention == 24h);
  CHECK(c.cpus >= 4);
  CHECK(c.memory_mb > 0);
  CHECK(c.disk_gb > 0);
  CHECK_FALSE(c.agent_dir.empty());
}

TEST_CASE("the file gives way to variables, variables to flags") {
  yaml file{"cpus: 3\nmemory-mb: 100\ndisk-gb: 7\nrun-dir: /run/x\n"};
  auto got = parse({"--config", file.path, "--cpus", "5"},
                   {{"CAGED_NODE_CPUS", "4"}, {"CAGED_NODE_MEMORY_MB", "200"}});
  INFO(got.err);
  REQUIRE_FALSE(got.parsed.exit_code.has_value());
  const auto& c = got.parsed.config;
  CHECK(c.cpus == 5);
  CHECK(c.memory_mb == 200);
  CHECK(c.disk_gb == 7);
  CHECK(c.client_endpoint == "ipc:///run/x/node.sock");
}

TEST_CASE("check-config shows each value and where it comes from") {
  yaml file{"# a comment\ncpus: 3\n"};
  auto got =
      parse({"--config", file.path, "--check-config", "--node-name", "n1"},
            {{"CAGED_NODE_DISK_GB", "9"}});
  CHECK(got.parsed.exit_code == 0);
  CHECK(has(got.out, file.path.string() + ":2"));
  CHECK(has(got.out, "CAGED_NODE_DISK_GB"));
  CHECK(has(got.out, "# --node-name"));
  CHECK(has(got.out, "# default"));
}

TEST_CASE("a key that does not exist is named with its line and the nearest") {
  yaml file{"cpus: 3\nmetrics-adress: x\n"};
  auto got = parse({"--config", file.path});
  CHECK(got.parsed.exit_code == 2);
  CHECK(has(got.err, file.path.string() + ":2"));
  CHECK(has(got.err, "metrics-adress"));
  CHECK(has(got.err, "metrics-address"));
}

TEST_CASE("a value that is not accepted is named with where it stands") {
  struct wrong {
    const char* text;
    const char* says;
  };
  for (auto [text, says] :
       {wrong{"cpus: many", "many"}, wrong{"cpus: -1", "whole number"},
        wrong{"heartbeat-interval: soon", "5s"},
        wrong{"heartbeat-interval: 0", "100ms"},
        wrong{"runtime: docker", "fake, oci"},
        wrong{"pool: minimal", "TEMPLATE=NUMBER"},
        wrong{"pool: minimal=2,minimal=3", "once"},
        wrong{"pool: minimal=1001", "1000"},
        wrong{"pool-load: 101", "0 to 100"},
        wrong{"listen: 10.0.0.1:7400", "tcp://ADDRESS:PORT"},
        wrong{"listen: tcp://node1:7400", "number of an address"},
        wrong{"data-dir: relative", "absolute"},
        wrong{"cpus: [1]", "one value"}, wrong{"- cpus", "map"},
        wrong{"data-dir: [unclosed", "YAML"}}) {
    INFO(text);
    yaml file{std::string{text} + "\n"};
    auto got = parse({"--config", file.path});
    CHECK(got.parsed.exit_code == 2);
    CHECK(has(got.err, file.path.string()));
    CHECK(has(got.err, says));
  }
  auto flag = parse({"--metrics-interval", "soon"});
  CHECK(flag.parsed.exit_code == 2);
  CHECK(has(flag.err, "--metrics-interval"));
  CHECK(has(flag.err, "soon"));
  auto variable = parse({}, {{"CAGED_NODE_LOG_LEVEL", "loud"}});
  CHECK(variable.parsed.exit_code == 2);
  CHECK(has(variable.err, "CAGED_NODE_LOG_LEVEL"));
  CHECK(has(variable.err, "loud"));
}

TEST_CASE("a pool is read for several templates") {
  auto got = parse({"--pool", "minimal=4,node-22=0", "--check-config"});
  CHECK(got.parsed.exit_code == 0);
  CHECK(got.parsed.config.pool
        == std::map<std::string, unsigned>{{"minimal", 4}, {"node-22", 0}});
  CHECK(has(got.out, "minimal=4,node-22=0"));
}

TEST_CASE("a file that is not there and an unknown flag end with 2") {
  auto absent = parse({"--config", "/no/such/node.yaml"});
  CHECK(absent.parsed.exit_code == 2);
  CHECK(has(absent.err, "/no/such/node.yaml"));
  CHECK(parse({"--no-such-flag"}).parsed.exit_code == 2);
}

TEST_CASE("the flags --help and --version end with 0") {
  CHECK(parse({"--help"}).parsed.exit_code == 0);
  CHECK(parse({"--version"}).parsed.exit_code == 0);
}
