#include "mcp/allow_list.hpp"

#include <functional>

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using caged::test::temp_dir;

namespace {

/// base/bin has git and ls, base/ws/bin (beneath the workspace) has git too.
struct place {
  temp_dir base;
  std::string bin = base / "bin", ws = base / "ws";

  place() {
    for (const auto& folder : {bin, ws, ws + "/bin"})
      ::mkdir(folder.c_str(), 0755);
    for (const auto& file : {bin + "/git", bin + "/ls", bin + "/sh",
                             ws + "/bin/git", ws + "/bin/only-here"})
      test::write_file(file, "#!/bin/sh\n", 0755);
    test::write_file(bin + "/plain", "", 0644);
    ::mkdir((bin + "/folder").c_str(), 0755);
  }
  allow_list make(const std::vector<std::string>& entries) const {
    return {entries, ".::bin:" + ws + "/bin:" + bin, ws};
  }
};

std::vector<std::string> split(const std::string& text) {
  auto out = split_command(text);
  REQUIRE(out);
  return *out;
}

} // namespace

TEST_CASE("an allowed command is run as the program that PATH had") {
  const place at;
  const auto list = at.make({"git", "ls"});
  for (const std::string text :
       {"git status", "  git   status ", "git status\n", "'git' \"status\"",
        "g\\it status", "\tgit\tstatus"}) {
    const auto found = list.check(text);
    REQUIRE(found);
    CHECK(found->path == at.bin + "/git");
    CHECK(found->argv == std::vector<std::string>{"git", "status"});
  }
  CHECK(list.names() == "git, ls");
  CHECK(list.path() == at.bin);
  REQUIRE(list.check(at.bin + "/git log"));
  REQUIRE(list.check(std::vector<std::string>{"ls", "; rm -rf /"}));
}

// The 19 forms that were tried against the original server.
TEST_CASE("no shell form gets past the allow list") {
  const place at;
  const auto list = at.make({"git", "ls", "echo"});
  const std::vector<std::string> forms{
      "git status; touch pwned",
      "git status && touch pwned",
      "git status || touch pwned",
      "git status | touch pwned",
      "git status & touch pwned",
      "git $(touch pwned)",
      "git `touch pwned`",
      "git status\ntouch pwned",
      "git status > pwned",
      "git status >> pwned",
      "git < /etc/passwd",
      "git() { touch pwned; }; git",
      "git \"$(touch pwned)\"",
      "git \"`touch pwned`\"",
      "git <(touch pwned)",
      "git ${IFS}x",
      "(touch pwned)",
      "FOO=x git status",
      "touch pwned",
      // and more of their kind
      "; touch pwned",
      "git status;touch pwned",
      "git status &",
      "git status\\\ntouch pwned",
      "git \"a\\\nb\"",
      "PATH=. git status",
      "PATH='.' git status",
      "A=1 B=2 git",
      "git *",
      "git ?",
      "git [a]",
      "git ~",
      "git # comment",
      "git 2>&1",
      "git 'unterminated",
      "git \"unterminated",
      "git \\",
      "! git",
      "{ git; }",
      "exec git",
      "sh -c git",
      "command git",
      "env git",
  };
  for (const auto& form : forms) {
    INFO(form);
    const auto found = list.check(form);
    REQUIRE_FALSE(found);
    CHECK_FALSE(found.error().message.empty());
    CHECK_FALSE(found.error().hint.empty());
    CHECK((found.error().code == ec::bad_request
           || found.error().code == ec::denied));
  }
}

TEST_CASE("a name is not allowed because something like it is") {
  const place at;
  const auto list = at.make({"git", "missing", "plain", "folder", "only-here"});
  for (const std::string text :
       {"gitk", "gi", "GIT", "git\r", "./git", "bin/git", "../bin/git",
        "/bin/../bin/git", "git/", "/git", "''", "\"\"", "git\\ status",
        "'git status'", "ls", "sh"}) {
    INFO(text);
    CHECK_FALSE(list.check(text));
  }
  CHECK_FALSE(list.check(at.ws + "/bin/git"));
  CHECK_FALSE(list.check(at.bin + "//git"));
  CHECK_FALSE(list.check(at.bin + "/./git"));
  CHECK_FALSE(list.check(at.bin + "/sh"));
  CHECK_FALSE(list.check(std::vector<std::string>{}));
  CHECK_FALSE(list.check(std::vector<std::string>{""}));
  CHECK_FALSE(list.check(std::vector<std::string>{"", "git"}));
  CHECK_FALSE(list.check(std::vector<std::string>{"git status"}));
  // Allowed, but no program: said so. What lies beneath the workspace is
  // passed over, who can write there would choose the program.
  for (const std::string text : {"missing", "plain", "folder", "only-here"}) {
    const auto found = list.check(text);
    REQUIRE_FALSE(found);
    CHECK(found.error().code == ec::not_found);
  }
}

