#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/support/person.hpp"

// Clients over tcp: who is let in, as what, and for how long.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// It failed, quickly, with all these words and nothing on stdout.
void refused(const process_result& got, const std::vector<std::string>& words) {
  INFO("stderr: " << got.err);
  CHECK(got.exit != 0);
  CHECK_FALSE(got.timed_out);
  CHECK(got.out.empty());
  for (const auto& word : words)
    CHECK(has(got.err, word));
}

/// Bytes of every value, none of them in a row twice.
std::string bytes(std::size_t size) {
  std::string out(size, '\0');
  std::uint32_t state = 1;
  for (auto& each : out) {
    state = state * 1664525U + 1013904223U;
    each = static_cast<char>(state >> 24U);
  }
  return out;
}

bool attached(const test_node& node, const std::string& sandbox) {
  return has(node.caged({"ps", sandbox}).out, "attached");
}

} // namespace

TEST_CASE("a command over tcp has its bytes, its stderr and its exit code") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  REQUIRE(alice.up("web"));
  const auto in = bytes(3'000'000);
  const auto back =
      alice.caged({"exec", "web", "--", "cat"}, with_input(in, 60s));
  CHECK(back.exit == 0);
  CHECK(back.out == in);
  const auto both = alice.caged(
      {"exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"});
  CHECK(both.exit == 7);
  CHECK(both.out == "out\n");
  CHECK(both.err == "err\n");
  CHECK(alice.caged({"exec", "web", "--", "sh", "-c", "kill -TERM $$"}).exit
        == 128 + 15);
  // It belongs to her name, as the admin of the node sees it.
  const auto all = node.caged({"list", "--format", "json"}).out;
  CHECK(has(all, "key:alice"));
  const auto status = node.caged({"node", "status"}).out;
  CHECK(has(status, tcp_endpoint(node)));
  CHECK(has(status, alice.server_key));
  CHECK(node.clear() == "");
}

TEST_CASE(
    "a key that is not known, and one of another node, are told at once") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person eve{node, "eve", ""};
  auto begun = std::chrono::steady_clock::now();
  refused(eve.caged({"list"}),
          {"does not know your key", "caged key authorize"});
  CHECK(std::chrono::steady_clock::now() - begun < 2s);
  CHECK(eve.caged({"exec", "web", "--", "true"}).exit == 125);
  CHECK(eventually(5s, [&] {
    return node.series(
                   "caged_node_clients_refused_total{reason=\"unknown_key\"")
               .value_or(0)
           >= 2;
  }));
  CHECK(has(node.log(), "client_refused"));

  person alice{node, "alice", "admin"};
  CHECK(alice.caged({"list"}).exit == 0);
  alice.server_key =
      json::parse(
          eve.bare({"key", "create", "other", "--format", "json"}).out)["key"]
          .get<std::string>();
  begun = std::chrono::steady_clock::now();
  refused(alice.caged({"list"}), {"--server-key", "caged node status"});
  CHECK(std::chrono::steady_clock::now() - begun < 3s);
  CHECK(eventually(5s, [&] {
    return node.series("caged_node_clients_refused_total{reason=\"handshake\"")
               .value_or(0)
           >= 1;
  }));
}

TEST_CASE("a key that is revoked during an open command ends it at once") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  REQUIRE(alice.up("web"));
  // One that says nothing: no message of hers is there to be refused.
  auto quiet = alice.start_caged({"exec", "web", "--", "sleep", "600"});
  auto loud = alice.start_caged({"exec", "--no-stdin", "web", "--", "sh", "-c",
                                 "while true; do echo line; done"});
  REQUIRE(eventually(20s, [&] {
    return attached(node, "web") && loud->out().size() > 100'000;
  }));
  CHECK(node.caged({"key", "revoke", "alice"}).exit == 0);
  CHECK(quiet->wait(5s));
  CHECK(quiet->exit() == 125);
  CHECK(has(quiet->err(), "not authorised any more"));
  CHECK(loud->wait(5s));
  CHECK(loud->exit() == 125);
  refused(alice.caged({"list"}), {"does not know your key"});
  CHECK(node.caged({"key", "list"}).exit == 0);
  CHECK_FALSE(has(node.caged({"key", "list"}).out, "alice"));
  // Her sandbox stays, for the admin.
  CHECK(node.state("web") == "running");
  CHECK(node.series("caged_node_clients_refused_total{reason=\"revoked_key\"")
            .value_or(0)
        >= 1);
  CHECK(node.clear() == "");
}

