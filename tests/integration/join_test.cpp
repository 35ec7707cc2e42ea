#include <catch2/catch.hpp>

#include <filesystem>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "messages/join_token.hpp"
#include "messages/key_file.hpp"
#include "messages/text.hpp"
#include "tests/support/etcd.hpp"
#include "tests/support/person.hpp"

// Hosts that are put together with caged-node init and caged-node join.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const std::string password = "s3cret pass";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

unsigned mode_of(const std::string& file) {
  struct stat about {};
  return ::stat(file.c_str(), &about) == 0 ? about.st_mode & 07777U : 0;
}

/// Users in an etcd with TLS: from now on it wants a password.
void ask_for_password(etcd_cluster& etcd) {
  auto admin = [&](const char* what, const nlohmann::json& body) {
    INFO(what);
    REQUIRE(etcd.call(std::string{"/v3/auth/"} + what, body).is_object());
  };
  admin("user/add", {{"name", "root"}, {"password", "root's own"}});
  admin("role/add", {{"name", "root"}});
  admin("user/grant", {{"user", "root"}, {"role", "root"}});
  admin("user/add", {{"name", "caged"}, {"password", password}});
  admin("role/add", {{"name", "fleet"}});
  admin("role/grant", {{"name", "fleet"},
                       {"perm",
                        {{"permType", "READWRITE"},
                         {"key", base64_encode("/fleet/")},
                         {"range_end", base64_encode("/fleet0")}}}});
  admin("user/grant", {{"user", "caged"}, {"role", "fleet"}});
  admin("enable", nlohmann::json::object());
}

/// A host: its daemon, and the configuration that it is started with.
struct host {
  explicit host(std::string called)
      : name{std::move(called)},
        file{dir / "etc/node.yaml"},
        node{{"--config", file}} {}

  /// caged-node WORDS, with this host's directories and name.
  process_result setup(std::vector<std::string> words,
                       process_options options = within(30s)) const {
    words.insert(words.begin(), bin_dir() + "/caged-node");
    words.insert(words.end(),
                 {"--config", file, "--data-dir", node.data_dir(), "--run-dir",
                  node.run_dir(), "--node-name", name});
    return run(words, options);
  }
  process_result join(const std::string& endpoint, const std::string& token,
                      std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"join", endpoint, "--token-file", "-"};
    words.insert(words.end(), more.begin(), more.end());
    return setup(words, with_input(token, 30s));
  }

  temp_dir dir;
  std::string name, file;
  test_node node;
};

std::string listen_of(int port) {
  return "tcp://127.0.0.1:" + std::to_string(port);
}

/// The word behind another at the beginning of a line.
std::string word_behind(const std::string& text, const std::string& name) {
  const auto at = ("\n" + text).find("\n" + name + " ");
  if (at == std::string::npos)
    return {};
  const auto from = text.find_first_not_of(' ', at + name.size());
  return text.substr(from, text.find_first_of(" \n", from) - from);
}

std::string token_of(const test_node& node,
                     const std::vector<std::string>& more = {}) {
  std::vector<std::string> words{"node", "token"};
  words.insert(words.end(), more.begin(), more.end());
  const auto got = node.caged(words);
  INFO(got.err);
  REQUIRE(got.exit == 0);
  CHECK(decode_join_token(got.out));
  CHECK(has(got.err, "caged-node join tcp://"));
  return got.out;
}

/// It failed, with all these words, and wrote no configuration.
void refused(const host& who, const process_result& got,
             const std::vector<std::string>& words) {
  INFO("stderr: " << got.err);
  CHECK(got.exit != 0);
  CHECK_FALSE(got.timed_out);
  CHECK(got.out.empty());
  for (const auto& word : words)
    CHECK(has(got.err, word));
  CHECK_FALSE(fs::exists(who.file));
}

double refused_tokens(const test_node& node) {
  return node.series("caged_node_clients_refused_total{reason=\"join_token\"")
      .value_or(0);
}

/// Arguments of all processes of this machine.
std::string all_arguments() {
  std::string out;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/proc", none))
    out += read_file(entry.path() / "cmdline") + "\n";
  return out;
}

bool both_ready(const test_node& node) {
  const auto list = node.caged({"node", "list"}).out;
  return has(list, "one   ready") && has(list, "two   ready");
}

} // namespace

