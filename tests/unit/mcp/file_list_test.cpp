#include <fcntl.h>

#include "tests/unit/mcp/file_fixture.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::mcp::test_files;

namespace {

std::vector<std::string> paths(const json& out) {
  std::vector<std::string> all;
  for (const auto& entry : out["entries"])
    all.push_back(entry["path"]);
  return all;
}

using texts = std::vector<std::string>;

} // namespace

TEST_CASE("a folder is listed with types and sizes, sorted by name") {
  bench b;
  b.put("b.txt", "12345");
  b.put("a/inner", "x");
  b.put(".hidden", "");
  b.link("../outside.txt", "out");
  ::mkfifo(b.at("pipe").c_str(), 0644);
  auto out = b.ok("file_list", json::object());
  CHECK(paths(out) == texts{".hidden", "a", "b.txt", "out", "pipe"});
  const auto& entries = out["entries"];
  CHECK(entries[1]["type"] == "folder");
  CHECK(entries[2]["type"] == "file");
  CHECK(entries[2]["size"] == 5);
  CHECK(entries[3]["type"] == "link");
  CHECK(entries[3]["target"] == "../outside.txt");
  CHECK(entries[4]["type"] == "fifo");
  const std::string text = out["#text"];
  CHECK(text.find("d         -  a/\n") != std::string::npos);
  CHECK(text.find("-         5  b.txt\n") != std::string::npos);
  CHECK(paths(b.ok("file_list", {{"include_hidden", false}}))
        == texts{"a", "b.txt", "out", "pipe"});
  CHECK(paths(b.ok("file_list", {{"path", b.at("a")}})) == texts{"inner"});
  CHECK(b.no("file_list", {{"path", "b.txt"}}) == "bad_request");
  CHECK(b.no("file_list", {{"path", "none"}}) == "not_found");
  CHECK(b.no("file_list", {{"path", "pipe"}}) == "bad_request");
}

TEST_CASE("an empty folder says so") {
  bench b;
  auto out = b.ok("file_list", {{"path", ""}});
  CHECK(out["entries"].empty());
  CHECK(out["#text"] == "(empty)\n");
}

TEST_CASE("a recursive list goes to a depth and follows no links") {
  bench b;
  b.put("a/b/c/d", "x");
  b.put("z", "x");
  b.link("..", "a/up");
  b.link("/", "root");
  CHECK(paths(b.ok("file_list", {{"recursive", true}}))
        == texts{"a", "a/b", "a/b/c", "a/b/c/d", "a/up", "root", "z"});
  CHECK(paths(b.ok("file_list", {{"depth", 2}}))
        == texts{"a", "a/b", "a/up", "root", "z"});
  CHECK(paths(b.ok("file_list", {{"path", "a/"}, {"recursive", true}}))
        == texts{"b", "b/c", "b/c/d", "up"});
}

TEST_CASE("a recursive list leaves out what .gitignore names") {
  bench b;
  b.put(".gitignore", "build/\n*.o\n");
  b.put("build/x", "");
  b.put("src/a.c", "");
  b.put("src/a.o", "");
  b.put("src/.gitignore", "!a.o\n");
  b.put(".git/config", "");
  CHECK(paths(b.ok("file_list", {{"recursive", true}}))
        == texts{".gitignore", "src", "src/.gitignore", "src/a.c", "src/a.o"});
  CHECK(paths(b.ok("file_list", {{"path", "src"}, {"recursive", true}}))
        == texts{".gitignore", "a.c", "a.o"});
  CHECK(
      paths(b.ok("file_list", {{"recursive", true}, {"respect_ignore", false}}))
          .size()
      == 9);
  CHECK(paths(b.ok("file_list", json::object()))
        == texts{".git", ".gitignore", "build", "src"});
}

TEST_CASE("pages give every entry once, whatever their size") {
  bench b;
  for (int i = 0; i < 30; ++i) {
    b.put("f" + std::to_string(i), "x");
    b.put("d/e/" + std::to_string(i), "x");
    b.put("d.x/" + std::to_string(i), "x");
  }
  const auto all = paths(b.ok("file_list", {{"recursive", true}}));
  REQUIRE(all.size() == 93);
  for (const int limit : {1, 2, 7, 92, 93}) {
    texts seen;
    json args = {{"recursive", true}, {"limit", limit}};
    for (int turn = 0; turn < 200; ++turn) {
      auto out = b.ok("file_list", args);
      for (auto& path : paths(out))
        seen.push_back(std::move(path));
      CHECK(out["truncated"] == out.contains("next_cursor"));
      if (!out.contains("next_cursor"))
        break;
      args["cursor"] = out["next_cursor"];
    }
    INFO(limit);
    CHECK(seen == all);
  }
  CHECK(b.no("file_list", {{"cursor", "???"}}) == "bad_request");
  CHECK(b.no("file_list", {{"limit", 0}}) == "bad_request");
}

TEST_CASE("a folder of more entries than are held at once is listed whole") {
  bench b;
  for (int i = 0; i < 2500; ++i)
    b.put("n" + std::to_string(i), "");
  auto out = b.ok("file_list", {{"limit", 10000}});
  CHECK(out["entries"].size() == 2500);
  CHECK(std::is_sorted(
      out["entries"].begin(), out["entries"].end(),
      [](const json& a, const json& c) { return a["path"] < c["path"]; }));
}

TEST_CASE("odd names are listed without breaking lines or JSON") {
  bench b;
  b.put("new\nline", "");
  b.put("\xFF", "");
  b.put("tab\t\x1B[31m", "");
  auto out = b.ok("file_list", json::object());
  CHECK_NOTHROW(out.dump());
  const std::string text = out["#text"];
  CHECK(std::count(text.begin(), text.end(), '\n') == 3);
  CHECK(text.find('\x1B') == std::string::npos);
}

TEST_CASE("paths that lead out list nothing") {
  bench b;
  hostile_links(b);
  auto all = hostile_paths(b);
  for (const auto* more :
       {"..", "../ws-evil", "to-root", "to-base", "to-parent", "to-evil",
        "to-magic", "to-root/etc", "sub/../..", "loop", "/", "//"})
    all.emplace_back(more);
  for (const auto& path : all) {
    INFO(path);
    const auto code = b.no("file_list", {{"path", path}, {"recursive", true}});
    CHECK((code == "bad_request" || code == "denied"));
  }
}
