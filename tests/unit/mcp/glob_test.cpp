#include "mcp/glob.hpp"

#include <chrono>

#include <catch2/catch.hpp>

using namespace caged;
using namespace caged::mcp;

namespace {

glob make(std::string_view pattern, bool dots = false, bool icase = false) {
  glob_options options;
  options.dots = dots;
  options.case_insensitive = icase;
  auto made = glob::parse(pattern, options);
  INFO(pattern);
  REQUIRE(made.has_value());
  return std::move(*made);
}

bool fits(std::string_view pattern, std::string_view path, bool dots = false,
          bool icase = false) {
  const auto slash = path.rfind('/');
  return make(pattern, dots, icase)
      .matches(path, slash == std::string_view::npos ? 0 : slash + 1);
}

failure refused(std::string_view pattern) {
  auto made = glob::parse(pattern, {});
  INFO(pattern);
  REQUIRE_FALSE(made.has_value());
  return made.error();
}

} // namespace

TEST_CASE("a glob without a slash matches names in every folder") {
  CHECK(fits("*.go", "a.go"));
  CHECK(fits("*.go", "x/y/a.go"));
  CHECK_FALSE(fits("*.go", "x/a.gox"));
  CHECK(fits("main.c", "src/main.c"));
  CHECK_FALSE(fits("main.c", "src/xmain.c"));
  CHECK(fits("test*", "a/test_b"));
  CHECK(fits("*", "a/b"));
  CHECK(fits("**", "a/b"));
  CHECK(fits("a*b*c", "x/aXbYc"));
  CHECK_FALSE(fits("a*b*c", "aXbY"));
}

TEST_CASE("a glob with a slash matches the whole path") {
  struct row {
    const char *pattern, *path;
    bool fits;
  };
  const row rows[] = {
      {"**/*.go", "a.go", true},
      {"**/*.go", "x/y/a.go", true},
      {"src/*.go", "src/a.go", true},
      {"src/*.go", "src/x/a.go", false},
      {"src/*.go", "x/src/a.go", false},
      {"src/**/*.go", "src/a.go", true},
      {"src/**/*.go", "src/x/y/a.go", true},
      {"/*.go", "a.go", true},
      {"/*.go", "x/a.go", false},
      {"./*.go", "x/a.go", false},
      {"src/**", "src/a/b", true},
      {"src/**", "src", false},
      {"**/test/**", "a/test/b", true},
      {"**/test/**", "test/b/c", true},
      {"**/test/**", "a/tests/b", false},
      {"a/**/b/**/c", "a/b/c", true},
      {"a/**/b/**/c", "a/x/b/y/z/c", true},
      {"a/**/b/**/c", "a/x/c", false},
      {"a//b/./c", "a/b/c", true},
      {"**/**/a", "x/a", true},
      {"**/a/b", "a/a/b", true},
      {"*/*/c", "a/b/c", true},
      {"*/*/c", "a/c", false},
      {"a**b/c", "aXb/c", true},
      {"a**b/c", "a/b/c", false},
  };
  for (const auto& each : rows) {
    INFO(each.pattern << " and " << each.path);
    CHECK(fits(each.pattern, each.path) == each.fits);
  }
}

TEST_CASE("braces, sets and escapes of a glob") {
  CHECK(fits("*.{ts,tsx}", "a.tsx"));
  CHECK_FALSE(fits("*.{ts,tsx}", "a.tsxx"));
  CHECK(fits("{src,lib/{a,b}}/*.c", "lib/b/x.c"));
  CHECK_FALSE(fits("{src,lib/{a,b}}/*.c", "lib/x.c"));
  CHECK(fits("a{,b}", "a"));
  CHECK(fits("a{,b}", "ab"));
  CHECK(fits("{[,],x}", ","));
  CHECK(fits("[a-c]x", "bx"));
  CHECK_FALSE(fits("[!a-c]x", "bx"));
  CHECK(fits("[^a-c]x", "dx"));
  CHECK(fits("[]]x", "]x"));
  CHECK(fits("[a-]x", "-x"));
  CHECK(fits("[[:digit:]]*", "7up"));
  CHECK_FALSE(fits("[[:digit:]]*", "up"));
  CHECK(fits("\\*\\{", "*{"));
  CHECK_FALSE(fits("\\*", "a"));
  CHECK(fits("?", "\xC3\xA9"));
  CHECK_FALSE(fits("??", "\xC3\xA9"));
  CHECK(fits("[\xC3\xA0-\xC3\xBF]", "\xC3\xA9"));
  CHECK(fits("a?b", "a\xFF"
                    "b"));
  CHECK(fits("*\xC3\xA9", "caf\xC3\xA9"));
}