TEST_CASE("a fleet is made by init and join, on an etcd with TLS and a "
          "password") {
  if (!etcd_cluster::can_run())
    return;
  etcd_setup how;
  how.tls = true;
  how.flags = {"--bcrypt-cost", "4"};
  etcd_cluster etcd{how};
  REQUIRE(etcd.start());
  ask_for_password(etcd);
  temp_dir files;
  write_file(files / "password", password + "\n", 0600);
  fs::permissions(etcd.files() / "key.pem",
                  fs::perms::owner_read | fs::perms::owner_write);

  host one{"one"}, two{"two"}, three{"three"};
  const auto at = listen_of(free_port());
  const std::vector<std::string> init{"init",
                                      "--listen",
                                      at,
                                      "--store",
                                      "etcds://" + etcd.endpoint(0).text()
                                          + "/fleet",
                                      "--store-ca",
                                      etcd.files() / "ca.pem",
                                      "--store-cert",
                                      etcd.files() / "cert.pem",
                                      "--store-key",
                                      etcd.files() / "key.pem",
                                      "--store-user",
                                      "caged",
                                      "--store-password-file",
                                      files / "password"};
  const auto made = one.setup(init);
  INFO(made.err << made.out);
  REQUIRE(made.exit == 0);
  const auto cluster = word_behind(made.out, "cluster");
  CHECK(is_uuid(cluster));
  CHECK(has(made.out, "caged-node --config " + one.file));
  CHECK(mode_of(one.file) == 0600);
  CHECK_FALSE(has(read_file(one.file), password));
  // Once more, the same cluster; other settings do not replace the file.
  const auto again = one.setup(init);
  CHECK(again.exit == 0);
  CHECK(has(again.out, cluster + " (it exists already)"));
  CHECK(word_behind(again.out, "public key")
        == word_behind(made.out, "public key"));
  auto other = init;
  other[2] = listen_of(free_port());
  const auto kept = one.setup(other);
  CHECK(kept.exit == 1);
  CHECK(has(kept.err, "--force"));
  CHECK(has(read_file(one.file), at));

  REQUIRE(one.node.start());
  const auto token = token_of(one.node);
  const auto second = listen_of(free_port());
  const auto joined = two.join(at, token, {"--listen", second});
  INFO(joined.err << joined.out);
  REQUIRE(joined.exit == 0);
  CHECK(joined.err.empty()); // its store can be used from here
  CHECK(word_behind(joined.out, "cluster") == cluster);
  CHECK(mode_of(two.file) == 0600);
  for (const char* each :
       {"store-ca", "store-cert", "store-key", "store-password-file"})
    CHECK(mode_of(two.node.data_dir() + "/" + each) == 0600);
  // Its answer might have been lost: the same host asks again.
  const auto repeated = two.join(at, token, {"--listen", second, "--force"});
  INFO(repeated.err);
  CHECK(repeated.exit == 0);

  // Another host is too late.
  refused(three, three.join(at, token),
          {"this token was used, by two at 20", "UTC", "caged node token"});
  CHECK(eventually(5s, [&] { return refused_tokens(one.node) == 1; }));
  CHECK(has(one.node.log(), "join_token"));
  CHECK(has(one.node.log(), "127.0.0.1"));

  REQUIRE(two.node.start());
  CHECK(eventually(patient(20s), [&] {
    return both_ready(one.node) && both_ready(two.node);
  }));
  const auto id = one.node.up({"--node", "two", "--no-config"});
  CHECK_FALSE(id.empty());
  CHECK(two.node.caged({"exec", id, "--", "echo", "there"}).out == "there\n");
  // A token of the second works as well.
  const auto last = token_of(two.node);
  const auto third = three.join(second, last);
  INFO(third.err);
  CHECK(third.exit == 0);

  const auto secret = decode_join_token(token).value().key.secret_key;
  const auto store_key = read_file(etcd.files() / "key.pem").substr(40, 40);
  const auto arguments = all_arguments();
  CHECK(has(arguments, two.file)); // they were read
  for (const auto& hidden :
       {token.substr(20, 100), secret, password, store_key})
    for (const auto& seen :
         {arguments, one.node.log(), two.node.log(), made.out + made.err,
          joined.out + joined.err, read_file(two.file)})
      CHECK_FALSE(has(seen, hidden));
  CHECK(one.node.clear() == "");
  CHECK(two.node.clear() == "");
}

