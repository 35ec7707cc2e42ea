#include <atomic>
#include <thread>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "messages/text.hpp"
#include "tests/unit/mcp/file_fixture.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::mcp::test_files;

TEST_CASE("a plain read gives exactly the file's text") {
  bench b;
  const std::string text = "first\r\nsecond \xC3\xA4\n\nlast without end";
  b.put("sub/a.txt", text);
  auto out = b.ok("file_read", {{"path", "sub/a.txt"}});
  CHECK(out["content"] == text);
  CHECK(out["#text"] == text);
  CHECK(out["path"] == "sub/a.txt");
  CHECK(out["size"] == text.size());
  CHECK(out["encoding"] == "utf-8");
  CHECK(out["lines"] == 4);
  CHECK(out["truncated"] == false);
  CHECK(!out.contains("lossy"));
  auto absolute = b.ok("file_read", {{"path", b.at("sub/a.txt")}});
  CHECK(absolute["content"] == text);
  CHECK(absolute["path"] == "sub/a.txt");
}

TEST_CASE("an empty file is empty text, and a text may hold NULs") {
  bench b;
  b.put("empty", "");
  CHECK(b.ok("file_read", {{"path", "empty"}})["content"] == "");
  const std::string nul{"a\0b", 3};
  b.put("nul", nul);
  CHECK(b.ok("file_read", {{"path", "nul"}})["content"] == nul);
}

TEST_CASE("a range of lines is read, and what follows is named") {
  bench b;
  b.put("a", "1\n2\n3\n4\n5");
  auto out = b.ok("file_read", {{"path", "a"}, {"offset", 2}, {"limit", 2}});
  CHECK(out["content"] == "2\n3\n");
  CHECK(out["first_line"] == 2);
  CHECK(out["lines"] == 2);
  CHECK(out["truncated"] == true);
  CHECK(out["next_offset"] == 4);
  CHECK(out["#text"] == "2\n3\n");
  auto rest = b.ok("file_read", {{"path", "a"}, {"offset", 4}});
  CHECK(rest["content"] == "4\n5");
  CHECK(rest["truncated"] == false);
  CHECK(b.ok("file_read", {{"path", "a"}, {"limit", 1}})["content"] == "1\n");
  CHECK(b.ok("file_read", {{"path", "a"}, {"offset", 6}})["content"] == "");
  CHECK(b.no("file_read", {{"path", "a"}, {"offset", 7}}) == "bad_request");
  CHECK(b.no("file_read", {{"path", "a"}, {"offset", 0}}) == "bad_request");
  CHECK(b.no("file_read", {{"path", "a"}, {"offset", 1}, {"byte_offset", 1}})
        == "bad_request");
}

TEST_CASE("line numbers stand before each line on request") {
  bench b;
  b.put("a", "x\n\ny");
  auto out = b.ok("file_read", {{"path", "a"}, {"line_numbers", true}});
  CHECK(out["content"] == "     1\tx\n     2\t\n     3\ty");
  auto some =
      b.ok("file_read", {{"path", "a"}, {"line_numbers", true}, {"offset", 3}});
  CHECK(some["content"] == "     3\ty");
}

TEST_CASE("a range of bytes is read") {
  bench b;
  b.put("a", "0123456789");
  auto out =
      b.ok("file_read", {{"path", "a"}, {"byte_offset", 3}, {"byte_limit", 4}});
  CHECK(out["content"] == "3456");
  CHECK(out["byte_offset"] == 3);
  CHECK(out["bytes"] == 4);
  CHECK(out["next_byte_offset"] == 7);
  auto end = b.ok("file_read", {{"path", "a"}, {"byte_offset", 8}});
  CHECK(end["content"] == "89");
  CHECK(end["truncated"] == false);
  CHECK(b.ok("file_read", {{"path", "a"}, {"byte_offset", 99}})["content"]
        == "");
}

