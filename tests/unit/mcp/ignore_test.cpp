#include "mcp/ignore.hpp"

#include <map>
#include <random>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;

namespace {

bool ignored(const std::string& rules, const std::string& path,
             bool is_folder = false) {
  return ignore_rules{}.with("", rules).ignored_with_parents(path, is_folder);
}

bool have_git() {
  return run({"git", "--version"}).exit == 0;
}

void make_folders(const std::string& root, const std::string& path) {
  for (auto at = path.find('/'); at != std::string::npos;
       at = path.find('/', at + 1))
    ::mkdir((root + "/" + path.substr(0, at)).c_str(), 0755);
}

/// What git says of paths in a repository; those that end in / are folders.
std::map<std::string, bool> ask_git(const std::string& root,
                                    const std::vector<std::string>& paths) {
  process_options options;
  options.cwd = root;
  options.env = {{"GIT_CONFIG_GLOBAL", "/dev/null"},
                 {"GIT_CONFIG_SYSTEM", "/dev/null"}};
  for (const auto& each : paths)
    options.in += each + '\0';
  auto said =
      run({"git", "check-ignore", "-z", "--no-index", "--stdin"}, options);
  INFO(said.err);
  REQUIRE(said.exit <= 1);
  std::map<std::string, bool> out;
  for (const auto& each : paths)
    out[each] = false;
  for (std::size_t at = 0; at < said.out.size();) {
    const auto end = said.out.find('\0', at);
    out[said.out.substr(at, end - at)] = true;
    at = end + 1;
  }
  return out;
}

struct repository {
  temp_dir dir;
  repository() {
    process_options options;
    options.cwd = dir.path();
    REQUIRE(run({"git", "init", "-q"}, options).exit == 0);
  }
  void write(const std::string& path, const std::string& text) {
    make_folders(dir.path(), path);
    write_file(dir / path, text);
  }
};

/// Ours and git's opinion of each path, with the rules of all folders above it.
void compare(const repository& repo, const std::vector<std::string>& paths) {
  auto where = workspace::open(repo.dir.path());
  REQUIRE(where.has_value());
  const auto git = ask_git(repo.dir.path(), paths);
  for (const auto& [given, theirs] : git) {
    const auto is_folder = given.back() == '/';
    const auto path = is_folder ? given.substr(0, given.size() - 1) : given;
    auto ours = false;
    for (auto at = path.find('/');; at = path.find('/', at + 1)) {
      const auto part = path.substr(0, at);
      const auto slash = part.rfind('/');
      const auto folder =
          slash == std::string::npos ? "" : part.substr(0, slash);
      const auto whole = at == std::string::npos;
      ours = ours
             || ignore_rules::of_folder(*where, folder)
                    .ignored(part, whole ? is_folder : true);
      if (whole)
        break;
    }
    INFO("path " << given << ", rules\n" << read_file(repo.dir / ".gitignore"));
    CHECK(ours == theirs);
  }
}

} // namespace