TEST_CASE("a glob ignores case when asked") {
  CHECK(fits("*.MD", "readme.md", false, true));
  CHECK(fits("ReadMe*", "README.txt", false, true));
  CHECK(fits("[A-C]?*", "bxx", false, true));
  CHECK(fits("make?ile", "MAKEFILE", false, true));
  CHECK_FALSE(fits("*.MD", "readme.md"));
}

TEST_CASE("wildcards of a glob leave hidden names alone unless asked") {
  CHECK_FALSE(fits("*", ".env"));
  CHECK(fits(".env*", ".env.local"));
  CHECK(fits(".github/**/*.yml", ".github/workflows/ci.yml"));
  CHECK_FALSE(fits("**/*.yml", ".github/workflows/ci.yml"));
  CHECK_FALSE(fits("a/**", "a/.x/y"));
  CHECK_FALSE(fits("*.yml", ".github/ci.yml"));
  CHECK_FALSE(fits("?x", ".x"));
  CHECK(fits("*", ".env", true));
  CHECK(fits("**/*.yml", ".github/workflows/ci.yml", true));
  CHECK(make(".env").dotted());
  CHECK_FALSE(make("*.env").dotted());
}

TEST_CASE("a glob tells which folders cannot hold a match") {
  CHECK(make("src/a/*.c").reaches("src"));
  CHECK(make("src/a/*.c").reaches("src/a"));
  CHECK_FALSE(make("src/a/*.c").reaches("src/b"));
  CHECK_FALSE(make("src/a/*.c").reaches("src/a/b"));
  CHECK(make("src/**/x").reaches("src/b/c"));
  CHECK_FALSE(make("src/**/x").reaches("lib"));
  CHECK(make("*.c").reaches("any/where"));
  CHECK(make("{a,b}/x").reaches("b"));
  CHECK(make("build/").folders_only());
  CHECK_FALSE(make("build").folders_only());
}

TEST_CASE("a wrong glob is refused with its place") {
  struct row {
    const char* pattern;
    const char* part;
  };
  const row rows[] = {
      {"src/[a-", "byte 5: [ has no closing ]"},
      {"[z-a]", "byte 3: the range goes backwards"},
      {"[[:foo:]]", "byte 2: there is no such character class"},
      {"a{b,c", "byte 2: { has no closing }"},
      {"ab}", "byte 3: } has no opening {"},
      {"abc\\", "byte 4: nothing follows"},
      {"a\\/b", "byte 2: a / cannot"},
      {"{a,{b,c}", "byte 1: {"},
      {"../x", ".."},
      {"a/{..,b}/x", ".."},
      {"/", "names nothing"},
      {"", "names nothing"},
      {"./", "names nothing"},
  };
  for (const auto& each : rows) {
    const auto why = refused(each.pattern);
    INFO(each.pattern << ": " << why.message);
    CHECK(why.code == ec::bad_request);
    CHECK(why.message.find(each.part) != std::string::npos);
    CHECK_FALSE(why.hint.empty());
  }
  CHECK(refused(std::string_view{"a\0b", 3}).message.find("NUL")
        != std::string::npos);
}

TEST_CASE("a glob that the fuzzer found wrong is refused with a remedy") {
  const std::string_view pattern{
      "=\134\134\134\134\134\134[++++\134/\134/"
      "w#+\134\134\134\134\134\134\134\243\365["
      "\134\134\134\134\134\134\134\134\134\234\243\134\134\243\243\000-"
      "\243\243\243\365[>-[w\012]\077",
      58};
  glob_options options;
  for (auto icase : {false, true}) {
    options.case_insensitive = icase;
    const auto made = glob::parse(pattern, options);
    REQUIRE_FALSE(made.has_value());
    CHECK_FALSE(made.error().message.empty());
    CHECK_FALSE(made.error().hint.empty());
  }
}

TEST_CASE("globs that would grow without bound are refused") {
  CHECK(refused(std::string(2000, 'a')).code == ec::too_large);
  std::string bomb;
  for (auto i = 0; i < 40; ++i)
    bomb += "{a,b}";
  CHECK(refused(bomb).code == ec::too_large);
  std::string deep = std::string(300, '{') + "a" + std::string(300, '}');
  CHECK(glob::parse(deep, {}).has_value());
  std::string wide = "{" + std::string(500, ',') + "}";
  CHECK(refused(wide).code == ec::too_large);
}

TEST_CASE("hostile globs take no more than name times pattern") {
  // A matcher that backtracks would need years for each.
  std::string stars, folders;
  for (auto i = 0; i < 300; ++i)
    stars += "*a";
  CHECK_FALSE(fits(stars + "b", std::string(4000, 'a')));
  for (auto i = 0; i < 100; ++i)
    folders += "**/a*/";
  std::string path;
  for (auto i = 0; i < 1000; ++i)
    path += "aa/";
  CHECK_FALSE(fits(folders + "b", path + "c"));
}