TEST_CASE("binary files come as base64, odd texts with U+FFFD and a warning") {
  bench b;
  const std::string binary{"\x7F"
                           "ELF\0\xFF\xFE",
                           7};
  b.put("bin", binary);
  auto out = b.ok("file_read", {{"path", "bin"}});
  CHECK(out["encoding"] == "base64");
  CHECK(base64_decode(out["content"].get<std::string>()) == binary);
  b.put("latin1", "caf\xE9");
  auto odd = b.ok("file_read", {{"path", "latin1"}});
  CHECK(odd["encoding"] == "utf-8");
  CHECK(odd["lossy"] == true);
  auto forced = b.ok("file_read", {{"path", "latin1"}, {"encoding", "base64"}});
  CHECK(forced["content"] == "Y2Fm6Q==");
  CHECK(b.ok("file_read", {{"path", "bin"}, {"encoding", "utf-8"}})["lossy"]
        == true);
  CHECK(b.no("file_read", {{"path", "bin"}, {"line_numbers", true}})
        == "bad_request");
}

TEST_CASE("what is over the limit of a call's text is cut and said so") {
  bench b;
  b.config.limits.output_bytes = 100;
  std::string text;
  for (int i = 0; i < 50; ++i)
    text += "line " + std::to_string(i) + "\n";
  b.put("a", text);
  auto out = b.ok("file_read", {{"path", "a"}});
  const std::string content = out["content"];
  CHECK(content.size() <= 100);
  CHECK(text.rfind(content, 0) == 0);
  CHECK(content.back() == '\n');
  CHECK(out["truncated"] == true);
  CHECK(out["#text"].get<std::string>().find("offset ") != std::string::npos);
  // Following it gives the whole file.
  std::string all = content;
  for (int turn = 0; out.contains("next_offset") && turn < 50; ++turn) {
    out = b.ok("file_read", {{"path", "a"}, {"offset", out["next_offset"]}});
    all += out["content"];
  }
  CHECK(all == text);
  // One line over all bounds goes on by bytes, between characters.
  std::string wide;
  for (int i = 0; i < 80; ++i)
    wide += "\xE2\x82\xAC";
  b.put("wide", wide);
  out = b.ok("file_read", {{"path", "wide"}});
  all = out["content"];
  CHECK(!out.contains("lossy"));
  CHECK(all.size() == 99);
  for (int turn = 0; out.contains("next_byte_offset") && turn < 50; ++turn) {
    out = b.ok("file_read", {{"path", "wide"},
                             {"byte_offset", out["next_byte_offset"]},
                             {"byte_limit", 99}});
    all += out["content"];
  }
  CHECK(all == wide);
}

TEST_CASE("a file over the limit is refused with the remedy, ranges of it "
          "work") {
  bench b;
  b.config.limits.file_bytes = 1000;
  b.put("big",
        std::string(900, 'x') + "\n" + std::string(200, 'y') + "\nend\n");
  auto refused = b.why("file_read", {{"path", "big"}});
  CHECK(refused.code == ec::too_large);
  CHECK(refused.hint.find("offset") != std::string::npos);
  CHECK(b.ok("file_read", {{"path", "big"}, {"offset", 3}})["content"]
        == "end\n");
  // A terabyte, sparse: the end costs as little as the beginning.
  b.put("huge", "head\n");
  if (::truncate(b.at("huge").c_str(), off_t{1} << 40) == 0) {
    CHECK(b.no("file_read", {{"path", "huge"}}) == "too_large");
    CHECK(b.ok("file_read", {{"path", "huge"}, {"limit", 1}})["content"]
          == "head\n");
    auto tail = b.ok("file_read", {{"path", "huge"},
                                   {"byte_offset", (std::int64_t{1} << 40) - 3},
                                   {"encoding", "base64"}});
    CHECK(tail["bytes"] == 3);
  }
}

TEST_CASE("only regular files are read, and none of them blocks") {
  bench b;
  ::mkdir(b.at("folder").c_str(), 0755);
  REQUIRE(::mkfifo(b.at("fifo").c_str(), 0644) == 0);
  CHECK(b.no("file_read", {{"path", "folder"}}) == "bad_request");
  CHECK(b.no("file_read", {{"path", "."}}) == "bad_request");
  CHECK(b.no("file_read", {{"path", ""}}) == "bad_request");
  CHECK(b.no("file_read", {{"path", "fifo"}}) == "bad_request");
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  const auto path = b.at("socket");
  REQUIRE(path.size() < sizeof at.sun_path);
  path.copy(at.sun_path, path.size());
  CHECK(::bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof at)
        == 0);
  CHECK(b.no("file_read", {{"path", "socket"}}) == "bad_request");
  ::close(listener);
  for (const auto device : {makedev(1, 5), makedev(1, 8), makedev(5, 0)}) {
    ::unlink(b.at("device").c_str());
    if (::mknod(b.at("device").c_str(), S_IFCHR | 0666, device) == 0)
      CHECK(b.no("file_read", {{"path", "device"}}) != "done");
  }
  CHECK(b.no("file_read", {{"path", "device"}}).rfind("<done", 0) != 0);
  CHECK(b.no("file_read", {{"path", "none"}}) == "not_found");
}