TEST_CASE("a blank command is refused") {
  const place at;
  for (const auto& list : {at.make({"git"}), at.make({}), at.make({"", "/"})})
    for (const std::string text : {"", " ", "\t", "\n", " \n\n "}) {
      const auto found = list.check(text);
      REQUIRE_FALSE(found);
      CHECK(found.error().code == ec::bad_request);
    }
}

TEST_CASE("a link does not allow its target, a later program not its name") {
  const place at;
  ::symlink((at.bin + "/sh").c_str(), (at.bin + "/hello").c_str());
  const auto list = at.make({"hello", "later"});
  const auto hello = list.check("hello");
  REQUIRE(hello);
  CHECK(hello->path == at.bin + "/hello");
  CHECK_FALSE(list.check(at.bin + "/sh"));
  test::write_file(at.bin + "/later", "#!/bin/sh\n", 0755);
  CHECK_FALSE(list.check("later"));
}

TEST_CASE("an entry with a slash is that very path") {
  const place at;
  const auto list = at.make({at.bin + "/sh", "bin/ls", "./ls"});
  CHECK(list.check(at.bin + "/sh -c x"));
  CHECK_FALSE(list.check("sh -c x"));
  CHECK_FALSE(list.check("bin/ls"));
  CHECK_FALSE(list.check("./ls"));
}

TEST_CASE("quotes are those of the shell") {
  using words = std::vector<std::string>;
  CHECK(split("a 'b c' \"d e\" f\\ g") == words{"a", "b c", "d e", "f g"});
  CHECK(split("a '' \"\"") == words{"a", "", ""});
  CHECK(split("a x'y'\"z\"") == words{"a", "xyz"});
  CHECK(split("a '$(x) `y` ; | & < > * \\'")
        == words{"a", "$(x) `y` ; | & < > * \\"});
  CHECK(split("a \"; | & < > ( ) * ? ~ #\"")
        == words{"a", "; | & < > ( ) * ? ~ #"});
  CHECK(split(R"(a "\$x \` \" \\ \n")") == words{"a", R"($x ` " \ \n)"});
  CHECK(split("a \\; \\$x \\* \\'") == words{"a", ";", "$x", "*", "'"});
  CHECK(split("a x=1 --y=2 z~ q#r 'x\ny' {1,2} ! %")
        == words{"a", "x=1", "--y=2", "z~", "q#r", "x\ny", "{1,2}", "!", "%"});
  CHECK(split("git show HEAD~1 HEAD^")
        == words{"git", "show", "HEAD~1", "HEAD^"});
  CHECK(split("a \xc3\xa4\x01\x7f") == words{"a", "\xc3\xa4\x01\x7f"});
  CHECK_FALSE(split_command(std::string_view{"a\0b", 3}));
}

TEST_CASE("what is accepted is the argv that sh would run") {
  // Every text of up to four of these letters.
  const std::string letters = "a '\"\\$=;\n*~#";
  std::vector<std::string> accepted;
  std::string text;
  const std::function<void(int)> grow = [&](int left) {
    if (auto words = split_command("printf '%s.' " + text + " -"); words)
      accepted.push_back(text);
    if (left > 0)
      for (const auto c : letters) {
        text += c;
        grow(left - 1);
        text.pop_back();
      }
  };
  grow(4);
  REQUIRE(accepted.size() > 1000);
  std::string script, expected;
  for (const auto& each : accepted) {
    script += "printf '%s.' " + each + " -\necho\n";
    const auto words = split("printf '%s.' " + each + " -");
    for (std::size_t i = 2; i < words.size(); ++i)
      expected += words[i] + ".";
    expected += "\n";
  }
  test::process_options options;
  options.in = script;
  const auto shell = test::run({"/bin/sh"}, options);
  CHECK(shell.out == expected);
}
