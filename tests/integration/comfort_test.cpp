#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"

// What makes the command line pleasant: completion, YAML, .caged.yaml, doctor,
// and documents that cannot fall behind.
using namespace caged::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);)
    out.push_back(line);
  return out;
}

bool offers(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

process_result plain_caged(std::vector<std::string> args,
                           const process_options& options = {}) {
  args.insert(args.begin(), bin_dir() + "/caged");
  return run(args, options);
}

/// What bash offers for the last of these words, which are parted as readline
/// does it.
std::vector<std::string> bash_completes(std::vector<std::string> words,
                                        const std::string& endpoint = {}) {
  process_options with;
  with.env["PATH"] = bin_dir() + ":/usr/bin:/bin";
  if (!endpoint.empty())
    with.env["CAGED_ENDPOINT"] = endpoint;
  words.insert(words.begin(),
               {"bash", "--norc", "-c",
                "source <(caged completion bash) || exit 9; "
                "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _caged; "
                "printf '%s\\n' \"${COMPREPLY[@]}\"",
                "bash"});
  auto got = run(words, with);
  INFO(got.err);
  CHECK(got.exit == 0);
  CHECK(got.err.empty());
  return lines_of(got.out);
}

bool installed(const std::string& program) {
  return run({"sh", "-c", "command -v " + program}).exit == 0;
}

} // namespace

TEST_CASE("bash completes verbs, flags and choices") {
  auto verbs = bash_completes({"caged", ""});
  for (const char* verb : {"up", "exec", "list", "ls", "destroy", "node"})
    CHECK(offers(verbs, verb));
  CHECK_FALSE(offers(verbs, "__complete"));
  CHECK(bash_completes({"caged", "des"})
        == std::vector<std::string>{"destroy"});
  CHECK(offers(bash_completes({"caged", "node", "sh"}), "shutdown"));
  auto flags = bash_completes({"caged", "up", "--"});
  for (const char* flag : {"--name", "--memory", "--endpoint", "--help"})
    CHECK(offers(flags, flag));
  CHECK_FALSE(offers(flags, "--force"));
  CHECK(offers(bash_completes({"caged", "rm", "--"}), "--force"));
  CHECK(bash_completes({"caged", "list", "--format", "j"})
        == std::vector<std::string>{"json"});
  CHECK(bash_completes({"caged", "--format", "=", "y"})
        == std::vector<std::string>{"yaml"});
  CHECK(bash_completes({"caged", "completion", ""})
        == std::vector<std::string>{"bash", "zsh", "fish"});
  // A flag's value is no verb.
  CHECK(offers(bash_completes({"caged", "--format", "json", "li"}), "list"));
}

TEST_CASE("bash completes files where a file is wanted") {
  temp_dir dir;
  write_file(dir / "setup script.sh", "true\n");
  CHECK(bash_completes({"caged", "up", "--init-script", dir / "set"})
        == std::vector<std::string>{dir / "setup script.sh"});
}

TEST_CASE("bash completes ids and names of sandboxes, of the line's endpoint") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--name", "webshop", "--memory", "128"});
  REQUIRE_FALSE(id.empty());
  auto all = bash_completes({"caged", "exec", ""}, node.endpoint());
  CHECK(offers(all, id));
  CHECK(offers(all, "webshop"));
  CHECK(bash_completes({"caged", "rm", "other", "web"}, node.endpoint())
        == std::vector<std::string>{"webshop"});
  CHECK(bash_completes({"caged", "exec", "-t", "-w", "/", id.substr(0, 7)},
                       node.endpoint())
        == std::vector<std::string>{id});
  // The command behind the sandbox is none.
  CHECK_FALSE(offers(
      bash_completes({"caged", "exec", id, "w"}, node.endpoint()), "webshop"));
  auto path = node.endpoint().substr(std::string{"ipc:"}.size());
  CHECK(bash_completes({"caged", "--endpoint", "ipc", ":", path, "why", "web"},
                       "ipc:///nowhere")
        == std::vector<std::string>{"webshop"});
  CHECK(node.clear() == "");
}

TEST_CASE("bash completes ids and names of nodes") {
  test_node node{{"--node-name", "worker-1"}};
  REQUIRE(node.start());
  const auto all =
      bash_completes({"caged", "node", "get", ""}, node.endpoint());
  CHECK(offers(all, "worker-1"));
  CHECK(all.size() == 2); // and its id
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"caged", "node", "cordon", "other", "work"},
           {"caged", "node", "rm", "-f", "work"},
           {"caged", "up", "--node", "work"}})
    CHECK(bash_completes(words, node.endpoint())
          == std::vector<std::string>{"worker-1"});
  CHECK(node.clear() == "");
}