TEST_CASE("ignore rules as gitignore(5) describes them") {
  struct row {
    const char *rules, *path;
    bool is_folder, ignored;
  };
  const row rows[] = {
      {"*.o", "a.o", false, true},
      {"*.o", "x/y/a.o", false, true},
      {"*.o\n!keep.o", "keep.o", false, false},
      {"!keep.o\n*.o", "keep.o", false, true},
      {"build/", "build", true, true},
      {"build/", "build", false, false},
      {"build/", "x/build/a", false, true},
      {"/build", "x/build", true, false},
      {"/build", "build", true, true},
      {"doc/*.txt", "doc/a.txt", false, true},
      {"doc/*.txt", "doc/x/a.txt", false, false},
      {"doc/*.txt", "x/doc/a.txt", false, false},
      {"**/foo", "a/b/foo", false, true},
      {"**/foo/bar", "a/foo/bar", false, true},
      {"abc/**", "abc/x/y", false, true},
      {"abc/**", "abc", true, false},
      {"a/**/b", "a/b", false, true},
      {"a/**/b", "a/x/y/b", false, true},
      {"# no", "# no", false, false},
      {"\\#yes", "#yes", false, true},
      {"\\!yes", "!yes", false, true},
      {"trail  ", "trail", false, true},
      {"trail\\ ", "trail ", false, true},
      {"trail\\ ", "trail", false, false},
      {"crlf\r\nnext\r\n", "crlf", false, true},
      {"\xEF\xBB\xBF"
       "bom",
       "bom", false, true},
      {"foo[", "foo[", false, false},
      {"foo\\", "foo\\", false, false},
      {"[ab]c", "bc", false, true},
      {"/", "a", false, false},
      {"", "a", false, false},
      {"/*\n!/foo\n/foo/*\n!/foo/bar", "foo/bar/x", false, false},
      {"/*\n!/foo\n/foo/*\n!/foo/bar", "foo/baz", false, true},
      {"x\n!x/y", "x/y", false, true},
      {"", ".git", true, true},
      {"!.git", "sub/.git", true, true},
      {"{a,b}", "a", false, false},
      {"{a,b}", "{a,b}", false, true},
  };
  for (const auto& each : rows) {
    INFO(each.rules << " and " << each.path);
    CHECK(ignored(each.rules, each.path, each.is_folder) == each.ignored);
  }
}

TEST_CASE("ignore rules of nested folders win over those above") {
  auto rules =
      ignore_rules{}.with("", "*.log\n/top").with("a/b", "!x.log\n/top");
  CHECK(rules.ignored("a/x.log", false));
  CHECK_FALSE(rules.ignored("a/b/x.log", false));
  CHECK_FALSE(rules.ignored("a/b/c/x.log", false));
  CHECK(rules.ignored("a/b/y.log", false));
  CHECK(rules.ignored("a/b/top", false));
  CHECK_FALSE(rules.ignored("a/b/c/top", false));
  CHECK(rules.ignored("top", false));
}

TEST_CASE("ignore rules agree with git check-ignore on a table") {
  if (!have_git()) {
    WARN("SKIPPED: no git");
    return;
  }
  const std::vector<std::string> paths = {
      "a",           "b",           "a.o",         "x/a.o",       "x/y/a.o",
      "keep.o",      "x/keep.o",    "build/",      "x/build/",    "build/a",
      "doc/a.txt",   "doc/x/b.txt", "x/doc/a.txt", "foo/bar/baz", "foo/",
      "#hash",       "!bang",       "sp ace",      "trail ",      "trail",
      "a/b/c/d",     "a/b/",        "abc/def",     "[x]",         "x",
      "dir/.hidden", ".env",        "tmp~",        "A.O",         "b\\c"};
  const std::vector<std::string> rules = {"*.o\n!keep.o\n",
                                          "build/\n",
                                          "/build/\n",
                                          "doc/*.txt\n",
                                          "**/foo\n",
                                          "foo/**\n",
                                          "a/**/d\n",
                                          "/*\n!/foo\n/foo/*\n!/foo/bar\n",
                                          "\\#hash\n\\!bang\n",
                                          "trail\\ \n",
                                          "trail \n",
                                          "*\n!*/\n!*.txt\n",
                                          "[x]\n",
                                          "\\[x\\]\n",
                                          "[!a-c]\n",
                                          "x/\n!x/keep.o\n",
                                          ".*\n",
                                          "*~\n",
                                          "?\n",
                                          "a/b\n",
                                          "a/*\n!a/b\n",
                                          "**\n",
                                          "**/\n",
                                          "/**\n",
                                          "***\n",
                                          "/**/b/\n",
                                          "x/**/\n",
                                          "b\\\\c\n",
                                          "[[:upper:]]*\n",
                                          "a*/b*\n",
                                          "*/a.o\n",
                                          "foo//bar\n",
                                          "//a\n",
                                          "!\n*.o\n",
                                          "[a-\n*.o\n",
                                          "build\n!build/\n",
                                          "doc\r\n*.o\r\n"};
  for (const auto& text : rules) {
    repository repo;
    for (const auto& each : paths)
      make_folders(repo.dir.path(), each);
    repo.write(".gitignore", text);
    compare(repo, paths);
  }
}