TEST_CASE("users have their own, viewers look, admins do everything") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"}, bob{node, "bob", "user"},
      eve{node, "eve", "viewer"}, root{node, "root", "admin"};
  REQUIRE(alice.up("web"));
  // Another user finds nothing of hers, by whatever name.
  const auto id =
      json::parse(alice.caged({"list", "--format", "json"}).out)[0]["id"]
          .get<std::string>();
  CHECK(bob.caged({"list", "-q"}).out.empty());
  for (const auto& reference : {std::string{"web"}, id, id.substr(0, 8)}) {
    refused(bob.caged({"get", reference}), {reference});
    refused(bob.caged({"exec", reference, "--", "true"}), {reference});
    refused(bob.caged({"destroy", reference}), {reference});
    refused(bob.caged({"logs", reference}), {reference});
  }
  CHECK(bob.up("web")); // names are each owner's own
  refused(bob.caged({"node", "shutdown"}), {"only an admin"});
  refused(bob.caged({"node", "audit"}), {"only an admin"});
  refused(bob.caged({"key", "list"}), {"only an admin"});
  refused(bob.caged({"key", "authorize", bob.public_file(), "--role", "admin"}),
          {"only an admin"});
  CHECK(bob.caged({"node", "status"}).exit == 0);

  for (const auto& args :
       std::vector<std::vector<std::string>>{{"list"},
                                             {"get", id},
                                             {"why", id},
                                             {"logs", id},
                                             {"ps", id},
                                             {"events"},
                                             {"node", "status"}}) {
    CAPTURE(args[0]);
    CHECK(eve.caged(args).exit == 0);
  }
  CHECK(has(eve.caged({"list", "-q"}).out, id));
  for (const auto& args : std::vector<std::vector<std::string>>{
           {"exec", id, "--", "true"},
           {"destroy", id},
           {"up", "--no-config"},
           {"pause", id},
           {"files", "cat", id, "/etc/passwd"},
           {"kill", id, "1"},
           {"token", "create", "--template", "minimal"},
           {"node", "shutdown"}}) {
    CAPTURE(args[0]);
    refused(eve.caged(args), {"may"});
  }

  CHECK(root.caged({"exec", id, "--", "true"}).exit == 0);
  CHECK(root.caged({"key", "list"}).exit == 0);
  CHECK(root.caged({"destroy", id}).exit == 0);
  // A role that changes counts with the next message.
  CHECK(
      root.caged({"key", "authorize", eve.public_file(), "--role", "user"}).exit
      == 0);
  CHECK(eve.up("hers"));
  CHECK(root.caged({"key", "authorize", eve.public_file(), "--role", "viewer"})
            .exit
        == 0);
  refused(eve.caged({"exec", "hers", "--", "true"}), {"viewer"});
  CHECK(node.clear() == "");
}

