#include "mcp/workspace.hpp"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using caged::test::temp_dir;

namespace {

/// base/ws is the workspace; base/ws-evil and base/outside.txt lie beside it.
struct playground {
  temp_dir base;
  std::string ws = base / "ws";
  workspace where;

  playground() : where{make()} {}

  workspace make() {
    ::mkdir(ws.c_str(), 0755);
    ::mkdir((ws + "/sub").c_str(), 0755);
    ::mkdir((base / "ws-evil").c_str(), 0755);
    test::write_file(base / "ws-evil/secret.txt", "secret");
    test::write_file(base / "outside.txt", "secret");
    test::write_file(ws + "/a.txt", "inside");
    test::write_file(ws + "/sub/b.txt", "inside");
    auto out = workspace::open(ws);
    REQUIRE(out);
    return std::move(*out);
  }

  void link(const std::string& target, const std::string& name) const {
    REQUIRE(::symlink(target.c_str(), (ws + "/" + name).c_str()) == 0);
  }

  /// What reading the path gives: its text, or the error's name.
  std::string read(std::string_view path, int flags = O_RDONLY) const {
    auto fd = where.open_at(path, flags);
    if (!fd)
      return "<" + std::string{to_string(fd.error().code)} + ">";
    char text[64];
    auto n = ::read(fd->get(), text, sizeof text);
    return n < 0 ? "<unreadable>" : std::string(text, std::size_t(n));
  }
};

} // namespace

TEST_CASE("a workspace that is not there, or no folder, is refused") {
  temp_dir base;
  test::write_file(base / "file", "");
  auto missing = workspace::open(base / "none");
  REQUIRE(!missing);
  CHECK(missing.error().code == ec::not_found);
  auto file = workspace::open(base / "file");
  REQUIRE(!file);
  CHECK(file.error().code == ec::bad_request);
  CHECK(!file.error().hint.empty());
}

TEST_CASE("paths are relative to the workspace or absolute beneath it") {
  playground p;
  CHECK(p.where.root() == std::filesystem::canonical(p.ws));
  CHECK(p.read("a.txt") == "inside");
  CHECK(p.read("./sub//b.txt") == "inside");
  CHECK(p.read("sub/../a.txt") == "inside");
  CHECK(p.read(p.ws + "/a.txt") == "inside");
  CHECK(p.read(p.ws + "//sub/./b.txt") == "inside");
  CHECK(p.where.relative("") == std::string{"."});
  CHECK(p.where.relative(".") == std::string{"."});
  CHECK(p.where.relative(p.ws) == std::string{"."});
  CHECK(p.where.relative(p.ws + "/") == std::string{"."});
  CHECK(p.where.relative(p.ws + "/sub") == std::string{"sub"});
}

TEST_CASE("a workspace given through a link takes both of its names") {
  temp_dir base;
  ::mkdir((base / "real").c_str(), 0755);
  test::write_file(base / "real/a.txt", "x");
  REQUIRE(::symlink("real", (base / "link").c_str()) == 0);
  auto where = workspace::open((base / "link") + "/");
  REQUIRE(where);
  CHECK(where->root() == base / "real");
  CHECK(where->open_at(base / "link/a.txt", O_RDONLY));
  CHECK(where->open_at(base / "real/a.txt", O_RDONLY));
  CHECK(!where->open_at(base / "linked/a.txt", O_RDONLY));
}