TEST_CASE("completion is silent without a node, and beside one that hangs") {
  auto none = plain_caged(
      {"__complete", "sandboxes", "--endpoint", "ipc:///nowhere/at/all"});
  CHECK(none.exit == 0);
  CHECK(none.out.empty());
  CHECK(none.err.empty());

  temp_dir dir;
  auto path = dir / "mute.sock";
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof at.sun_path);
  std::copy(path.begin(), path.end(), at.sun_path);
  int mute = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(mute >= 0);
  REQUIRE(::bind(mute, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  REQUIRE(::listen(mute, 8) == 0);
  auto hangs =
      plain_caged({"__complete", "sandboxes", "--endpoint", "ipc://" + path});
  ::close(mute);
  CHECK(hangs.exit == 0);
  CHECK(hangs.out.empty());
  CHECK(hangs.err.empty());
}

TEST_CASE("the completion scripts of zsh and fish are well-formed") {
  temp_dir dir;
  int checked = 0;
  for (const std::string shell : {"zsh", "fish"}) {
    auto script = plain_caged({"completion", shell});
    CHECK(script.exit == 0);
    CHECK(has(script.out, "sandboxes"));
    if (!installed(shell)) {
      std::fprintf(stderr, "not checked: %s is not installed\n", shell.c_str());
      continue;
    }
    write_file(dir / shell, script.out);
    auto got =
        run({shell, shell == "zsh" ? "-n" : "--no-execute", dir / shell});
    INFO(shell << ": " << got.err);
    CHECK(got.exit == 0);
    CHECK(got.err.empty());
    ++checked;
  }
  if (checked == 0)
    skip("neither zsh nor fish is installed");
}

TEST_CASE("yaml and json say the same, and list, get and version know both") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(
      node.up({"--name", "web", "--memory", "128", "-l", "a=no"}).empty());
  auto list = node.caged({"list", "--format", "yaml"});
  CHECK(list.exit == 0);
  CHECK(has(list.out, "- agent_version: "));
  CHECK(has(list.out, "  name: web\n"));
  CHECK(has(list.out, "    a: \"no\"\n"));
  CHECK(has(node.caged({"get", "web", "--format", "yaml"}).out,
            "memory_mb: 128\n"));
  CHECK(has(node.caged({"node", "status", "--format", "yaml"}).out,
            "by_state:\n"));
  CHECK(has(plain_caged({"version", "--format", "yaml"}).out, "protocol: "));
  CHECK(node.caged({"list", "--format", "xml"}).exit == 2);
  CHECK(node.clear() == "");
}

TEST_CASE("up reads .caged.yaml of the project, flags win, errors name lines") {
  test_node node;
  REQUIRE(node.start());
  temp_dir dir;
  fs::create_directories(dir / "repo/.git");
  fs::create_directories(dir / "repo/deep/down");
  write_file(dir / "repo/setup.sh", "echo $GREETING > /workspace/made\n");
  write_file(dir / "repo/.caged.yaml",
             "memory: 192\ncpus: 1\nname: project\n"
             "env:\n  GREETING: from the file\n  OTHER: kept\n"
             "labels: {team: blue}\ninit_script: setup.sh\n");
  process_options there;
  there.cwd = dir / "repo/deep/down";
  auto up =
      node.caged({"up", "--cpus", "2", "-e", "GREETING=from a flag"}, there);
  INFO(up.err);
  REQUIRE(up.exit == 0);
  auto got =
      json::parse(node.caged({"get", "project", "--format", "json"}).out);
  CHECK(got["memory_mb"] == 192);
  CHECK(got["cpus"] == 2);
  CHECK(got["labels"]["team"] == "blue");
  CHECK(node.caged({"exec", "project", "--", "sh", "-c",
                    "cat /workspace/made; echo $OTHER"})
            .out
        == "from a flag\nkept\n");

  // The command of the file, and its exit code.
  write_file(dir / "job.yaml", "memory: 128\ncommand: echo ran; exit 7\n");
  auto job = node.caged({"up", "--config", dir / "job.yaml"}, there);
  CHECK(job.exit == 7);
  CHECK(job.out == "ran\n");
  auto other = node.caged(
      {"up", "--config", dir / "job.yaml", "--", "echo", "flags", "win"},
      there);
  CHECK(other.exit == 0);
  CHECK(other.out == "flags win\n");

  write_file(dir / "repo/.caged.yaml", "memory: 128\ncpu: 1\n");
  auto bad = node.caged({"up"}, there);
  CHECK(bad.exit == 1);
  CHECK(bad.out.empty());
  CHECK(has(bad.err, ".caged.yaml:2: "));
  CHECK(has(bad.err, "cpus"));
  CHECK(node.caged({"up", "--no-config"}, there).exit == 0);
  CHECK(node.caged({"up", "--config", dir / "absent.yaml"}, there).exit == 1);
  CHECK(node.caged({"up", "--no-config", "--config", dir / "job.yaml"}, there)
            .exit
        == 2);
  CHECK(node.clear() == "");
}

