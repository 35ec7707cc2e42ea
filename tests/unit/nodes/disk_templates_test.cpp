#include "nodes/disk_templates.hpp"

#include <catch2/catch.hpp>

#include <fstream>

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "messages/limits.hpp"
#include "tests/support/process.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

/// A host's data directory with its templates.
struct host {
  test::temp_dir dir;
  std::unique_ptr<disk_templates> disk;

  host() { reopen(); }
  explicit host(disk_templates::options how) { reopen(how); }
  void reopen(disk_templates::options how = {}) {
    disk.reset();
    disk = disk_templates::open(data(), how);
  }
  fs::path data() const { return dir.path(); }
  fs::path root(const std::string& name = "web") const {
    return data() / "templates" / name / "rootfs";
  }
  fs::path incoming() const { return data() / "templates" / ".incoming"; }
  std::size_t left() const { // in .incoming
    std::error_code none;
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator{incoming(), none}, {}));
  }
  template_archive archive(const std::string& name = "web") {
    const auto got = disk->read({name, {}, 0});
    REQUIRE(got);
    CHECK(got->bytes.empty());
    return {got->digest, got->size};
  }
  api::template_chunk piece(const template_archive& of, std::uint64_t at) {
    auto got = disk->read({"web", of.digest, at});
    REQUIRE(got);
    return std::move(*got);
  }
};

void write(const fs::path& to, const std::string& text) {
  fs::create_directories(to.parent_path());
  std::ofstream{to} << text;
}