TEST_CASE("a join that cannot be is refused, says why, and leaves the token") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  host one{"one"}, two{"two"};
  const auto at = listen_of(free_port());
  const auto made = one.setup({"init", "--listen", at, "--store",
                               "etcd://" + etcd.endpoint(0).text() + "/fleet"});
  INFO(made.err);
  REQUIRE(made.exit == 0);
  REQUIRE(one.node.start());
  const auto text = token_of(one.node);
  const auto token = decode_join_token(text).value();

  // Not on the command line, and not repeated when it is there.
  auto got = two.setup({"join", at, text.substr(0, text.size() - 1)});
  refused(two, got, {"on the command line", "--token-file"});
  CHECK(got.exit == 2);
  CHECK_FALSE(has(got.err, text.substr(20, 40)));
  got = two.setup({"join", at});
  refused(two, got, {"there is no join token", "CAGED_JOIN_TOKEN"});
  for (const auto& garbage :
       {std::string{"hello"}, text.substr(0, 100), std::string(100'000, 'x'),
        std::string(3, '\0'), std::string{"\n"}})
    refused(two, two.join(at, garbage), {"token"});
  refused(two, two.setup({"join", at, "--token-file", two.dir / "none"}),
          {"none cannot be read"});

  // Expired, by this host's clock and, where that is wrong, by the node's.
  const auto brief = token_of(one.node, {"--ttl", "1s"});
  REQUIRE(eventually(10s, [&] {
    return wall_clock_ms() > decode_join_token(brief).value().expires_ms;
  }));
  refused(two, two.join(at, brief), {"this token expired at 20"});
  CHECK(refused_tokens(one.node) == 0);
  auto later = decode_join_token(brief).value();
  later.expires_ms += 3'600'000;
  refused(two, two.join(at, encode(later)), {"this token expired at 20"});
  CHECK(eventually(5s, [&] { return refused_tokens(one.node) == 1; }));

  // Another node's key, another's token, nobody there.
  auto wrong = token;
  wrong.server_key = std::string(40, '1');
  refused(two, two.join(at, encode(wrong)), {"hung up on our greeting"});
  person eve{one.node, "eve", ""};
  wrong = token;
  wrong.key = read_secret_key(eve.key_file()).value();
  refused(two, two.join(at, encode(wrong)), {"does not know this token"});
  refused(two, two.join(listen_of(free_port()), text), {"no node answers at"});
  refused(two, two.join("10.0.0.1:7400", text), {"no tcp://HOST:PORT"});
  wrong = token;
  wrong.cluster = make_uuid();
  refused(two, two.join(at, encode(wrong)), {"this node is of cluster"});

  // The token's key opens nothing else.
  temp_dir keys;
  REQUIRE(write_key_pair(keys / "key", token.key, if_there::refuse));
  process_options with = within(30s);
  with.env = {{"CAGED_ENDPOINT", at},
              {"CAGED_SERVER_KEY", token.server_key},
              {"CAGED_KEY", keys / "key"}};
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"list"},
                                             {"up", "--no-config"},
                                             {"exec", "web", "--", "true"},
                                             {"node", "list"},
                                             {"node", "status"},
                                             {"node", "token"},
                                             {"node", "shutdown"},
                                             {"key", "list"},
                                             {"events"}}) {
    auto argv = words;
    argv.insert(argv.begin(), bin_dir() + "/caged");
    const auto no = run(argv, with);
    INFO(words.front() << ": " << no.err);
    CHECK(no.exit != 0);
    CHECK(no.out.empty());
    CHECK(has(no.err, "may do nothing but join"));
  }

  // A name that is taken; then, after all of that, the token is good.
  host twin{"one"};
  refused(twin, twin.join(at, text),
          {"the fleet has a node that is called", "--node-name"});
  process_options from_environment = within(30s);
  from_environment.env = {{"CAGED_JOIN_TOKEN", text}};
  got = two.setup({"join", at}, from_environment);
  INFO(got.err);
  CHECK(got.exit == 0);
  CHECK(has(got.out, "Without --listen"));
  CHECK(one.node.alive());
  CHECK(one.node.clear() == "");
}

TEST_CASE("of two hosts that use one join token at the same time one joins") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  host one{"one"};
  const auto at = listen_of(free_port());
  REQUIRE(one.setup({"init", "--listen", at, "--store",
                     "etcd://" + etcd.endpoint(0).text() + "/fleet"})
              .exit
          == 0);
  REQUIRE(one.node.start());
  const auto token = token_of(one.node);
  std::vector<std::unique_ptr<host>> hosts;
  std::vector<std::unique_ptr<background>> joins;
  for (int i = 0; i < 4; ++i) {
    hosts.push_back(std::make_unique<host>("host-" + std::to_string(i)));
    const auto& mine = *hosts.back();
    joins.push_back(std::make_unique<background>(
        std::vector<std::string>{bin_dir() + "/caged-node", "join", at,
                                 "--token-file", "-", "--config", mine.file,
                                 "--data-dir", mine.node.data_dir(),
                                 "--run-dir", mine.node.run_dir()},
        with_input(token)));
  }
  int in = 0;
  for (auto& each : joins) {
    REQUIRE(each->wait(patient(30s)));
    in += each->exit() == 0 ? 1 : 0;
    CHECK((each->exit() == 0 || has(each->err(), "this token was used, by")));
  }
  CHECK(in == 1);
  CHECK(eventually(5s, [&] { return refused_tokens(one.node) == 3; }));
  CHECK(one.node.clear() == "");
}

TEST_CASE("a host alone is made by init, and takes no other host in") {
  host solo{"solo"};
  const auto made = solo.setup({"init", "--listen", listen_of(free_port())});
  INFO(made.err);
  REQUIRE(made.exit == 0);
  CHECK(has(made.out, "several hosts need etcd"));
  REQUIRE(solo.node.start());
  CHECK(has(solo.node.caged({"node", "list"}).out, "solo  ready"));
  const auto status = solo.node.caged({"node", "status"}).out;
  CHECK(has(status, word_behind(made.out, "public key")));
  const auto got = solo.node.caged({"node", "token"});
  CHECK(got.exit != 0);
  CHECK(got.out.empty());
  CHECK(has(got.err, "this node keeps its own store; several hosts need etcd"));
  // What runs there is not disturbed.
  const auto again = solo.setup({"init", "--force"});
  CHECK(again.exit == 1);
  CHECK(has(again.err, "in use by another caged-node"));
  CHECK(solo.node.clear() == "");
}
