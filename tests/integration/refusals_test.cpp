#include <catch2/catch.hpp>

#include <filesystem>

#include <sys/mount.h>

#include "tests/support/test_node.hpp"

// Bad input: one sentence, a non-zero exit, nothing left behind.
using namespace caged::test;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The command failed with a message that names all of this, and made nothing.
void refused(const test_node& node, const std::vector<std::string>& args,
             const std::vector<std::string>& names) {
  auto got = node.caged(args);
  INFO("args: " << args[0] << " stderr: " << got.err);
  CHECK(got.exit != 0);
  CHECK_FALSE(got.timed_out);
  CHECK(got.out.empty());
  for (const auto& name : names)
    CHECK(has(got.err, name));
}

} // namespace

TEST_CASE("bad flags of up are refused with the flag, the limit, the remedy") {
  test_node node;
  REQUIRE(node.start());
  refused(node, {"up", "--template", "nope"}, {"nope", "minimal"});
  refused(node, {"up", "--cpus", "0"}, {"cpus", "1", "8"});
  refused(node, {"up", "--cpus", "9"}, {"cpus", "9", "8"});
  refused(node, {"up", "--memory", "64"}, {"memory", "64", "128"});
  refused(node, {"up", "--memory", "lots"}, {"memory", "lots"});
  refused(node, {"up", "--disk", "51"}, {"disk", "51", "50"});
  refused(node, {"up", "--name", "No Good"}, {"No Good"});
  refused(node, {"up", "--network", "full"}, {"full", "none"});
  refused(node, {"up", "--runtime", "qemu"}, {"qemu"});
  refused(node, {"up", "-e", "=x"}, {"=x"});
  refused(node, {"up", "--init-script", "/no/such/file"}, {"/no/such/file"});
  CHECK(node.caged({"list", "-q"}).out.empty());
  CHECK(node.clear() == "");
}

TEST_CASE("names in use, unknown ids and ambiguous prefixes are named") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web-one"}).empty());
  REQUIRE_FALSE(node.up({"--name", "web-two"}).empty());
  refused(node, {"up", "--name", "web-one"}, {"web-one", "in use"});
  refused(node, {"exec", "cage-zzzzzzzz", "--", "true"}, {"cage-zzzzzzzz"});
  refused(node, {"get", "nobody"}, {"nobody"});
  refused(node, {"exec", "web-", "--", "true"}, {"web-one", "web-two"});
  refused(node, {"destroy", "web-"}, {"web-one", "web-two"});
  refused(node, {"destroy", "--all"}, {"--force"});
  CHECK(node.caged({"list", "-q"}).out.size() > 20);
}

TEST_CASE("a dead endpoint is told at once, with how to start the node") {
  test_node node; // never started
  auto begun = std::chrono::steady_clock::now();
  refused(node, {"list"}, {"caged-node"});
  refused(node, {"up"}, {"caged-node"});
  CHECK(std::chrono::steady_clock::now() - begun < 15s);
}

TEST_CASE("a second node on one data directory is refused") {
  test_node node;
  REQUIRE(node.start());
  auto second =
      run({bin_dir() + "/caged-node", "--data-dir", node.data_dir(),
           "--run-dir", node.run_dir(), "--client-endpoint",
           node.endpoint() + "2", "--metrics-address", "127.0.0.1:0",
           "--gateway-address", "127.0.0.1:0", "--agent-dir", bin_dir()},
          within(10s));
  CHECK(second.exit != 0);
  CHECK_FALSE(second.timed_out);
  CHECK(has(second.err, node.data_dir()));
  CHECK(has(second.err, std::to_string(node.pid())));
  CHECK(node.caged({"node", "status"}).exit == 0);
}

namespace {

process_result start_node(const std::vector<std::string>& flags,
                          process_options options = within(15s)) {
  std::vector<std::string> argv = {bin_dir() + "/caged-node",
                                   "--agent-dir",
                                   bin_dir(),
                                   "--metrics-address",
                                   "127.0.0.1:0",
                                   "--gateway-address",
                                   "127.0.0.1:0"};
  argv.insert(argv.end(), flags.begin(), flags.end());
  return run(argv, options);
}

} // namespace

TEST_CASE("a corrupt config is refused with file, line and the nearest key") {
  temp_dir dir;
  auto file = dir / "node.yaml";
  write_file(file, "data-dir: " + (dir / "d") + "\nmetrics-adress: x\n");
  auto typo = start_node({"--config", file});
  CHECK(typo.exit == 2);
  CHECK(has(typo.err, "metrics-adress"));
  CHECK(has(typo.err, "metrics-address"));
  CHECK(has(typo.err, file));
  write_file(file, "data-dir: [unclosed\n");
  auto broken = start_node({"--config", file});
  CHECK(broken.exit == 2);
  CHECK(has(broken.err, file));
  auto absent = start_node({"--config", dir / "absent.yaml"});
  CHECK(absent.exit != 0);
  CHECK(has(absent.err, "absent.yaml"));
  auto value = start_node({"--heartbeat-interval", "soon"});
  CHECK(value.exit == 2);
  CHECK(has(value.err, "heartbeat-interval"));
  CHECK(has(value.err, "soon"));
  CHECK_FALSE(fs::exists(dir / "d"));
}

TEST_CASE("a read-only or full data directory is refused in one sentence") {
  temp_dir dir;
  auto mounted = dir / "small";
  fs::create_directory(mounted);
  if (::mount("tmpfs", mounted.c_str(), "tmpfs", MS_RDONLY, "size=64k") != 0)
    return skip("no right to mount a tmpfs");
  auto flags = std::vector<std::string>{
      "--data-dir",        mounted + "/data",
      "--run-dir",         dir / "run",
      "--client-endpoint", "ipc://" + (dir / "run") + "/node.sock"};
  auto readonly = start_node(flags);
  CHECK(readonly.exit != 0);
  CHECK_FALSE(readonly.timed_out);
  CHECK(has(readonly.err, mounted));
  REQUIRE(::mount("", mounted.c_str(), "", MS_REMOUNT, "size=64k") == 0);
  auto full = start_node(flags);
  CHECK(full.exit != 0);
  CHECK_FALSE(full.timed_out);
  CHECK(has(full.err, mounted));
  ::umount2(mounted.c_str(), MNT_DETACH);
}

TEST_CASE("a missing crun is told with how to get it") {
  temp_dir dir;
  auto got =
      start_node({"--data-dir", dir / "data", "--run-dir", dir / "run",
                  "--client-endpoint", "ipc://" + (dir / "run") + "/node.sock",
                  "--crun", "/no/such/crun"});
  CHECK(got.exit != 0);
  CHECK_FALSE(got.timed_out);
  CHECK(has(got.err, "/no/such/crun"));
  CHECK(has(got.err, "install"));
}

TEST_CASE("check-config says what the node would do and starts nothing") {
  temp_dir dir;
  auto got = start_node({"--check-config", "--data-dir", dir / "data"});
  CHECK(got.exit == 0);
  CHECK(has(got.out, dir / "data"));
  CHECK_FALSE(fs::exists(dir / "data"));
}

TEST_CASE("usage errors exit with 2, and help with 0") {
  test_node node;
  CHECK(node.caged({"up", "--no-such-flag"}).exit == 2);
  CHECK(node.caged({"no-such-verb"}).exit == 2);
  for (const char* verb : {"up", "exec", "list", "get", "destroy", "connect",
                           "logs", "why", "node", "version"})
    CHECK(node.caged({verb, "--help"}).exit == 0);
  CHECK(node.caged({"version"}).exit == 0);
}