/// Everything that a file system has.
void make_web(const host& on) {
  const auto root = on.root();
  write(root / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  write(root / "usr/bin/tool", std::string(300'000, 't'));
  ::chmod((root / "usr/bin/tool").c_str(), 04755);
  fs::create_hard_link(root / "usr/bin/tool", root / "usr/bin/other");
  fs::create_symlink("/etc/passwd", root / "etc/link");
  fs::create_symlink("../../outside", root / "etc/away");
  fs::create_directories(root / "tmp");
  ::chmod((root / "tmp").c_str(), 01777);
  write(root / "home/file with \"a name\"\n", "x");
  const timespec then[2] = {{1'000'000'000, 123'456'789},
                            {1'000'000'000, 123'456'789}};
  ::utimensat(AT_FDCWD, (root / "etc/passwd").c_str(), then, 0);
}

/// All pieces from one host to the other; false at the first error.
result<void> carry(host& from, host& to, const template_archive& what) {
  auto at = to.disk->begin("web", what);
  if (!at)
    return tl::unexpected<failure>(at.error());
  while (*at < what.size) {
    const auto piece = from.piece(what, *at);
    if (auto done = to.disk->append("web", what, piece); !done)
      return done;
    *at += piece.bytes.size();
  }
  return to.disk->install("web", what);
}

struct stat look(const fs::path& at) {
  struct stat out {};
  REQUIRE(::lstat(at.c_str(), &out) == 0);
  return out;
}

} // namespace

TEST_CASE("a template goes to another host whole") {
  host a, b;
  make_web(a);
  const bool root = ::geteuid() == 0;
  if (root)
    REQUIRE(::lchown((a.root() / "home").c_str(), 1234, 4321) == 0);
  const bool attributes =
      ::setxattr((a.root() / "etc/passwd").c_str(), "user.note", "hi", 2, 0)
      == 0;
  const auto what = a.archive();
  CHECK_FALSE(b.disk->has("web"));
  REQUIRE(carry(a, b, what));
  CHECK(b.disk->has("web"));
  CHECK(b.disk->list() == std::vector<std::string>{"minimal", "web"});
  CHECK(b.left() == 0);

  const auto tool = look(b.root() / "usr/bin/tool");
  CHECK((tool.st_mode & 07777) == 04755);
  CHECK(tool.st_size == 300'000);
  CHECK(tool.st_ino == look(b.root() / "usr/bin/other").st_ino);
  CHECK((look(b.root() / "tmp").st_mode & 07777) == 01777);
  CHECK(fs::read_symlink(b.root() / "etc/link") == "/etc/passwd");
  CHECK(fs::read_symlink(b.root() / "etc/away") == "../../outside");
  CHECK(look(b.root() / "etc/passwd").st_mtim.tv_nsec == 123'456'789);
  CHECK(fs::exists(b.root() / "home/file with \"a name\"\n"));
  if (root) {
    CHECK(look(b.root() / "home").st_uid == 1234);
    CHECK(look(b.root() / "home").st_gid == 4321);
  }
  if (attributes) {
    char note[8] = {};
    CHECK(::getxattr((b.root() / "etc/passwd").c_str(), "user.note", note, 8)
          == 2);
  }
  // The same files are the same bytes: a third host goes on from either.
  CHECK(b.archive() == what);
}

TEST_CASE("what has come of a template is kept over a restart") {
  host a, b;
  make_web(a);
  const auto what = a.archive();
  REQUIRE(what.size > 4 * limits::frame_max);
  REQUIRE(b.disk->begin("web", what) == std::uint64_t{0});
  for (const auto at : {0UL, limits::frame_max})
    REQUIRE(b.disk->append("web", what, a.piece(what, at)));
  // Part of a piece was written when the host lost power.
  const auto partial = b.incoming() / ("web@" + what.digest);
  std::ofstream{partial, std::ios::app} << "half a piece";
  fs::create_directories(b.incoming() / "web.abcd1234" / "rootfs");
  b.reopen();
  CHECK(b.left() == 1); // what was half unpacked is gone
  CHECK(b.disk->begin("web", what) == 2 * limits::frame_max);
  a.reopen(); // packed anew, to the same bytes
  CHECK(carry(a, b, what));
  CHECK(b.archive() == what);
}

TEST_CASE("damage on the way or on the disk is noticed, and nothing is kept") {
  host a, b;
  make_web(a);
  const auto what = a.archive();
  REQUIRE(b.disk->begin("web", what));
  auto piece = a.piece(what, 0);
  piece.bytes[100] = static_cast<char>(piece.bytes[100] ^ 1);
  CHECK(b.disk->append("web", what, piece).error().code == ec::malformed);
  CHECK(
      b.disk->append("web", what, a.piece(what, limits::frame_max)).error().code
      == ec::malformed); // not the next
  CHECK(b.disk->begin("web", what) == std::uint64_t{0});

  REQUIRE(b.disk->append("web", what, a.piece(what, 0)));
  const auto partial = b.incoming() / ("web@" + what.digest);
  {
    std::fstream file{partial, std::ios::in | std::ios::out};
    file.seekp(1000);
    file << "!";
  }
  const auto done = carry(a, b, what);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ec::malformed);
  CHECK(done.error().message.find("came damaged") != std::string::npos);
  CHECK_FALSE(b.disk->has("web"));
  CHECK(b.left() == 0);
  CHECK(carry(a, b, what));
}

TEST_CASE("a template that changes is another archive") {
  host a{disk_templates::options{std::chrono::milliseconds{-1}}}, b;
  make_web(a);
  const auto before = a.archive();
  a.disk->close_idle();
  CHECK(a.archive() == before);
  // As an administrator does it: a new tree in the place of the old one.
  fs::rename(a.root(), a.root().string() + ".old");
  make_web(a);
  write(a.root() / "etc/version", "2\n");
  CHECK(a.disk->read({"web", before.digest, 0}).error().code == ec::conflict);
  const auto after = a.archive();
  CHECK(after.digest != before.digest);
  // What was fetched of the old one is of no use any more.
  REQUIRE(b.disk->begin("web", before));
  CHECK(b.left() == 1);
  REQUIRE(carry(a, b, after));
  CHECK(b.left() == 0);
  CHECK(fs::exists(b.root() / "etc/version"));
}

TEST_CASE("requests for pieces that are none are refused") {
  host a;
  make_web(a);
  const auto what = a.archive();
  CHECK(a.disk->read({"other", {}, 0}).error().code == ec::not_found);
  CHECK(a.disk->read({"../web", {}, 0}).error().code == ec::not_found);
  CHECK(a.disk->read({"web", what.digest, what.size}).error().code
        == ec::bad_request);
  CHECK(a.disk->read({"web", what.digest, ~0ULL}).error().code
        == ec::bad_request);
  CHECK(a.left() == 0); // the archive has no name
  const auto digest = std::string(64, 'a');
  CHECK(a.disk->begin("web", {digest, 0}).error().code == ec::malformed);
  CHECK(a.disk->begin("web", {digest, ~0ULL}).error().code == ec::malformed);
  CHECK(a.disk->begin("web", {"../../x", 5}).error().code == ec::malformed);
  CHECK(a.disk->begin("..", {digest, 5}).error().code == ec::malformed);
}

TEST_CASE("a template that is there already stays as it is") {
  host a, b;
  make_web(a);
  write(b.root() / "mine", "");
  REQUIRE(carry(a, b, a.archive()));
  CHECK(fs::exists(b.root() / "mine"));
  CHECK_FALSE(fs::exists(b.root() / "etc"));
  CHECK(b.left() == 0);
}

TEST_CASE("a disk without room for a template is said before anything comes") {
  host a, b;
  make_web(a);
  const auto what = a.archive();
  const auto none = b.disk->begin("web", {what.digest, 1ULL << 49U});
  REQUIRE_FALSE(none);
  CHECK(none.error().code == ec::resource);
  CHECK(none.error().message.starts_with(
      "there is no room for template \"web\": it needs "));
  CHECK_FALSE(none.error().hint.empty());

  // And one that fills up meanwhile.
  REQUIRE(b.disk->begin("web", what));
  if (::mount("tmpfs", b.incoming().c_str(), "tmpfs", 0, "size=100k") != 0) {
    WARN("no mount for a full disk: not root");
    return;
  }
  struct unmount {
    fs::path at;
    ~unmount() { ::umount2(at.c_str(), MNT_DETACH); }
  } const after{b.incoming()};
  write(b.incoming() / ("web@" + what.digest), "");
  REQUIRE(b.disk->append("web", what, a.piece(what, 0)));
  const auto full =
      b.disk->append("web", what, a.piece(what, limits::frame_max));
  REQUIRE_FALSE(full);
  CHECK(full.error().code == ec::resource);
}