TEST_CASE("a command goes on over tcp when the daemon is killed and returns") {
  test_node node{listening(free_port())};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  REQUIRE(alice.up("web"));
  auto run = alice.start_caged(
      {"exec", "--no-stdin", "web", "--", "sh", "-c",
       "i=0; while [ ! -e /tmp/told ]; do i=$((i+1)); echo $i; done; exit 9"});
  REQUIRE(eventually(20s, [&] { return run->out().size() > 10'000; }));
  for (int i = 0; i < 2; ++i) {
    node.kill();
    REQUIRE(node.start());
    const auto before = run->out().size();
    REQUIRE(
        eventually(30s, [&] { return run->out().size() > before + 10'000; }));
  }
  CHECK(alice.caged({"exec", "web", "--", "touch", "/tmp/told"}).exit == 0);
  REQUIRE(run->wait(30s));
  CHECK(run->exit() == 9);
  // Every number once, in order.
  const auto out = run->out();
  std::size_t at = 0;
  std::uint64_t expected = 0;
  bool right = true;
  while (right && at < out.size()) {
    const auto end = out.find('\n', at);
    right = end != std::string::npos
            && out.substr(at, end - at) == std::to_string(++expected);
    at = end + 1;
  }
  CHECK(right);
  CHECK(expected > 1000);
  CHECK(node.clear() == "");
}

TEST_CASE(
    "a client that has gone silent loses its connection, not its command") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  REQUIRE(alice.up("web"));
  auto run = alice.start_caged({"exec", "--no-stdin", "web", "--", "sh", "-c",
                                "while [ ! -e /tmp/told ]; do sleep 0.1; done; "
                                "echo end; exit 3"});
  REQUIRE(eventually(20s, [&] { return attached(node, "web"); }));
  // Its kernel still answers, as that of a machine behind a broken line would
  // not; it is the heartbeat that is missing.
  run->signal(SIGSTOP);
  CHECK(eventually(25s, [&] { return !attached(node, "web"); }));
  run->signal(SIGCONT);
  CHECK(eventually(20s, [&] { return attached(node, "web"); }));
  CHECK(node.caged({"exec", "web", "--", "touch", "/tmp/told"}).exit == 0);
  REQUIRE(run->wait(20s));
  CHECK(run->exit() == 3);
  CHECK(run->out() == "end\n");
  CHECK(node.clear() == "");
}

TEST_CASE("contexts say where to and with which key") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  CHECK(alice
            .bare({"context", "add", "work", "--endpoint",
                   "tcp://127.0.0.1:1," + alice.endpoint, "--server-key",
                   alice.server_key, "--key", alice.key_file()})
            .exit
        == 0);
  // Remembered, not in use; then for one call; then in use.
  CHECK(has(alice.bare({"context", "list"}).out, "work"));
  CHECK(alice.bare({"--context", "work", "list"}).exit == 0);
  CHECK(alice.bare({"context", "use", "work"}).exit == 0);
  const auto got = alice.bare({"node", "status"});
  CHECK(got.exit == 0);
  CHECK(has(got.out, alice.server_key));
  struct stat about {};
  REQUIRE(::stat((std::filesystem::path{alice.key_file()}.parent_path()
                  / "../contexts.yaml")
                     .c_str(),
                 &about)
          == 0);
  CHECK((about.st_mode & 0777U) == 0600);
  refused(alice.bare({"context", "add", "work", "--endpoint", "ipc:///x"}),
          {"work", "--force"});
  refused(alice.bare({"context", "use", "nowhere"}), {"nowhere", "list"});
  refused(alice.bare({"--context", "nowhere", "list"}), {"nowhere"});
  refused(alice.bare({"context", "add", "two", "--endpoint", "tcp://a:1"}),
          {"--server-key"});
  CHECK(alice.bare({"context", "rm", "work"}).exit == 0);
  refused(alice.bare({"context", "rm", "work"}), {"work"});
}

TEST_CASE("keys, files and flags that cannot be are refused with a remedy") {
  test_node node{listening()};
  REQUIRE(node.start());
  person alice{node, "alice", "user"};
  refused(alice.bare({"key", "create", "alice"}), {"alice", "--force"});
  refused(alice.bare({"key", "create", "No Good"}), {"No Good"});
  CHECK(alice.bare({"key", "create", "alice", "--force"}).exit == 0);
  // The new pair is a stranger until it is authorised; its name is taken.
  refused(alice.caged({"list"}), {"does not know your key"});
  refused(
      node.caged({"key", "authorize", alice.public_file(), "--role", "user"}),
      {"alice", "--name"});
  CHECK(node.caged({"key", "authorize", alice.public_file(), "--role", "user",
                    "--name", "alice"})
            .exit
        == 0);
  CHECK(alice.caged({"list"}).exit == 0);
  refused(node.caged({"key", "authorize", alice.key_file(), "--role", "user"}),
          {"secret", ".pub"});
  refused(node.caged({"key", "authorize", "/no/such", "--role", "user"}),
          {"/no/such"});
  refused(
      node.caged({"key", "authorize", alice.public_file(), "--role", "god"}),
      {"god"});
  refused(node.caged({"key", "revoke", "nobody"}), {"nobody"});
  ::chmod(alice.key_file().c_str(), 0644);
  refused(alice.caged({"list"}), {"0644", "chmod 600"});
  ::chmod(alice.key_file().c_str(), 0600);
  const auto key = alice.server_key;
  alice.server_key.clear();
  refused(alice.caged({"list"}), {"--server-key"});
  alice.server_key = "nonsense";
  refused(alice.caged({"list"}), {"nonsense", "--server-key"});
  alice.server_key = key;
  alice.endpoint = "tcp://127.0.0.1:1";
  refused(alice.caged({"list"}), {"tcp://127.0.0.1:1", "--listen"});
  alice.endpoint = "tcp://nonsense";
  refused(alice.caged({"list"}), {"tcp://HOST:PORT"});
  // The node's own key is as private as the others.
  CHECK(node.stop() == 0);
  ::chmod((node.data_dir() + "/node.key").c_str(), 0644);
  CHECK_FALSE(node.start());
  CHECK(has(node.log(), "chmod 600"));
  ::chmod((node.data_dir() + "/node.key").c_str(), 0600);
  REQUIRE(node.start());
  const auto flag = run({bin_dir() + "/caged-node", "--listen", "10.0.0.1:7400",
                         "--check-config"},
                        within(10s));
  CHECK(flag.exit == 2);
  CHECK(has(flag.err, "tcp://ADDRESS:PORT"));
}
