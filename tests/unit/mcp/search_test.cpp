#include "mcp/file_search.hpp"

#include <algorithm>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "mcp/tools/families.hpp"
#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;

namespace {

class test_call : public call {
public:
  test_call() : call{std::make_shared<cancellation>()} {}
  void progress(double done, std::optional<double>, std::string_view) override {
    grows = grows && done > last;
    last = done;
  }
  void log(log_level, std::string_view, const json&) override {}
  process_table& processes() override { std::abort(); }
  double last = 0;
  bool grows = true;
};

struct world {
  temp_dir dir;
  server_config config;
  workspace where = std::move(workspace::open(dir.path()).value());
  tool_set tools;
  test_call of;

  world() { add_search_tools(tools, where, config); }
  void write(const std::string& path, std::string_view text) {
    for (auto at = path.find('/'); at != std::string::npos;
         at = path.find('/', at + 1))
      ::mkdir((dir / path.substr(0, at)).c_str(), 0755);
    write_file(dir / path, text);
  }
  result<tool_result> run(const json& object) {
    const arguments args{object};
    return tools.find("file_search")->run(args, of);
  }
  tool_result ok(const json& object) {
    auto got = run(object);
    INFO(object.dump(-1, ' ', false, json::error_handler_t::replace));
    if (!got)
      FAIL(got.error().message);
    return std::move(*got);
  }
  failure refused(const json& object) {
    auto got = run(object);
    INFO(object.dump());
    REQUIRE_FALSE(got.has_value());
    CHECK_FALSE(got.error().message.empty());
    return got.error();
  }
};

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("file_search by name lists sorted paths, one per line") {
  world w;
  for (const auto* each :
       {"b.go", "a/z.go", "a/x.txt", "a.go", ".hid/q.go", "out/gen.go"})
    w.write(each, "");
  w.write(".gitignore", "out/\n");
  auto got = w.ok({{"pattern", "*.go"}});
  CHECK(got.text == "a.go\na/z.go\nb.go");
  CHECK(got.structured["paths"] == json{"a.go", "a/z.go", "b.go"});
  CHECK(got.structured["total"] == 3);
  CHECK_FALSE(got.structured.contains("cursor"));
  CHECK(w.ok({{"pattern", "**/*.go"}}).text == got.text);
  CHECK(w.ok({{"pattern", "*.go"}, {"path", "a"}}).text == "a/z.go");
  CHECK(w.ok({{"pattern", "*.go"}, {"path", w.where.root() + "/a/"}}).text
        == "a/z.go");
  CHECK(w.ok({{"pattern", "*.GO"}, {"case_insensitive", true}}).text
        == got.text);
  CHECK(w.ok({{"pattern", "*.go"}, {"respect_ignore", false}}).text
        == "a.go\na/z.go\nb.go\nout/gen.go");
  CHECK(w.ok({{"pattern", "*.go"}, {"include_hidden", true}}).text
        == ".hid/q.go\na.go\na/z.go\nb.go");
  CHECK(w.ok({{"pattern", ".hid/*"}}).text == ".hid/q.go");
  CHECK(w.ok({{"pattern", "a*/"}}).text == "a");
  CHECK(w.ok({{"pattern", "*.go"}, {"path", nullptr}}).text == got.text);
}

TEST_CASE("file_search that finds nothing says so and what was left out") {
  world w;
  w.write("x/a.o", "");
  w.write(".gitignore", "*.o\n");
  auto got = w.ok({{"pattern", "*.o"}});
  CHECK_FALSE(got.is_error);
  CHECK(holds(got.text, "no file matches"));
  CHECK(holds(got.text, "1 ignored by .gitignore"));
  CHECK(holds(got.text, "1 hidden"));
  CHECK(got.structured["paths"].empty());
  got = w.ok({{"content", "nowhere"}});
  CHECK(holds(got.text, "no line matches, 0 files searched"));
  CHECK(holds(got.text, "ignored by .gitignore"));
}

TEST_CASE("file_search pages paths without loss or double") {
  world w;
  std::vector<std::string> all;
  for (auto i = 0; i < 250; ++i) {
    all.push_back("d" + std::to_string(i % 7) + "/f" + std::to_string(i));
    w.write(all.back(), "");
  }
  std::sort(all.begin(), all.end());
  std::vector<std::string> seen;
  json args = {{"pattern", "f*"}, {"max_results", 60}};
  auto pages = 0;
  for (;; ++pages) {
    auto got = w.ok(args);
    CHECK(got.structured["total"] == 250);
    for (const auto& each : got.structured["paths"])
      seen.push_back(each);
    if (!got.structured.contains("cursor"))
      break;
    CHECK(holds(got.text, got.structured["cursor"].get<std::string>()));
    args["cursor"] = got.structured["cursor"];
  }
  CHECK(pages == 4);
  CHECK(seen == all);
  // The same by a limit on bytes.
  w.config.limits.output_bytes = 600;
  seen.clear();
  args = {{"pattern", "f*"}};
  for (;;) {
    auto got = w.ok(args);
    CHECK(got.text.size() <= 800);
    for (const auto& each : got.structured["paths"])
      seen.push_back(each);
    if (!got.structured.contains("cursor"))
      break;
    args["cursor"] = got.structured["cursor"];
  }
  CHECK(seen == all);
}

TEST_CASE("file_search by content gives path, line and text") {
  world w;
  w.write("src/a.c", "int main() {\n  return 0;\n}\n");
  w.write("src/b.c", "// main\nx\nmain again");
  w.write("doc/c.md", "main\n");
  auto got = w.ok({{"content", "main"}, {"pattern", "*.c"}});
  CHECK(got.text
        == "src/a.c:1:int main() {\nsrc/b.c:1:// main\n"
           "src/b.c:3:main again\n\n[3 matches in 2 files, 2 files searched]");
  CHECK(got.structured["match_count"] == 3);
  CHECK(got.structured["matches"][2]
        == json{{"path", "src/b.c"}, {"line", 3}, {"text", "main again"}});
  CHECK(w.ok({{"content", "^main$"}}).structured["matches"].size() == 1);
  CHECK(w.ok({{"content", "MAIN"}}).structured["match_count"] == 0);
  CHECK(w.ok({{"content", "MAIN"}, {"case_insensitive", true}})
            .structured["match_count"]
        == 4);
  CHECK(w.ok({{"content", "x"}, {"path", "src/b.c"}}).text
        == "src/b.c:2:x\n\n[1 match in 1 file, 1 file searched]");
  CHECK(w.ok({{"content", "{\\s*return"}}).structured["match_count"] == 0);
  CHECK(w.ok({{"content", "[^q]*"}, {"path", "src/a.c"}})
            .structured["match_count"]
        == 3);
}

TEST_CASE("file_search shows lines around a match once") {
  world w;
  std::string text;
  for (auto i = 1; i <= 20; ++i)
    text += "line " + std::to_string(i)
            + (i == 3 || i == 5 || i == 15 ? " hit\n" : "\n");
  w.write("f", text);
  auto got = w.ok({{"content", "hit"}, {"context", 2}});
  std::string want;
  for (auto i = 1; i <= 7; ++i)
    want += "f" + std::string(i == 3 || i == 5 ? ":" : "-") + std::to_string(i)
            + (i == 3 || i == 5 ? ":" : "-") + "line " + std::to_string(i)
            + (i == 3 || i == 5 ? " hit\n" : "\n");
  want += "--\nf-13-line 13\nf-14-line 14\nf:15:line 15 hit\nf-16-line 16\n"
          "f-17-line 17\n\n[3 matches in 1 file, 1 file searched]";
  CHECK(got.text == want);
  CHECK(w.ok({{"content", "line 1$"}, {"context", 1}}).text
        == "f:1:line 1\nf-2-line 2\n\n[1 match in 1 file, 1 file searched]");
  CHECK(w.ok({{"content", "line 20"}, {"context", 1}}).text
        == "f-19-line 19\nf:20:line 20\n\n[1 match in 1 file, 1 file "
           "searched]");
}

TEST_CASE("file_search pages matches without loss or double, also in a file") {
  world w;
  std::vector<std::pair<std::string, int>> all;
  for (auto file = 0; file < 60; ++file) {
    const auto name = "f" + std::to_string(100 + file);
    std::string text;
    for (auto line = 1; line <= 9; ++line) {
      text += line % 2 == 1 ? "hit\n" : "miss\n";
      if (line % 2 == 1)
        all.emplace_back(name, line);
    }
    w.write(name, text);
  }
  const auto page_through = [&](json args) {
    std::vector<std::pair<std::string, int>> seen;
    for (auto calls = 0; calls < 1000; ++calls) {
      auto got = w.ok(args);
      for (const auto& each : got.structured["matches"])
        seen.emplace_back(each["path"], each["line"]);
      if (!got.structured.contains("cursor"))
        break;
      args["cursor"] = got.structured["cursor"];
    }
    return seen;
  };
  CHECK(page_through({{"content", "hit"}, {"max_results", 7}}) == all);
  CHECK(page_through({{"content", "hit"}, {"max_results", 5}}) == all);
  CHECK(page_through({{"content", "hit"}, {"max_results", 1}}) == all);
  w.config.limits.output_bytes = 100;
  CHECK(page_through({{"content", "hit"}}) == all);
}

TEST_CASE("a file whose first line has no room is on the next page") {
  world w;
  const std::string line = "hit" + std::string(57, 'x') + "\n";
  w.write("a", line);
  w.write("b", line + line);
  w.write("c", line);
  w.config.limits.output_bytes = 100;
  std::vector<std::string> seen;
  std::size_t searched = 0;
  json args = {{"content", "hit"}};
  for (auto calls = 0; calls < 10; ++calls) {
    auto got = w.ok(args);
    for (const auto& each : got.structured["matches"])
      seen.push_back(each["path"]);
    searched += got.structured["files_searched"].get<std::size_t>();
    if (!got.structured.contains("cursor"))
      break;
    args["cursor"] = got.structured["cursor"];
  }
  CHECK(seen == std::vector<std::string>{"a", "b", "b", "c"});
  CHECK(searched >= 3);
}

TEST_CASE("file_search skips binary and large files and says so") {
  world w;
  w.config.limits.file_bytes = 10'000;
  w.write("bin", std::string_view{"hit\0hit", 7});
  w.write("late-nul", std::string(9000, 'x') + "\nhit\n" + '\0');
  w.write("large", std::string(10'001, 'h'));
  w.write("text", "hit\n");
  w.write("empty", "");
  auto got = w.ok({{"content", "hit"}});
  CHECK(got.structured["match_count"] == 2);
  CHECK(got.structured["skipped"]["binary_files"] == 1);
  CHECK(got.structured["skipped"]["large_files"] == 1);
  CHECK(holds(got.text, "1 binary file skipped"));
  CHECK(holds(got.text, "such as large"));
}

TEST_CASE("file_search copes with line ends, bad UTF-8 and huge lines") {
  world w;
  w.write("crlf", "one\r\ntwo\r\n\r\n");
  CHECK(w.ok({{"content", "^two$"}, {"path", "crlf"}}).text
        == "crlf:2:two\n\n[1 match in 1 file, 1 file searched]");
  CHECK(w.ok({{"content", "^$"}, {"path", "crlf"}})
            .structured["matches"][0]["line"]
        == 3);
  w.write("bad", "a\xFF hit \xC3(\nnext hit\n");
  auto got = w.ok({{"content", "hit"}, {"path", "bad"}});
  CHECK(got.structured["match_count"] == 2);
  CHECK_NOTHROW(got.structured.dump());
  CHECK(holds(got.text, "\xEF\xBF\xBD hit"));
  w.write("long", std::string(100'000, 'x') + "hit" + std::string(100'000, 'y')
                      + "\nhit\n");
  got = w.ok({{"content", "hit"}, {"path", "long"}});
  CHECK(got.structured["match_count"] == 2);
  const auto cut = got.structured["matches"][0]["text"].get<std::string>();
  CHECK(cut.size() < 500);
  CHECK(holds(cut, "hit"));
  CHECK(cut.rfind("...", 0) == 0);
  // Longer than one uninterruptible look: said, and the rest still searched.
  w.write("huge", std::string(15U << 20U, 'x') + "hit\nhit\n");
  got = w.ok({{"content", "hit"}, {"path", "huge"}});
  CHECK(got.structured["match_count"] == 1);
  CHECK(got.structured["matches"][0]["line"] == 2);
  CHECK(got.structured["skipped"]["long_lines_in_files"] == 1);
  CHECK(holds(got.text, "only their beginnings were searched"));
}

TEST_CASE("file_search names that break lists are escaped") {
  world w;
  w.write("new\nline.x", "hit\n");
  w.write("\xFF.x", "hit\n");
  w.write("\x1B[2J.x", "");
  auto got = w.ok({{"pattern", "*.x"}});
  CHECK(got.structured["total"] == 3);
  CHECK(std::count(got.text.begin(), got.text.end(), '\n') == 2);
  CHECK(holds(got.text, "new\\x0A") | holds(got.text, "new\\x0a"));
  CHECK(got.text.find('\x1B') == std::string::npos);
  CHECK_NOTHROW(got.structured.dump());
  CHECK_NOTHROW(w.ok({{"content", "hit"}}).structured.dump());
}

TEST_CASE("file_search stays inside the workspace") {
  world w;
  temp_dir outside;
  write_file(outside / "secret.x", "hit\n");
  REQUIRE(::symlink(outside.path().c_str(), (w.dir / "out").c_str()) == 0);
  REQUIRE(::symlink((outside / "secret.x").c_str(), (w.dir / "s.x").c_str())
          == 0);
  REQUIRE(::mkfifo((w.dir / "fifo.x").c_str(), 0644) == 0);
  REQUIRE(::symlink("/dev/zero", (w.dir / "zero.x").c_str()) == 0);
  CHECK(w.ok({{"pattern", "*.x"}}).text == "fifo.x\ns.x\nzero.x");
  CHECK(w.ok({{"content", "."}}).structured["files_searched"] == 0);
  for (const auto* path :
       {"out", "out/secret.x", "..", "../..", "/", "/etc", "s.x", "zero.x"}) {
    INFO(path);
    CHECK_FALSE(w.run({{"pattern", "*"}, {"path", path}}).has_value());
    CHECK_FALSE(w.run({{"content", "hit"}, {"path", path}}).has_value());
  }
  CHECK(w.refused({{"pattern", "../*"}}).code == ec::bad_request);
  CHECK(w.refused({{"pattern", "*"}, {"path", "fifo.x"}}).code
        == ec::bad_request);
  CHECK(w.refused({{"content", "x"}, {"path", "fifo.x"}}).code
        == ec::bad_request);
  CHECK(w.refused({{"pattern", "*"}, {"path", "missing"}}).code
        == ec::not_found);
}

TEST_CASE("file_search refuses wrong arguments with their place and remedy") {
  world w;
  w.write("f", "x\n");
  CHECK(holds(w.refused({{"pattern", "src/[a-"}}).message, "byte 5"));
  CHECK(holds(w.refused({{"content", "a(b"}}).message, "byte 2"));
  CHECK(holds(w.refused({{"content", "ab**"}}).message, "byte 3"));
  CHECK(holds(w.refused({{"content", "(?=x)"}}).hint, "look-around"));
  CHECK(holds(w.refused({{"content", "x[z-a]"}}).message, "byte 3"));
  CHECK(holds(w.refused(json::object()).message, "neither pattern"));
  CHECK_FALSE(w.refused({{"content", ""}}).hint.empty());
  CHECK_FALSE(w.refused({{"content", "x"}, {"pattern", "d/"}}).hint.empty());
  CHECK_FALSE(w.refused({{"pattern", "*"}, {"path", "f"}}).hint.empty());
  w.refused({{"pattern", 3}});
  w.refused({{"pattern", "*"}, {"max_results", 0}});
  w.refused({{"content", "x"}, {"context", 21}});
  w.refused({{"pattern", "*"}, {"ptah", "x"}});
}

TEST_CASE("file_search takes no cursor but its own") {
  world w;
  for (const auto* each : {"a", "b", "sub/c", "sub/d"})
    w.write(each, "");
  auto cursor = w.ok({{"pattern", "*"}, {"max_results", 1}})
                    .structured["cursor"]
                    .get<std::string>();
  CHECK(w.ok({{"pattern", "*"}, {"cursor", cursor}}).structured["paths"].size()
        == 3);
  CHECK(w.refused({{"pattern", "?"}, {"cursor", cursor}}).code
        == ec::bad_request);
  for (const auto* each : {"", "x", "AAAA", "MTox", "====", "MTowOg=="}) {
    INFO(each);
    w.refused({{"pattern", "*"}, {"cursor", each}});
  }
  // Made up with the right key, to a file elsewhere.
  json args = {{"content", "root"}, {"path", "sub"}};
  args["cursor"] = write_cursor(search_key(args), "../../etc/passwd", 1);
  CHECK(w.refused(args).code == ec::bad_request);
  args["cursor"] =
      write_cursor(search_key({{"content", "root"}, {"path", "sub"}}),
                   "sub/../../../etc/passwd", 1);
  CHECK(w.ok(args).structured["match_count"] == 0);
  args = {{"content", "root"}};
  args["cursor"] = write_cursor(search_key(args), "/etc/passwd", 1);
  CHECK(w.ok(args).structured["match_count"] == 0);
}

TEST_CASE("regular expressions that explode elsewhere are refused or linear") {
  world w;
  w.write("f", std::string(5000, 'a') + "\n");
  for (const auto* each : {"((a{1,1000}){1,1000}){1,1000}", "(x{1000}){1000}",
                           "(((((a{10}){10}){10}){10}){10})"}) {
    const auto why = w.refused({{"content", each}});
    INFO(each << ": " << why.message);
    CHECK_FALSE(why.hint.empty());
  }
  CHECK(w.refused({{"content", std::string(5000, 'a')}}).code == ec::too_large);
  CHECK(w.ok({{"content", "(a+)+$"}}).structured["match_count"] == 1);
  CHECK(w.ok({{"content", "(a|a)*b"}}).structured["match_count"] == 0);
  CHECK(w.ok({{"content", "(a*)*(a*)*(a*)*b"}}).structured["match_count"] == 0);
  w.ok({{"content", std::string(2000, '(') + std::string(2000, ')')}});
  w.refused({{"content", "(a)\\1"}});
}

TEST_CASE("a cancelled search stops soon, whatever it is at") {
  world w;
  std::string text;
  // Makes the automaton grow without end: RE2 then takes the slow way.
  for (auto i = 0; i < 200'000; ++i)
    text += std::string(1, static_cast<char>('a' + (i * 7919) % 17))
            + (i % 5 == 0 ? "b" : "") + (i % 3 == 0 ? "a" : "");
  for (auto i = 0; i < 40; ++i)
    w.write("f" + std::to_string(i), text);
  std::thread other{[&] { w.of.cancel().cancel(); }};
  const auto begun = std::chrono::steady_clock::now();
  auto got = w.run({{"content", "[a-q][^u-z]{300}x"}});
  const auto took = std::chrono::steady_clock::now() - begun;
  other.join();
  CHECK_FALSE(got.has_value());
  CHECK(took < patient(5s));
  // And before it began.
  CHECK_FALSE(w.run({{"pattern", "*"}}).has_value());
}

TEST_CASE("a search that takes too long gives what it has and a cursor") {
  world w;
  std::vector<std::string> all;
  for (auto i = 0; i < 20; ++i) {
    all.push_back("f" + std::to_string(100 + i));
    w.write(all.back(), "hit\n");
  }
  std::vector<std::string> seen;
  std::string after;
  auto calls = 0;
  for (; calls < 100; ++calls) {
    search_query query;
    query.content = std::move(line_regex::parse("hit", false).value());
    query.patience = std::chrono::milliseconds{-1000};
    query.key = 7;
    if (!after.empty())
      REQUIRE(read_cursor(after, query).has_value());
    auto got = search_files(w.where, w.config.limits, query, w.of);
    REQUIRE(got.has_value());
    for (const auto& each : got->structured["matches"])
      seen.push_back(each["path"]);
    if (!got->structured.contains("cursor"))
      break;
    after = got->structured["cursor"];
  }
  CHECK(calls > 1);
  CHECK(seen == all);
}