TEST_CASE("ignore rules agree with git check-ignore on random ones") {
  if (!have_git()) {
    WARN("SKIPPED: no git");
    return;
  }
  const std::vector<std::string> pieces = {"a",  "b",  "*",  "?",  "[ab]",
                                           "a*", "*b", "**", "ab", "\\a"};
  const std::vector<std::string> names = {"a", "b", "ab", "ba", "aab", ".a"};
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random{seed};
  const auto pick = [&](const auto& of) { return of[random() % of.size()]; };
  for (auto round = 0; round < 12; ++round) {
    repository repo;
    for (const auto* where : {"", "a/", "a/b/"}) {
      std::string text;
      for (auto line = 0; line < 5; ++line) {
        if (random() % 4 == 0)
          text += '!';
        if (random() % 4 == 0)
          text += '/';
        const auto parts = 1 + random() % 3;
        for (std::size_t i = 0; i < parts; ++i)
          text += (i > 0 ? "/" : "") + pick(pieces);
        text += random() % 4 == 0 ? "/\n" : "\n";
      }
      repo.write(std::string{where} + ".gitignore", text);
    }
    std::vector<std::string> paths;
    for (auto i = 0; i < 60; ++i) {
      auto path = pick(names);
      for (auto n = random() % 4; n > 0; --n)
        path += "/" + pick(names);
      if (random() % 3 == 0)
        path += '/';
      make_folders(repo.dir.path(), path);
      paths.push_back(path);
    }
    compare(repo, paths);
  }
}

TEST_CASE("a folder with a repository of its own has its own ignore rules") {
  temp_dir dir;
  for (const auto* each : {"sub", "sub/.git", "sub/.git/info", "plain"})
    ::mkdir((dir / each).c_str(), 0755);
  write_file(dir / ".gitignore", "*.log\n");
  write_file(dir / "sub/.git/info/exclude", "*.tmp\n");
  auto where = workspace::open(dir.path());
  REQUIRE(where.has_value());
  CHECK(ignore_rules::of_folder(*where, "plain").ignored("plain/a.log", false));
  const auto sub = ignore_rules::of_folder(*where, "sub");
  CHECK_FALSE(sub.ignored("sub/a.log", false));
  CHECK(sub.ignored("sub/a.tmp", false));
  CHECK(ignore_rules::of_folder(*where, ".").ignored("a.log", false));
  CHECK(ignore_rules::of_folder(*where, "missing/x").ignored("a.log", false));
}

TEST_CASE("hostile ignore files cost little and say nothing") {
  temp_dir dir;
  auto where = workspace::open(dir.path());
  REQUIRE(where.has_value());
  SECTION("a link is not followed") {
    write_file(dir / "rules", "*\n");
    REQUIRE(::symlink("rules", (dir / ".gitignore").c_str()) == 0);
    CHECK(ignore_rules::of_folder(*where, "").empty());
  }
  SECTION("a FIFO does not block") {
    REQUIRE(::mkfifo((dir / ".gitignore").c_str(), 0644) == 0);
    CHECK(ignore_rules::of_folder(*where, "").empty());
  }
  SECTION("a folder of that name") {
    REQUIRE(::mkdir((dir / ".gitignore").c_str(), 0755) == 0);
    CHECK(ignore_rules::of_folder(*where, "").empty());
  }
  SECTION("too large") {
    write_file(dir / ".gitignore", std::string(2U << 20U, '*'));
    CHECK(ignore_rules::of_folder(*where, "").empty());
  }
  SECTION("a hundred thousand rules: the first 20,000 count") {
    std::string text;
    for (auto i = 0; i < 100'000; ++i)
      text += "f" + std::to_string(i) + "\n";
    const auto rules = ignore_rules{}.with("", text);
    CHECK(rules.ignored("f19999", false));
    CHECK_FALSE(rules.ignored("f20000", false));
  }
  SECTION("bytes that are no text") {
    std::string text;
    for (auto i = 0; i < 256; ++i)
      text += std::string(1, static_cast<char>(i)) + "[\\\n";
    const auto rules = ignore_rules{}.with("", text);
    CHECK_FALSE(rules.ignored("a", false));
  }
}