TEST_CASE("paths that lead out of the workspace are refused by their text or "
          "by the kernel") {
  playground p;
  p.link("/", "to-root");
  p.link(p.base.path(), "to-base");
  p.link("..", "to-parent");
  p.link("../ws-evil", "to-evil");
  p.link("../outside.txt", "to-file");
  p.link("to-file", "to-link");
  p.link("/proc/self/root", "to-magic");
  p.link("loop", "loop");
  const auto denied = "<denied>";
  const auto bad = "<bad_request>";
  CHECK(p.read("../outside.txt") == denied);
  CHECK(p.read("sub/../../outside.txt") == denied);
  CHECK(p.read("sub/../../ws/a.txt") == denied);
  CHECK(p.read("../ws-evil/secret.txt") == denied);
  CHECK(p.read("../../../../../../etc/passwd") == denied);
  CHECK(p.read(p.ws + "/../outside.txt") == denied);
  CHECK(p.read("to-root/etc/passwd") == denied);
  CHECK(p.read("to-base/outside.txt") == denied);
  CHECK(p.read("to-parent/outside.txt") == denied);
  CHECK(p.read("to-evil/secret.txt") == denied);
  CHECK(p.read("to-file") == denied);
  CHECK(p.read("to-link") == denied);
  CHECK(p.read("to-magic/etc/passwd") == denied);
  CHECK(p.read("loop") == denied);
  CHECK(p.read("/etc/passwd") == bad);
  CHECK(p.read("//etc/passwd") == bad);
  CHECK(p.read("/proc/self/root/etc/passwd") == bad);
  CHECK(p.read(p.ws + "-evil/secret.txt") == bad);
  CHECK(p.read("file:///etc/passwd") == bad);
  CHECK(p.read("file://" + p.ws + "/a.txt") == bad);
  CHECK(p.read("~/a.txt") == bad);
  CHECK(p.read(std::string_view{"a.txt\0/../../x", 14}) == bad);
  CHECK(p.read(std::string(5000, 'a')) == bad);
  CHECK(p.read(std::string(300, 'a')) == bad);
  CHECK(p.read("a.txt/../../outside.txt") == bad);
  CHECK(p.read("a.txt\n../outside.txt") == "<not_found>");
  CHECK(p.read("..\\outside.txt") == "<not_found>");
  CHECK(p.read("%2e%2e/outside.txt") == "<not_found>");
  CHECK(p.read(".. /outside.txt") == "<not_found>");
  CHECK(p.read("A.TXT") == "<not_found>");
}

TEST_CASE("a refusal is one sentence that names the path, with a remedy") {
  playground p;
  auto refused = p.where.open_at("../outside.txt", O_RDONLY);
  REQUIRE(!refused);
  CHECK(refused.error().message.find("../outside.txt") != std::string::npos);
  CHECK(refused.error().message.find('\n') == std::string::npos);
  CHECK(!refused.error().hint.empty());
}

TEST_CASE("links that stay inside are followed") {
  playground p;
  p.link("sub", "folder");
  p.link("../a.txt", "sub/up");
  p.link("up", "sub/again");
  CHECK(p.read("folder/b.txt") == "inside");
  CHECK(p.read("folder/up") == "inside");
  CHECK(p.read("folder/again") == "inside");
}

TEST_CASE("magic links of a proc in the workspace are not followed") {
  auto where = workspace::open("/proc");
  REQUIRE(where);
  CHECK(where->open_at("self/status", O_RDONLY));
  for (const auto* path : {"self/root/etc/passwd", "self/cwd/x", "self/fd/0",
                           "self/exe", "thread-self/root"}) {
    auto fd = where->open_at(path, O_RDONLY);
    REQUIRE(!fd);
    CHECK(fd.error().code == ec::denied);
  }
}

TEST_CASE("a FIFO, a folder and a socket do not block who opens them") {
  playground p;
  REQUIRE(::mkfifo((p.ws + "/fifo").c_str(), 0644) == 0);
  CHECK(p.where.open_at("fifo", O_RDONLY)); // refused by fstat later
  auto to = p.where.open_at("fifo", O_WRONLY);
  REQUIRE(!to);
  CHECK(to.error().code == ec::bad_request);
  auto folder = p.where.open_at("sub", O_WRONLY);
  REQUIRE(!folder);
  CHECK(folder.error().code == ec::bad_request);
}

