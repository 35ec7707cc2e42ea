#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "cli/project_file.hpp"

using namespace caged;
using namespace caged::cli;
namespace fs = std::filesystem;

namespace {

struct project {
  fs::path dir;
  project() {
    char name[] = "/tmp/caged-project-XXXXXX";
    dir = fs::canonical(::mkdtemp(name));
  }
  ~project() { fs::remove_all(dir); }

  void write(const fs::path& name, const std::string& text) const {
    fs::create_directories((dir / name).parent_path());
    std::ofstream{dir / name} << text;
  }
  result<up_options> read(const std::string& text,
                          const std::string& flag = {}) const {
    write(project_file_name, text);
    up_options out;
    auto good = read_project_file(
        dir / project_file_name, out,
        [&](const std::string& asked) { return asked == flag; });
    if (!good)
      return tl::unexpected<failure>(good.error());
    return out;
  }
  /// The file is refused at this line with all of these words.
  void refuses(const std::string& text, int line,
               const std::vector<std::string>& words) const {
    INFO(text);
    auto got = read(text);
    REQUIRE_FALSE(got.has_value());
    const auto& why = got.error();
    INFO(why.message << " / " << why.hint);
    CHECK(why.message.rfind((dir / project_file_name).string() + ":"
                                + std::to_string(line) + ": ",
                            0)
          == 0);
    for (const auto& word : words)
      CHECK((why.message + why.hint).find(word) != std::string::npos);
  }
};

} // namespace

TEST_CASE("a project file sets every option of up") {
  project in;
  auto got = in.read("# a comment\n"
                     "template: minimal\nruntime: oci\ncpus: 4\nmemory: 1g\n"
                     "disk: 7\npids: 99\nnetwork: none\n"
                     "env: {A: 1, B: 'two words', C: true}\n"
                     "labels:\n  team: blue\nname: web\nworkdir: /srv\n"
                     "node: worker-1\nrequire: {zone: a}\n"
                     "init_script: |\n  echo one\n"
                     "command: [sh, -c, 'exit 3']\n");
  REQUIRE(got.has_value());
  CHECK(got->spec.cpus == 4);
  CHECK(got->memory == "1g");
  CHECK(got->disk == "7");
  CHECK(got->spec.pids == 99);
  CHECK(got->network == "none");
  CHECK(got->spec.env
        == std::map<std::string, std::string>{
            {"A", "1"}, {"B", "two words"}, {"C", "true"}});
  CHECK(got->spec.labels.at("team") == "blue");
  CHECK(got->spec.name == "web");
  CHECK(got->spec.workdir == "/srv");
  CHECK(got->node == "worker-1");
  CHECK(got->require == std::map<std::string, std::string>{{"zone", "a"}});
  CHECK(got->spec.init_script == "echo one\n");
  CHECK(got->command == std::vector<std::string>{"sh", "-c", "exit 3"});
  CHECK(in.read("command: exit 3\n")->command
        == std::vector<std::string>{"/bin/sh", "-c", "exit 3"});
  CHECK(in.read("").has_value());
}

TEST_CASE("a flag wins over the file, whose value must be right all the same") {
  project in;
  CHECK(in.read("cpus: 4\nname: web\n", "--cpus")->spec.cpus
        == limits::cpus_default);
  CHECK(in.read("cpus: 4\nname: web\n", "--cpus")->spec.name == "web");
  CHECK(in.read("command: [a]\n", "command")->command.empty());
  CHECK_FALSE(in.read("cpus: 99\n", "--cpus").has_value());
}

