#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include "cli/context.hpp"
#include "cli/resolve.hpp"
#include "messages/curve_pair.hpp"

using namespace caged;
using namespace caged::cli;
namespace fs = std::filesystem;

namespace {

/// A home of its own, and none of the tester's variables.
struct home {
  fs::path dir;
  key_pair alice = *make_key_pair("alice"), node = *make_key_pair({});
  home() {
    char name[] = "/tmp/caged-home-XXXXXX";
    dir = ::mkdtemp(name);
    ::setenv("XDG_CONFIG_HOME", dir.c_str(), 1);
    for (const auto* each :
         {"CAGED_ENDPOINT", "CAGED_CONTEXT", "CAGED_KEY", "CAGED_SERVER_KEY"})
      ::unsetenv(each);
    REQUIRE(make_config_directory("keys"));
    REQUIRE(write_key_pair(key(), alice, if_there::refuse));
  }
  ~home() {
    ::unsetenv("XDG_CONFIG_HOME");
    fs::remove_all(dir);
  }
  fs::path key() const { return dir / "caged" / "keys" / "alice"; }
  fs::path file() const { return dir / "caged" / "contexts.yaml"; }
};

ec refusal(const address_options& from) {
  auto got = resolve(from);
  REQUIRE_FALSE(got);
  INFO(got.error().message);
  CHECK_FALSE(got.error().hint.empty());
  return got.error().code;
}

} // namespace

TEST_CASE("contexts survive their file, which is its owner's alone") {
  home h;
  contexts all;
  all.current = "work";
  // Z85 has what YAML takes for something else.
  all.all["work"] = {{"tcp://a:7400", "tcp://b:7400"},
                     {"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"},
                     "/home/alice/key: #1"};
  all.all["here"] = {{"ipc:///tmp/x"}, {}, {}};
  REQUIRE(write_contexts(h.file(), all));
  struct stat about {};
  REQUIRE(::stat(h.file().c_str(), &about) == 0);
  CHECK((about.st_mode & 0777U) == 0600);
  auto got = read_contexts(h.file());
  INFO((got ? "" : got.error().message));
  REQUIRE(got);
  CHECK(got->current == "work");
  CHECK(got->all == all.all);
  ::chmod(h.file().c_str(), 0644);
  CHECK(read_contexts(h.file()).error().code == ec::denied);
}

TEST_CASE("a broken file of contexts is told with its place") {
  home h;
  const auto put = [&](const std::string& text) {
    std::ofstream{h.file()} << text;
    ::chmod(h.file().c_str(), 0600);
    return read_contexts(h.file());
  };
  CHECK(put("")->current == local_context);
  for (const auto* bad :
       {"[a", "- a", "contexts:\n  w: 1", "contexts:\n  w: {endpont: x}",
        "contexts:\n  w: {key: x}",
        "contexts:\n  w: {endpoint: x, server-key: short}"}) {
    CAPTURE(bad);
    const auto got = put(bad);
    REQUIRE_FALSE(got);
    CHECK(got.error().message.find("contexts.yaml") != std::string::npos);
  }
}

TEST_CASE("flags come before variables, and those before the context in use") {
  home h;
  // Nothing said: this host.
  CHECK(resolve({})->text() == default_endpoint);
  contexts all;
  all.all["work"] = {{"tcp://a:7400"}, {h.node.public_key}, h.key()};
  all.current = "work";
  REQUIRE(write_contexts(h.file(), all));
  const auto work = resolve({});
  REQUIRE(work);
  CHECK(work->text() == "tcp://a:7400");
  CHECK(work->endpoints.front().server_key == h.node.public_key);
  CHECK(work->key.secret_key == h.alice.secret_key);
  CHECK(resolve({{}, {}, {}, "local"})->text() == default_endpoint);
  CHECK(resolve({"ipc:///x", {}, {}, {}})->text() == "ipc:///x");
  ::setenv("CAGED_ENDPOINT", "ipc:///v", 1);
  // CLI11 hands the variable's value on as if it were the flag's.
  CHECK(resolve({"ipc:///v", {}, {}, {}})->text() == "ipc:///v");
  CHECK(resolve({"ipc:///v", {}, {}, "work"})->text() == "tcp://a:7400");
  CHECK(resolve({"ipc:///f", {}, {}, {}})->text() == "ipc:///f");
  CHECK(refusal({"ipc:///f", {}, {}, "work"}) == ec::bad_request);
  ::unsetenv("CAGED_ENDPOINT");
  CHECK(refusal({{}, {}, {}, "nowhere"}) == ec::not_found);
}

TEST_CASE("an address over tcp wants both keys, each from where it may be") {
  home h;
  const auto& node = h.node.public_key;
  const auto file = h.key().string();
  CHECK(refusal({"tcp://a:1", {}, file, {}}) == ec::bad_request);
  CHECK(refusal({"tcp://a:1", "nonsense", file, {}}) == ec::bad_request);
  CHECK(refusal({"tcp://a:1", node, "/no/such/key", {}}) == ec::not_found);
  CHECK(refusal({"http://a:1", node, file, {}}) == ec::bad_request);
  // A file of the node's key does as well.
  REQUIRE(write_key_pair(h.dir / "node.key", h.node, if_there::refuse));
  const auto got =
      resolve({"tcp://a:1", (h.dir / "node.key.pub").string(), file, {}});
  REQUIRE(got);
  CHECK(got->server_keys() == node);
  // One key for all endpoints, or one for each; too few are no answer.
  CHECK(resolve({"tcp://a:1,tcp://b:2", node, file, {}})->endpoints.size()
        == 2);
  const auto other = make_key_pair({})->public_key;
  const auto two =
      resolve({"tcp://a:1,tcp://b:2", node + "," + other, file, {}});
  REQUIRE(two);
  CHECK(two->endpoints[1].server_key == other);
  CHECK(refusal({"tcp://a:1,tcp://b:2,tcp://c:3", node + "," + other, file, {}})
        == ec::bad_request);
  ::chmod(file.c_str(), 0644);
  CHECK(refusal({"tcp://a:1", node, file, {}}) == ec::denied);
}

TEST_CASE("hosts become numbers that ZeroMQ takes") {
  CHECK(addresses_of("tcp://127.0.0.1:7400")
        == std::vector<std::string>{"tcp://127.0.0.1:7400"});
  CHECK(addresses_of("tcp://[::1]:7400")
        == std::vector<std::string>{"tcp://[::1]:7400"});
  for (const auto* bad : {"tcp://", "tcp://a", "tcp://:1", "tcp://a:0",
                          "tcp://a:99999", "tcp://a:b", "ipc://a:1"})
    CHECK(addresses_of(bad).error().code == ec::bad_request);
}