TEST_CASE("the parent of a path is found, never beside the workspace") {
  playground p;
  p.link("..", "to-parent");
  auto at = p.where.parent_of("sub/new.txt");
  REQUIRE(at);
  CHECK(at->name == "new.txt");
  CHECK(::faccessat(at->folder.get(), "b.txt", F_OK, 0) == 0);
  CHECK(p.where.parent_of("sub/")->name == "sub");
  CHECK(p.where.parent_of("sub/./")->name == "sub");
  auto code = [&](std::string_view path) {
    auto found = p.where.parent_of(path);
    return found ? std::string{"found"}
                 : std::string{to_string(found.error().code)};
  };
  CHECK(code("") == "bad_request");
  CHECK(code(".") == "bad_request");
  CHECK(code("./.") == "bad_request");
  CHECK(code("./") == "bad_request");
  CHECK(code("..") == "bad_request");
  CHECK(code("sub/..") == "bad_request");
  CHECK(code("sub/../") == "bad_request");
  CHECK(code("sub/../.") == "bad_request");
  CHECK(code(p.ws) == "bad_request");
  CHECK(code(p.ws + "/") == "bad_request");
  CHECK(code("../ws") == "denied");
  CHECK(code("sub/../../ws") == "denied");
  CHECK(code("to-parent/x") == "denied");
  CHECK(code("none/x") == "not_found");
  CHECK(code("a.txt/x") == "bad_request");
  CHECK(code("to-parent") == "found"); // the link itself
}

TEST_CASE("missing folders are made beneath the workspace only") {
  playground p;
  p.link("sub", "inside");
  p.link("../ws-evil", "evil");
  p.link("nowhere", "dangling");
  REQUIRE(p.where.make_parent_of("x/y/z/file"));
  CHECK(std::filesystem::is_directory(p.ws + "/x/y/z"));
  REQUIRE(p.where.make_parent_of("inside/new/file"));
  CHECK(std::filesystem::is_directory(p.ws + "/sub/new"));
  REQUIRE(p.where.make_parent_of("sub/../beside/file"));
  CHECK(std::filesystem::is_directory(p.ws + "/beside"));
  auto evil = p.where.make_parent_of("evil/new/file");
  REQUIRE(!evil);
  CHECK(evil.error().code == ec::denied);
  CHECK(!std::filesystem::exists(p.base / "ws-evil/new"));
  auto up = p.where.make_parent_of("../made/file");
  REQUIRE(!up);
  CHECK(up.error().code == ec::denied);
  CHECK(!std::filesystem::exists(p.base / "made"));
  CHECK(!p.where.make_parent_of("dangling/new/file"));
  CHECK(!std::filesystem::exists(p.ws + "/nowhere"));
  CHECK(!p.where.make_parent_of("a.txt/new/file"));
}

TEST_CASE("a link that is swapped all the time never leads out") {
  playground p;
  std::atomic<bool> over = false;
  // "target" is in turn a file inside and a link to one outside; "way" in turn
  // a folder inside and a link to the folder beside the workspace.
  test::write_file(p.ws + "/good", "inside");
  ::mkdir((p.ws + "/way-good").c_str(), 0755);
  test::write_file(p.ws + "/way-good/secret.txt", "inside");
  p.link("../outside.txt", "bad");
  p.link("../ws-evil", "way-bad");
  std::thread swapper{[&] {
    const auto path = [&](const char* name) { return p.ws + "/" + name; };
    while (!over) {
      ::renameat2(AT_FDCWD, path("good").c_str(), AT_FDCWD, path("bad").c_str(),
                  RENAME_EXCHANGE);
      ::renameat2(AT_FDCWD, path("way-good").c_str(), AT_FDCWD,
                  path("way-bad").c_str(), RENAME_EXCHANGE);
    }
  }};
  unsigned inside = 0, refused = 0, leaked = 0;
  for (int i = 0; (i < 20'000 || inside == 0 || refused == 0) && i < 2'000'000;
       ++i) {
    auto text = p.read(i % 2 == 0 ? "good" : "way-good/secret.txt");
    if (text == "inside")
      ++inside;
    else if (text == "secret")
      ++leaked;
    else
      ++refused;
  }
  over = true;
  swapper.join();
  CHECK(leaked == 0);
  CHECK(inside > 0);
  CHECK(refused > 0);
}

TEST_CASE("renames elsewhere do not make a path with dots fail for good") {
  playground p;
  std::atomic<bool> over = false;
  test::write_file(p.base / "one", "");
  std::thread renamer{[&] {
    while (!over) {
      ::rename((p.base / "one").c_str(), (p.base / "two").c_str());
      ::rename((p.base / "two").c_str(), (p.base / "one").c_str());
    }
  }};
  unsigned good = 0;
  for (int i = 0; i < 5'000; ++i)
    good += p.read("sub/../sub/../a.txt") == "inside" ? 1 : 0;
  over = true;
  renamer.join();
  CHECK(good == 5'000);
}
