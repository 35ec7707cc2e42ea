#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <sys/stat.h>

#include "messages/text.hpp"
#include "nodes/setup.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

struct folder {
  folder() {
    char name[] = "/tmp/caged-setup-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~folder() { fs::remove_all(path); }
  fs::path path;
};

std::string text_of(const fs::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

unsigned mode_of(const fs::path& file) {
  struct stat about {};
  return ::stat(file.c_str(), &about) == 0 ? about.st_mode & 07777U : 0;
}

parsed_setup setup(std::vector<const char*> words, bool store = true) {
  CLI::App app{"test", "caged-node init"};
  words.insert(words.begin(), "init");
  return parse_setup(app, static_cast<int>(words.size()), words.data(), store);
}

} // namespace

TEST_CASE("init and join are the first word, and nothing else is") {
  for (const char* word : {"init", "join"}) {
    const char* argv[] = {"caged-node", word, "--help"};
    CHECK(is_setup(3, argv));
    const char* late[] = {"caged-node", "--config", word};
    CHECK_FALSE(is_setup(3, late));
  }
  const char* alone[] = {"caged-node"};
  CHECK_FALSE(is_setup(1, alone));
}

TEST_CASE("the settings given to init are read back by the daemon") {
  const auto parsed =
      setup({"--data-dir", "/srv/c d", "--listen", "tcp://*:7400", "--store",
             "etcds://127.0.0.1:2379,[::1]:2379/fleet", "--store-ca", "/ca",
             "--labels", "zone=a: \"b\",x=#1", "--pool", "minimal=2",
             "--metrics-interval", "1500ms", "--cpus", "7"});
  REQUIRE_FALSE(parsed.exit_code);
  CHECK(parsed.given.size() == 8);
  const auto text = config_text("by a test", parsed.given);
  folder dir;
  const auto file = dir.path / "node.yaml";
  REQUIRE(write_config(file, text, false));
  const auto name = file.string();
  const char* argv[] = {"caged-node", "--config", name.c_str()};
  const auto back = parse_node_config(3, argv);
  REQUIRE_FALSE(back.exit_code);
  CHECK(back.config.data_dir == "/srv/c d");
  CHECK(back.config.listen == "tcp://*:7400");
  CHECK(back.config.store == "etcds://127.0.0.1:2379,[::1]:2379/fleet");
  CHECK(back.config.store_ca == "/ca");
  CHECK(back.config.labels == parsed.config.labels);
  CHECK(back.config.labels.at("zone") == "a: \"b\"");
  CHECK(back.config.pool.at("minimal") == 2);
  CHECK(back.config.metrics_interval == std::chrono::milliseconds(1500));
  CHECK(back.config.cpus == 7);
  // Nothing given: a file all the same.
  REQUIRE(write_config(file, config_text("by a test", {}), true));
  CHECK_FALSE(parse_node_config(3, argv).exit_code);
}

TEST_CASE("join takes no settings of the store, and init only good ones") {
  CHECK(setup({"--store", "sqlite"}, false).exit_code == 2);
  CHECK(setup({"--store-user", "caged"}, false).exit_code == 2);
  CHECK(setup({"--store", "redis://a"}).exit_code == 2);
  CHECK(setup({"--listen", "10.0.0.1:7400"}).exit_code == 2);
}

TEST_CASE("a configuration is 0600, and another one is replaced by force") {
  folder dir;
  const auto file = dir.path / "new" / "node.yaml";
  REQUIRE(write_config(file, "one\n", false));
  CHECK(mode_of(file) == 0600);
  CHECK(write_config(file, "one\n", false));
  const auto kept = write_config(file, "two\n", false);
  REQUIRE_FALSE(kept);
  CHECK(kept.error().code == ec::conflict);
  CHECK(text_of(file) == "one\n");
  REQUIRE(write_config(file, "two\n", true));
  CHECK(text_of(file) == "two\n");
  CHECK(mode_of(file) == 0600);
}

TEST_CASE("what a node says of the store is kept in files of its owner") {
  folder dir;
  const auto settings = keep_access(
      dir.path, {"etcds://a:2379/x", "the ca", "", "", "caged", "secret\n"});
  REQUIRE(settings);
  const auto ca = dir.path / "store-ca",
             password = dir.path / "store-password-file";
  CHECK(*settings
        == given_settings{{"store", "etcds://a:2379/x"},
                          {"store-ca", ca.string()},
                          {"store-password-file", password.string()},
                          {"store-user", "caged"}});
  CHECK(text_of(ca) == "the ca");
  CHECK(text_of(password) == "secret\n");
  CHECK(mode_of(ca) == 0600);
  CHECK(mode_of(password) == 0600);
  CHECK_FALSE(fs::exists(dir.path / "store-key"));
  CHECK_FALSE(keep_access(dir.path, {}));
  CHECK_FALSE(keep_access(dir.path, {"etcd://a\nx: y", "", "", "", "", ""}));
}

TEST_CASE("a join token is read from a file or the environment, while it is "
          "good") {
  folder dir;
  join_token token;
  token.cluster = make_uuid();
  token.server_key = token.key.public_key = token.key.secret_key =
      std::string(40, '1');
  token.expires_ms = wall_clock_ms() + 60'000;
  const auto file = (dir.path / "token").string();
  std::ofstream{file} << encode(token) << "\n";
  const auto got = read_join_token(file);
  REQUIRE(got);
  CHECK(got->cluster == token.cluster);
  ::setenv("CAGED_JOIN_TOKEN", encode(token).c_str(), 1);
  CHECK(read_join_token({}));
  ::unsetenv("CAGED_JOIN_TOKEN");
  CHECK(read_join_token({}).error().code == ec::bad_request);
  CHECK(read_join_token((dir.path / "none").string()).error().code == ec::io);
  token.expires_ms = wall_clock_ms() - 1;
  std::ofstream{file} << encode(token);
  const auto late = read_join_token(file);
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ec::denied);
  CHECK(late.error().message.find(utc_text(token.expires_ms))
        != std::string::npos);
}