TEST_CASE("what a project file cannot say is refused with its line") {
  project in;
  in.refuses("cpus: 1\nmemry: 1g\n", 2, {"memry", "memory"});
  in.refuses("init-script: x\n", 1, {"init-script", "init_script"});
  in.refuses("cpus: 9\n", 1, {"cpus", "9", "1 to 8"});
  in.refuses("cpus: two\n", 1, {"cpus", "two", "whole number"});
  in.refuses("cpus: 1.5\n", 1, {"whole number"});
  in.refuses("cpus: -1\n", 1, {"whole number"});
  in.refuses("cpus: [1]\n", 1, {"cpus", "one value"});
  in.refuses("cpus:\n", 1, {"cpus", "no value"});
  in.refuses("\n\nmemory: 64\n", 3, {"memory", "64", "128"});
  in.refuses("memory: lots\n", 1, {"lots", "512"});
  in.refuses("disk: 51g\n", 1, {"disk", "51", "50"});
  in.refuses("pids: 5\n", 1, {"pids", "16"});
  in.refuses("network: some\n", 1, {"some", "allowlist"});
  in.refuses("runtime: qemu\n", 1, {"qemu", "oci"});
  in.refuses("node: [a]\n", 1, {"node", "one value"});
  in.refuses("require: a\n", 1, {"require", "map"});
  in.refuses("require:\n  zone:\n", 2, {"require", "zone", "no value"});
  in.refuses("name: No Good\n", 1, {"No Good", "a-z"});
  in.refuses("workdir: here\n", 1, {"here", "absolute"});
  in.refuses("env: [A=1]\n", 1, {"env", "map"});
  in.refuses("env:\n  A: 1\n  B: [2]\n", 3, {"B"});
  in.refuses("env:\n  A: 1\n  B:\n", 3, {"B", "no value"});
  in.refuses("env:\n  A: 1\n  A: 2\n", 3, {"A", "twice"});
  in.refuses("env:\n  X=Y: 1\n", 2, {"X=Y"});
  in.refuses("labels:\n  '-x': 1\n", 2, {"-x"});
  in.refuses("cpus: 1\ncpus: 2\n", 2, {"cpus", "twice"});
  in.refuses("command: {a: b}\n", 1, {"command", "list"});
  in.refuses("command: []\n", 1, {"command"});
  in.refuses("- a\n", 1, {"KEY: VALUE"});
  in.refuses("cpus: 1\n  bad: [\n", 2, {"YAML"});
  in.refuses("cpus: &a 1\nname: *b\n", 2, {"YAML"});
  in.refuses(std::string(100000, '['), 1, {"YAML"});
  CHECK_FALSE(in.read(std::string(300 * 1024, '#')).has_value());
}

TEST_CASE("an init script in one line is a file beside the project file") {
  project in;
  in.write("ops/setup.sh", "echo setup\n");
  CHECK(in.read("init_script: ops/setup.sh\n")->spec.init_script
        == "echo setup\n");
  in.refuses("cpus: 1\ninit_script: absent.sh\n", 2, {"absent.sh", "|"});
  in.refuses("init_script: ops\n", 1, {"ops"});
  // A stranger's repository gets no file of its user.
  in.refuses("init_script: /etc/passwd\n", 1, {"/etc/passwd", "directory"});
  in.refuses("init_script: ../../etc/passwd\n", 1, {"directory"});
  fs::create_symlink("/etc/passwd", in.dir / "link");
  in.refuses("init_script: link\n", 1, {"link", "directory"});
  in.write("long.sh", std::string(limits::init_script_max + 1, '#'));
  in.refuses("init_script: long.sh\n", 1, {"long.sh", "65536"});
}

TEST_CASE("a project file is looked for up to the repository or home") {
  project in;
  auto name = fs::path{project_file_name};
  in.write("home/.caged.yaml", "");
  in.write("home/repo/.git/HEAD", "");
  in.write("home/repo/a/b/file", "");
  in.write("home/plain/x/file", "");
  auto home = in.dir / "home";
  CHECK_FALSE(find_project_file(home / "repo/a/b", home).has_value());
  CHECK(find_project_file(home / "plain/x", home) == home / name);
  in.write("home/repo/.caged.yaml", "");
  CHECK(find_project_file(home / "repo/a/b", home) == home / "repo" / name);
  in.write("home/repo/a/.caged.yaml", "");
  CHECK(find_project_file(home / "repo/a/b", home) == home / "repo/a" / name);
  // Outside of both only the directory itself counts.
  CHECK_FALSE(find_project_file(home / "plain/x", "/nowhere").has_value());
  CHECK(find_project_file(home, "") == home / name);
}
