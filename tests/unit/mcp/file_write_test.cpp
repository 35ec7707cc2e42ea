#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

#include "tests/unit/mcp/file_fixture.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::mcp::test_files;

namespace {

unsigned mode_of(const bench& b, const char* name) {
  struct stat about {};
  REQUIRE(::lstat(b.at(name).c_str(), &about) == 0);
  return about.st_mode & 07777U;
}

} // namespace

TEST_CASE("a file is made with its folders, then replaced") {
  bench b;
  auto out = b.ok("file_write", {{"path", "x/y/a.txt"}, {"content", "one"}});
  CHECK(out["created"] == true);
  CHECK(out["bytes"] == 3);
  CHECK(b.get("x/y/a.txt") == "one");
  out = b.ok("file_write", {{"path", "x/y/a.txt"}, {"content", ""}});
  CHECK(out["created"] == false);
  CHECK(b.get("x/y/a.txt").empty());
  CHECK(b.names("x/y") == std::set<std::string>{"a.txt"});
  CHECK(b.no("file_write",
             {{"path", "n/a"}, {"content", "x"}, {"create_dirs", false}})
        == "not_found");
  CHECK(!b.names().count("n"));
}

TEST_CASE("a write without content is refused and empties nothing") {
  bench b;
  b.put("a", "x");
  CHECK(b.no("file_write", {{"path", "a"}}) == "bad_request");
  CHECK(b.no("file_write", {{"path", "a"}, {"content", nullptr}})
        == "bad_request");
  CHECK(b.no("file_write", {{"path", "a"}, {"content", 5}}) == "bad_request");
  CHECK(b.no("file_write", {{"content", "x"}}) == "bad_request");
  CHECK(b.no("file_write", json::array()) == "bad_request");
  CHECK(b.get("a") == "x");
}

TEST_CASE("content may be any text, or base64") {
  bench b;
  const std::string nul{"a\0b\r\n", 5};
  b.ok("file_write", {{"path", "a"}, {"content", nul}});
  CHECK(b.get("a") == nul);
  b.ok("file_write",
       {{"path", "b"}, {"content", "/wD+"}, {"encoding", "base64"}});
  CHECK(b.get("b") == std::string("\xFF\0\xFE", 3));
  CHECK(b.no("file_write",
             {{"path", "b"}, {"content", "not!"}, {"encoding", "base64"}})
        == "bad_request");
}

TEST_CASE("permissions of an existing file are kept, or set by mode") {
  bench b;
  b.put("run.sh", "x");
  ::chmod(b.at("run.sh").c_str(), 0751);
  b.ok("file_write", {{"path", "run.sh"}, {"content", "y"}});
  CHECK(mode_of(b, "run.sh") == 0751);
  b.ok("file_write", {{"path", "run.sh"}, {"content", "y"}, {"mode", "0600"}});
  CHECK(mode_of(b, "run.sh") == 0600);
  b.ok("file_write", {{"path", "new"}, {"content", ""}, {"mode", "755"}});
  CHECK(mode_of(b, "new") == 0755);
  for (const auto* bad : {"4755", "rwx", "", "8", "-1", "0x1ff"})
    CHECK(b.no("file_write", {{"path", "new"}, {"content", ""}, {"mode", bad}})
          == "bad_request");
  ::chmod(b.at("run.sh").c_str(), 06755);
  b.ok("file_write", {{"path", "run.sh"}, {"content", "z"}});
  CHECK(mode_of(b, "run.sh") == 0755);
}

TEST_CASE("the owner of an existing file is kept") {
  if (::geteuid() != 0) {
    WARN("SKIPPED: needs root");
    return;
  }
  bench b;
  b.put("a", "x");
  REQUIRE(::chown(b.at("a").c_str(), 1234, 2345) == 0);
  b.ok("file_write", {{"path", "a"}, {"content", "y"}});
  struct stat about {};
  REQUIRE(::stat(b.at("a").c_str(), &about) == 0);
  CHECK(about.st_uid == 1234);
  CHECK(about.st_gid == 2345);
}

TEST_CASE("an expected version keeps from overwriting somebody's change") {
  bench b;
  b.put("a", "x");
  const auto seen = b.ok("file_read", {{"path", "a"}})["version"];
  const auto ours =
      b.ok("file_write",
           {{"path", "a"}, {"content", "y"}, {"expected_version", seen}});
  CHECK(b.no("file_write",
             {{"path", "a"}, {"content", "z"}, {"expected_version", seen}})
        == "conflict");
  CHECK(b.get("a") == "y");
  b.ok(
      "file_write",
      {{"path", "a"}, {"content", "z"}, {"expected_version", ours["version"]}});
  CHECK(b.no("file_write",
             {{"path", "a"}, {"content", "q"}, {"expected_version", "none"}})
        == "conflict");
  b.ok("file_write",
       {{"path", "b"}, {"content", "q"}, {"expected_version", "none"}});
  CHECK(b.no("file_write",
             {{"path", "c"}, {"content", "q"}, {"expected_version", seen}})
        == "conflict");
  CHECK(!b.names().count("c"));
}

TEST_CASE("a link that stays inside is written through, others are refused") {
  bench b;
  b.put("sub/a", "x");
  b.link("sub/a", "in");
  b.link("in", "again");
  b.link("sub/new", "dangling");
  b.link("../sub/b", "sub/up");
  b.link(b.at("sub/a"), "absolute");
  b.ok("file_write", {{"path", "again"}, {"content", "y"}});
  CHECK(b.get("sub/a") == "y");
  CHECK(std::filesystem::is_symlink(b.at("in")));
  CHECK(std::filesystem::is_symlink(b.at("again")));
  b.ok("file_write", {{"path", "dangling"}, {"content", "n"}});
  CHECK(b.get("sub/new") == "n");
  b.ok("file_write", {{"path", "sub/up"}, {"content", "b"}});
  CHECK(b.get("sub/b") == "b");
  CHECK(b.no("file_write", {{"path", "absolute"}, {"content", "z"}})
        == "denied");
  CHECK(b.get("sub/a") == "y");
}