TEST_CASE("files without a size, as in proc, are read to their end") {
  auto where = workspace::open("/proc/self");
  REQUIRE(where);
  server_config config;
  tool_set tools;
  add_file_tools(tools, *where, config);
  lone_call in;
  const json args = {{"path", "status"}};
  auto out = tools.find("file_read")->run(arguments{args}, in);
  REQUIRE(out);
  CHECK(out->text.find("VmRSS:") != std::string::npos);
}

TEST_CASE("paths that lead out read nothing") {
  bench b;
  hostile_links(b);
  auto paths = hostile_paths(b);
  for (const auto& more : hostile_ends())
    paths.push_back(more);
  REQUIRE(paths.size() >= 25);
  for (const auto& path : paths) {
    INFO(path);
    const auto code = b.no("file_read", {{"path", path}});
    CHECK((code == "bad_request" || code == "denied"));
  }
  for (const auto* path :
       {"SUB/FILE.TXT", "sub/file.txt ", "sub\\file.txt", "sub/file.txt\n",
        "%2e%2e/outside.txt", "..%2foutside.txt"})
    CHECK(b.no("file_read", {{"path", path}}) == "not_found");
  CHECK(b.no("file_read", json::object()) == "bad_request");
  CHECK(b.no("file_read", {{"path", 7}}) == "bad_request");
  CHECK(b.no("file_read", {{"path", "sub/file.txt"}, {"pth", "x"}})
        == "bad_request");
}

TEST_CASE("a file that is swapped for a link to outside is never read there") {
  bench b;
  b.put("good", "inside");
  b.link("../outside.txt", "bad");
  std::atomic<bool> over = false;
  std::thread swapper{[&] {
    const auto good = b.at("good"), bad = b.at("bad");
    while (!over)
      ::renameat2(AT_FDCWD, good.c_str(), AT_FDCWD, bad.c_str(),
                  RENAME_EXCHANGE);
  }};
  unsigned inside = 0, refused = 0, leaked = 0;
  for (int i = 0; (i < 10'000 || inside == 0 || refused == 0) && i < 1'000'000;
       ++i) {
    auto out = b.run("file_read", {{"path", "good"}});
    if (!out)
      ++refused;
    else
      ++(out->text == "inside" ? inside : leaked);
  }
  over = true;
  swapper.join();
  CHECK(leaked == 0);
  CHECK(inside > 0);
  CHECK(refused > 0);
}

TEST_CASE("the version changes with the file") {
  bench b;
  b.put("a", "x");
  const auto first = b.ok("file_read", {{"path", "a"}})["version"];
  CHECK(b.ok("file_read", {{"path", "a"}})["version"] == first);
  b.ok("file_write", {{"path", "a"}, {"content", "y"}});
  CHECK(b.ok("file_read", {{"path", "a"}})["version"] != first);
}

TEST_CASE("small files in memory are quick, others are not") {
  bench b;
  b.put("small", "x");
  b.put("large", std::string(100'000, 'x'));
  ::mkfifo(b.at("fifo").c_str(), 0644);
  b.link("../outside.txt", "out");
  const auto quick = [&](const json& args) {
    return b.tools.find("file_read")->at_once(arguments{args}).has_value();
  };
  b.ok("file_read", {{"path", "small"}});
  CHECK(quick({{"path", "small"}}));
  CHECK(!quick({{"path", "large"}}));
  CHECK(!quick({{"path", "fifo"}}));
  CHECK(!quick({{"path", "out"}}));
  CHECK(!quick({{"path", "small"}, {"offset", 1}}));
  CHECK(!quick(json::array()));
  CHECK(!quick({{"path", 1}}));
}
