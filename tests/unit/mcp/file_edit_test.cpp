#include <atomic>
#include <filesystem>
#include <thread>

#include <fcntl.h>

#include "tests/unit/mcp/file_fixture.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::mcp::test_files;

TEST_CASE("a text that occurs once is replaced, and the diff shows it") {
  bench b;
  b.put("a", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
  auto out =
      b.ok("file_edit",
           {{"path", "a"}, {"old_text", "5\n"}, {"new_text", "five\nV\n"}});
  CHECK(b.get("a") == "1\n2\n3\n4\nfive\nV\n6\n7\n8\n9\n");
  CHECK(out["replacements"] == 1);
  CHECK(out["diff"]
        == "@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+V\n 6\n 7\n 8\n");
  out = b.ok(
      "file_edit",
      {{"path", "a"}, {"old_string", "1\n2\n3\n"}, {"new_string", "1\n3\n"}});
  CHECK(b.get("a").rfind("1\n3\n4\n", 0) == 0);
  // What both have at their ends is context.
  CHECK(out["diff"] == "@@ -1,5 +1,4 @@\n 1\n-2\n 3\n 4\n five\n");
}

TEST_CASE("a text that is not there is an error that says what is near") {
  bench b;
  b.put("a", "void f() {\n\treturn 1;\n}\n");
  const auto why = b.why("file_edit", {{"path", "a"},
                                       {"old_text", "    return 1;\n"},
                                       {"new_text", "    return 2;\n"}});
  CHECK(why.code == ec::not_found);
  CHECK(why.message.find("line 2") != std::string::npos);
  CHECK(
      b.no("file_edit", {{"path", "a"}, {"old_text", "qqq"}, {"new_text", ""}})
      == "not_found");
  CHECK(b.no("file_edit",
             {{"path", "none"}, {"old_text", "a"}, {"new_text", "b"}})
        == "not_found");
  CHECK(b.get("a") == "void f() {\n\treturn 1;\n}\n");
}

TEST_CASE("a text that occurs several times wants to be counted") {
  bench b;
  b.put("a", "x\ny\nx\nx\n");
  json args = {{"path", "a"}, {"old_text", "x"}, {"new_text", "z"}};
  const auto why = b.why("file_edit", args);
  CHECK(why.code == ec::ambiguous);
  CHECK(why.message.find("3 times") != std::string::npos);
  CHECK(why.message.find("lines 1, 3, 4") != std::string::npos);
  args["expected_replacements"] = 2;
  CHECK(b.no("file_edit", args) == "ambiguous");
  CHECK(b.get("a") == "x\ny\nx\nx\n");
  args["expected_replacements"] = 3;
  CHECK(b.ok("file_edit", args)["replacements"] == 3);
  CHECK(b.get("a") == "z\ny\nz\nz\n");
  b.put("b", "aaaa");
  CHECK(b.ok("file_edit", {{"path", "b"},
                           {"old_text", "aa"},
                           {"new_text", "a"},
                           {"replace_all", true}})["replacements"]
        == 2);
  CHECK(b.get("b") == "aa");
}

TEST_CASE("several edits are made in order, all or none") {
  bench b;
  b.put("a", "one\ntwo\nthree\n");
  auto out =
      b.ok("file_edit",
           {{"path", "a"},
            {"edits",
             {{{"old_text", "one"}, {"new_text", "two"}},
              {{"old_text", "two"}, {"new_text", "2"}, {"replace_all", true}},
              {{"old_text", "2\n2\n"}, {"new_text", "2\n"}}}}});
  CHECK(b.get("a") == "2\nthree\n");
  CHECK(out["counts"] == json({1, 2, 1}));
  CHECK(out["diff"] == "@@ -1,3 +1,2 @@\n-one\n-two\n+2\n three\n");
  const auto why =
      b.why("file_edit", {{"path", "a"},
                          {"edits",
                           {{{"old_text", "2"}, {"new_text", "3"}},
                            {{"old_text", "none"}, {"new_text", "x"}}}}});
  CHECK(why.message.find("edit 2 of 2") != std::string::npos);
  CHECK(b.get("a") == "2\nthree\n");
}

TEST_CASE("line ends are kept, whichever the edit has") {
  bench b;
  b.put("dos", "a\r\nb\r\nc\r\n");
  b.ok("file_edit",
       {{"path", "dos"}, {"old_text", "a\nb\n"}, {"new_text", "a\nx\ny\n"}});
  CHECK(b.get("dos") == "a\r\nx\r\ny\r\nc\r\n");
  b.ok("file_edit", {{"path", "dos"}, {"old_text", "c"}, {"new_text", "c\nd"}});
  CHECK(b.get("dos") == "a\r\nx\r\ny\r\nc\r\nd\r\n");
  b.put("unix", "a\nb\n");
  b.ok("file_edit",
       {{"path", "unix"}, {"old_text", "a\r\nb"}, {"new_text", "b\r\na"}});
  CHECK(b.get("unix") == "b\na\n");
  b.put("mixed", "a\r\nb\nc\r\n");
  b.ok("file_edit",
       {{"path", "mixed"}, {"old_text", "b\n"}, {"new_text", "B\n"}});
  CHECK(b.get("mixed") == "a\r\nB\nc\r\n");
}

TEST_CASE("edits that mean nothing are refused") {
  bench b;
  b.put("a", "x");
  for (const auto& args :
       std::vector<json>{{{"path", "a"}, {"old_text", ""}, {"new_text", "y"}},
                         {{"path", "a"}, {"old_text", "x"}, {"new_text", "x"}},
                         {{"path", "a"}, {"old_text", "x"}},
                         {{"path", "a"}, {"new_text", "x"}},
                         {{"path", "a"}},
                         {{"path", "a"}, {"edits", json::array()}},
                         {{"path", "a"}, {"edits", "x"}},
                         {{"path", "a"}, {"edits", {1, 2}}},
                         {{"path", "a"}, {"edits", {{{"old_text", "x"}}}}},
                         {{"path", "a"},
                          {"old_text", "x"},
                          {"new_text", "y"},
                          {"edits", {{{"old_text", "x"}, {"new_text", "y"}}}}},
                         {{"path", "a"},
                          {"old_text", "x"},
                          {"old_string", "x"},
                          {"new_text", "y"}},
                         {{"path", "a"},
                          {"old_text", "x"},
                          {"new_text", "y"},
                          {"expected_replacements", 0}}}) {
    INFO(args.dump());
    CHECK(b.no("file_edit", args) == "bad_request");
  }
  CHECK(b.get("a") == "x");
}

TEST_CASE("an edit keeps permissions, links and what is no UTF-8") {
  bench b;
  b.put("sub/a", "caf\xE9 x");
  ::chmod(b.at("sub/a").c_str(), 0750);
  b.link("sub/a", "in");
  const auto seen = b.ok("file_read", {{"path", "in"}})["version"];
  b.ok("file_edit", {{"path", "in"},
                     {"old_text", "x"},
                     {"new_text", "y"},
                     {"expected_version", seen}});
  CHECK(b.get("sub/a") == "caf\xE9 y");
  CHECK(std::filesystem::is_symlink(b.at("in")));
  struct stat about {};
  REQUIRE(::stat(b.at("sub/a").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777U) == 0750);
  CHECK(b.no("file_edit", {{"path", "in"},
                           {"old_text", "y"},
                           {"new_text", "z"},
                           {"expected_version", seen}})
        == "conflict");
}

TEST_CASE("an edit that would grow a file over the limit is refused") {
  bench b;
  b.config.limits.file_bytes = 1000;
  b.put("a", std::string(500, 'x'));
  CHECK(b.no("file_edit", {{"path", "a"},
                           {"old_text", "x"},
                           {"new_text", std::string(500, 'y')},
                           {"replace_all", true}})
        == "too_large");
  b.put("big", std::string(1001, 'x'));
  CHECK(
      b.no("file_edit", {{"path", "big"}, {"old_text", "x"}, {"new_text", ""}})
      == "too_large");
}

TEST_CASE("edits of one file at the same time all arrive") {
  bench b;
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "<" + std::to_string(i) + ">\n";
  b.put("a", text);
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = t; i < 40; i += 4)
        failed +=
            b.run("file_edit", {{"path", "a"},
                                {"old_text", "<" + std::to_string(i) + ">"},
                                {"new_text", "done"}})
                ? 0
                : 1;
    });
  for (auto& each : threads)
    each.join();
  CHECK(failed == 0);
  CHECK(b.get("a").find('<') == std::string::npos);
  CHECK(b.names() == std::set<std::string>{"a"});
}

TEST_CASE("paths that lead out edit nothing") {
  bench b;
  hostile_links(b);
  ::mkfifo(b.at("fifo").c_str(), 0644);
  auto paths = hostile_paths(b);
  for (const auto& more : hostile_ends())
    paths.push_back(more);
  for (const auto* more : {"", ".", "sub", "sub/..", "fifo"})
    paths.emplace_back(more);
  for (const auto& path : paths) {
    INFO(path);
    const auto code =
        b.no("file_edit",
             {{"path", path}, {"old_text", "secret"}, {"new_text", "e"}});
    CHECK((code == "bad_request" || code == "denied"));
  }
  CHECK(b.untouched());
}