TEST_CASE("paths that lead out write nothing") {
  bench b;
  hostile_links(b);
  b.link("../new-outside", "to-new");
  auto paths = hostile_paths(b);
  for (const auto& more : hostile_ends())
    paths.push_back(more);
  paths.emplace_back("to-new");
  paths.emplace_back("to-evil/new");
  paths.emplace_back("to-evil/new/folder/file");
  paths.emplace_back("../new/file");
  const auto before = b.names();
  for (const auto& path : paths) {
    INFO(path);
    const auto code = b.no("file_write", {{"path", path}, {"content", "evil"}});
    CHECK((code == "bad_request" || code == "denied"));
  }
  CHECK(b.untouched());
  CHECK(b.names() == before);
  CHECK(b.get("sub/file.txt") == "inside");
  CHECK(std::distance(std::filesystem::directory_iterator{b.base.path()}, {})
        == 3);
}

TEST_CASE("only files are replaced: no folder, FIFO or device, nor the "
          "workspace") {
  bench b;
  ::mkdir(b.at("folder").c_str(), 0755);
  ::mkfifo(b.at("fifo").c_str(), 0644);
  if (::mknod(b.at("null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0)
    ::mkfifo(b.at("null").c_str(), 0644);
  const auto before = b.names();
  for (const auto* path : {"", ".", "./", "folder", "folder/", "folder/.",
                           "folder/..", "fifo", "null", "new/", "fifo/x"}) {
    INFO(path);
    CHECK(b.no("file_write", {{"path", path}, {"content", "x"}})
          == "bad_request");
  }
  CHECK(b.no("file_write", {{"path", b.ws}, {"content", "x"}})
        == "bad_request");
  CHECK(b.names() == before);
}

TEST_CASE("a hard link to outside is replaced, not written through") {
  bench b;
  REQUIRE(::link((b.base / "outside.txt").c_str(), b.at("hard").c_str()) == 0);
  b.ok("file_write", {{"path", "hard"}, {"content", "mine"}});
  CHECK(b.get("hard") == "mine");
  CHECK(b.untouched());
}

TEST_CASE("content over the limit is refused") {
  bench b;
  b.config.limits.file_bytes = 100;
  CHECK(b.no("file_write", {{"path", "a"}, {"content", std::string(101, 'x')}})
        == "too_large");
  b.ok("file_write", {{"path", "a"}, {"content", std::string(100, 'x')}});
}

TEST_CASE("a write that fails leaves the old file and nothing else") {
  bench b;
  b.put("a", "old");
  // The kernel's own limit of a file's size makes write(2) fail half-way.
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  auto low = before;
  low.rlim_cur = 4096;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &low) == 0);
  const auto out = b.run(
      "file_write", {{"path", "a"}, {"content", std::string(100'000, 'x')}});
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(!out);
  CHECK(b.get("a") == "old");
  CHECK(b.names() == std::set<std::string>{"a"});
}

TEST_CASE("readers see the old content or the new, never a part") {
  bench b;
  const std::string one(50'000, '1'), two(70'000, '2');
  b.put("a", one);
  std::atomic<bool> over = false;
  std::thread writer{[&] {
    for (int i = 0; i < 300; ++i)
      static_cast<void>(b.run(
          "file_write", {{"path", "a"}, {"content", i % 2 == 0 ? two : one}}));
    over = true;
  }};
  unsigned torn = 0;
  while (!over) {
    const auto out = b.run("file_read", {{"path", "a"}});
    if (!out || (out->text != one && out->text != two))
      ++torn;
  }
  writer.join();
  CHECK(torn == 0);
  CHECK(b.names() == std::set<std::string>{"a"});
}

TEST_CASE("a folder that is swapped for a link gets no write outside") {
  bench b;
  ::mkdir(b.at("good").c_str(), 0755);
  b.link("../ws-evil", "bad");
  b.link("../outside.txt", "end");
  b.put("file", "x");
  std::atomic<bool> over = false;
  std::thread swapper{[&] {
    const auto path = [&](const char* name) { return b.at(name); };
    while (!over) {
      ::renameat2(AT_FDCWD, path("good").c_str(), AT_FDCWD, path("bad").c_str(),
                  RENAME_EXCHANGE);
      ::renameat2(AT_FDCWD, path("end").c_str(), AT_FDCWD, path("file").c_str(),
                  RENAME_EXCHANGE);
    }
  }};
  unsigned done = 0, refused = 0;
  for (int i = 0; (i < 1000 || done == 0 || refused == 0) && i < 400'000; ++i) {
    auto out = b.run("file_write",
                     {{"path", i % 2 == 0 ? "good/new/secret.txt" : "file"},
                      {"content", "evil"}});
    ++(out ? done : refused);
  }
  over = true;
  swapper.join();
  CHECK(b.untouched());
  CHECK(!std::filesystem::exists(b.base / "ws-evil/new"));
  CHECK(done > 0);
}

TEST_CASE("a read-only server has no tools that write") {
  bench b;
  b.config.read_only = true;
  tool_set tools;
  add_file_tools(tools, b.where, b.config);
  REQUIRE(tools.all().size() == 2);
  for (const auto& each : tools.all()) {
    CHECK(!each.writes);
    CHECK(each.annotations.read_only);
  }
  for (const auto& each : b.tools.all())
    CHECK(each.writes == !each.annotations.read_only);
}