TEST_CASE("doctor says of this host what a node that runs here proves") {
  test_node node;
  REQUIRE(node.start());
  auto got =
      node.caged({"doctor", "--data-dir", node.data_dir(), "--format", "json"});
  INFO(got.out << got.err);
  auto said = json::parse(got.out);
  CHECK(got.exit == (said["bad"] == 0 ? 0 : 1));
  for (const auto& check : said["checks"]) {
    INFO(check.dump());
    CHECK(!check["found"].get<std::string>().empty());
    // The node runs: what it cannot do without is there.
    if (check["check"] != "disk" && check["check"] != "group caged")
      CHECK(check["result"] == "ok");
  }
  auto people = node.caged({"doctor", "--data-dir", node.data_dir()});
  CHECK(has(people.out, "RESULT"));
  CHECK(has(people.out, "answers at " + node.endpoint()));
  CHECK(node.caged({"doctor", "--data-dir", "relative"}).exit == 1);
  auto bad = node.caged({"doctor", "--data-dir", "/proc", "--format", "json"});
  CHECK(bad.exit == 1);
  CHECK(json::parse(bad.out)["bad"] > 0);
}

TEST_CASE("the reference and the manual pages are those of this program") {
  // build/PRESET/bin
  auto root = fs::absolute(bin_dir()) / "../../..";
  if (!fs::exists(root / "ops/docs")) {
    skip("the programs are not in a build folder of the sources");
    return;
  }
  process_options with;
  with.env["CAGED_BIN_DIR"] = fs::absolute(bin_dir()).string();
  auto docs = (root / "ops/docs").string();
  auto same = run({docs, "--check"}, with);
  INFO(same.out << same.err);
  CHECK(same.exit == 0);

  // A copy that fell behind is told.
  temp_dir dir;
  fs::create_directories(dir / "ops");
  fs::create_directories(dir / "docs");
  fs::copy_file(docs, dir / "ops/docs");
  fs::copy(root / "docs/man", dir / "docs/man", fs::copy_options::recursive);
  write_file(dir / "docs/cli.md", read_file(root / "docs/cli.md"));
  CHECK(run({dir / "ops/docs", "--check"}, with).exit == 0);
  write_file(dir / "docs/man/caged-gone.1", "old\n");
  auto stale = run({dir / "ops/docs", "--check"}, with);
  CHECK(stale.exit == 1);
  CHECK(has(stale.out, "caged-gone.1"));
  CHECK(run({dir / "ops/docs"}, with).exit == 0);
  CHECK_FALSE(fs::exists(dir / "docs/man/caged-gone.1"));
  CHECK(run({dir / "ops/docs", "--check"}, with).exit == 0);
  write_file(dir / "docs/cli.md", "old\n");
  CHECK(run({dir / "ops/docs", "--check"}, with).exit == 1);
}

TEST_CASE("every verb has a manual page, and hidden ones have none") {
  auto pages = lines_of(plain_caged({"__docs", "man"}).out);
  for (const char* page : {"caged", "caged-up", "caged-node-status"})
    CHECK(offers(pages, page));
  // caged-node is the daemon's name.
  CHECK_FALSE(offers(pages, "caged-node"));
  CHECK_FALSE(offers(pages, "caged-__docs"));
  auto up = plain_caged({"__docs", "man", "caged-up"});
  CHECK(up.out.find("\n.TH CAGED-UP 1 ") != std::string::npos);
  CHECK(has(up.out, "\\-\\-memory"));
  CHECK(plain_caged({"__docs", "man", "caged-none"}).exit == 1);
  CHECK_FALSE(has(plain_caged({"--help"}).out, "__docs"));
}
