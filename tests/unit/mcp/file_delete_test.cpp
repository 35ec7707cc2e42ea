#include <atomic>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <sys/sysmacros.h>

#include "tests/unit/mcp/file_fixture.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::mcp::test_files;
namespace fs = std::filesystem;

TEST_CASE("a file is deleted, and a missing one is an error") {
  bench b;
  b.put("a.txt", "x");
  auto out = b.ok("file_delete", {{"path", "a.txt"}});
  CHECK(out["type"] == "file");
  CHECK(out["removed"] == 1);
  CHECK(b.names().empty());
  CHECK(b.no("file_delete", {{"path", "a.txt"}}) == "not_found");
  CHECK(b.no("file_delete", json::object()) == "bad_request");
}

TEST_CASE("the workspace itself is never deleted") {
  bench b;
  b.put("sub/x", "x");
  b.link(".", "self");
  for (const auto& path :
       {std::string{}, std::string{"."}, std::string{"./"}, std::string{"./."},
        std::string{".."}, std::string{"sub/.."}, std::string{"sub/../"},
        std::string{"sub/../."}, std::string{"sub/../../ws"},
        std::string{"../ws"}, b.ws, b.ws + "/", b.ws + "/.", b.ws + "//",
        b.ws + "/sub/..", std::string{"self/."}, std::string{"self/sub/.."}}) {
    if (path == "self/.") // the link, with what may stand behind a folder
      continue;
    INFO(path);
    const auto code =
        b.no("file_delete", {{"path", path}, {"recursive", true}});
    CHECK((code == "bad_request" || code == "denied"));
    CHECK(b.get("sub/x") == "x");
  }
  // The link to it goes, not what it leads to.
  b.ok("file_delete", {{"path", "self"}, {"recursive", true}});
  CHECK(b.get("sub/x") == "x");
  CHECK(b.untouched());
}

TEST_CASE("a folder is deleted when it is empty, or with recursive") {
  bench b;
  b.put("f/a", "x");
  b.put("f/g/b", "x");
  auto refused = b.why("file_delete", {{"path", "f"}});
  CHECK(refused.code == ec::conflict);
  CHECK(refused.hint.find("recursive") != std::string::npos);
  CHECK(b.get("f/g/b") == "x");
  auto out = b.ok("file_delete", {{"path", "f"}, {"recursive", true}});
  CHECK(out["type"] == "folder");
  CHECK(out["removed"] == 4);
  CHECK(b.names().empty());
  ::mkdir(b.at("e").c_str(), 0755);
  b.ok("file_delete", {{"path", "e/"}});
  CHECK(b.names().empty());
}

TEST_CASE("links are deleted themselves, what they lead to stays") {
  bench b;
  b.put("tree/x", "x");
  b.link(b.base / "ws-evil", "tree/out");
  b.link("../ws-evil", "out");
  b.link("/", "tree/root");
  b.link("nowhere", "dangling");
  CHECK(b.ok("file_delete", {{"path", "out"}, {"recursive", true}})["type"]
        == "link");
  CHECK(b.ok("file_delete", {{"path", "dangling"}})["type"] == "link");
  b.ok("file_delete", {{"path", "tree"}, {"recursive", true}});
  CHECK(b.names().empty());
  CHECK(b.untouched());
}

TEST_CASE("paths that lead out delete nothing") {
  bench b;
  hostile_links(b);
  for (const auto& path : hostile_paths(b)) {
    INFO(path);
    const auto code =
        b.no("file_delete", {{"path", path}, {"recursive", true}});
    CHECK((code == "bad_request" || code == "denied"));
  }
  CHECK(b.untouched());
  CHECK(b.get("sub/file.txt") == "inside");
}

TEST_CASE("FIFOs, sockets, devices and odd names are deleted like files") {
  bench b;
  REQUIRE(::mkfifo(b.at("fifo").c_str(), 0644) == 0);
  CHECK(b.ok("file_delete", {{"path", "fifo"}})["type"] == "fifo");
  if (::mknod(b.at("null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0)
    CHECK(b.ok("file_delete", {{"path", "null"}})["type"] == "device");
  b.put("new\nline", "x");
  b.put("-rf", "x");
  b.put(" ", "x");
  for (const auto* name : {"new\nline", "-rf", " "})
    b.ok("file_delete", {{"path", name}});
  CHECK(b.names().empty());
}

TEST_CASE("a hard link is deleted without its other names") {
  bench b;
  REQUIRE(::link((b.base / "outside.txt").c_str(), b.at("hard").c_str()) == 0);
  b.ok("file_delete", {{"path", "hard"}});
  CHECK(b.untouched());
}

TEST_CASE("a tree of any depth is deleted with few descriptors") {
  bench b;
  // 400 levels: far over the bound of descriptors.
  int at = ::open(b.ws.c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 400; ++i) {
    REQUIRE(::mkdirat(at, "level", 0755) == 0);
    const int next = ::openat(at, "level", O_RDONLY | O_DIRECTORY);
    ::close(at);
    at = next;
    REQUIRE(at >= 0);
  }
  ::close(at);
  auto out = b.ok("file_delete", {{"path", "level"}, {"recursive", true}});
  CHECK(out["removed"] == 400);
  CHECK(b.names().empty());
}

TEST_CASE("a cancelled delete stops") {
  bench b;
  for (int i = 0; i < 50; ++i)
    b.put("f/" + std::to_string(i), "x");
  lone_call in;
  in.cancel().cancel();
  const json args = {{"path", "f"}, {"recursive", true}};
  auto out = b.tools.find("file_delete")->run(arguments{args}, in);
  CHECK(!out);
  CHECK(b.names("f").size() >= 48);
}

TEST_CASE("folders that are swapped for links during a recursive delete lead "
          "nowhere") {
  bench b;
  fs::create_directory(b.base / "precious");
  for (int i = 0; i < 20; ++i)
    write_file(b.base / ("precious/" + std::to_string(i)), "x");
  std::atomic<bool> over = false;
  fs::create_symlink(b.base / "precious", b.at("bad"));
  std::thread swapper{[&] {
    const auto bad = b.at("bad"), victim = b.at("tree/victim");
    while (!over)
      ::renameat2(AT_FDCWD, bad.c_str(), AT_FDCWD, victim.c_str(),
                  RENAME_EXCHANGE);
  }};
  for (int turn = 0; turn < 300; ++turn) {
    std::error_code ignored;
    fs::create_directories(b.at("tree/victim"), ignored);
    const auto file = b.at("tree/victim/x");
    if (const int fd =
            ::open(file.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
        fd >= 0)
      ::close(fd);
    // Errors are all right here; reaching outside is not.
    static_cast<void>(
        b.run("file_delete", {{"path", "tree"}, {"recursive", true}}));
    struct stat about {};
    if (::lstat(b.at("bad").c_str(), &about) != 0)
      fs::create_symlink(b.base / "precious", b.at("bad"), ignored);
  }
  over = true;
  swapper.join();
  std::size_t left = 0;
  for (const auto& entry : fs::directory_iterator(b.base / "precious"))
    left += entry.path().filename() == "x" ? 0 : 1;
  CHECK(left == 20);
}
