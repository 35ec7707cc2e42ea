#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include "tests/support/test_node.hpp"

// What caged cp does with a sandbox whose tar lies.
using namespace caged::test;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// An archive in memory.
class tar_maker {
public:
  /// `root`: begins with the entry of the tree itself.
  explicit tar_maker(bool root = false) {
    ::archive_write_set_format_pax_restricted(out_.get());
    ::archive_write_set_bytes_per_block(out_.get(), 512);
    bytes_.resize(1024 * 1024);
    ::archive_write_open_memory(out_.get(), bytes_.data(), bytes_.size(),
                                &used_);
    if (root)
      add("./", S_IFDIR | 0755);
  }
  tar_maker(const tar_maker&) = delete; // libarchive has our address
  tar_maker& operator=(const tar_maker&) = delete;
  tar_maker& add(const std::string& name, unsigned mode,
                 const std::string& content = {}) {
    return put(name, mode, content, [](archive_entry*) {});
  }
  tar_maker& soft(const std::string& name, const std::string& to) {
    return put(name, S_IFLNK | 0777, {}, [&](archive_entry* e) {
      ::archive_entry_set_symlink(e, to.c_str());
    });
  }
  tar_maker& hard(const std::string& name, const std::string& to) {
    return put(name, S_IFREG | 0644, {}, [&](archive_entry* e) {
      ::archive_entry_set_hardlink(e, to.c_str());
    });
  }
  std::string done() {
    ::archive_write_close(out_.get());
    return bytes_.substr(0, used_);
  }

private:
  tar_maker& put(const std::string& name, unsigned mode,
                 const std::string& content,
                 const std::function<void(archive_entry*)>& more) {
    auto* e = ::archive_entry_new();
    ::archive_entry_set_pathname(e, name.c_str());
    ::archive_entry_set_mode(e, mode);
    ::archive_entry_set_size(e, static_cast<la_int64_t>(content.size()));
    more(e);
    ::archive_write_header(out_.get(), e);
    if (!content.empty())
      ::archive_write_data(out_.get(), content.data(), content.size());
    ::archive_entry_free(e);
    return *this;
  }

  struct releaser {
    void operator()(archive* a) const { ::archive_write_free(a); }
  };
  std::string bytes_;
  std::size_t used_ = 0;
  std::unique_ptr<archive, releaser> out_{::archive_write_new()};
};

nlink_t links_of(const std::string& path) {
  struct stat about {};
  ::lstat(path.c_str(), &about);
  return about.st_nlink;
}

constexpr unsigned file = S_IFREG | 0644, folder = S_IFDIR | 0755;

/// A sandbox whose tar prints what the test wants.
struct liar {
  test_node node;
  std::string id;

  liar() {
    REQUIRE(node.start());
    id = node.up();
    REQUIRE_FALSE(id.empty());
    REQUIRE(node.caged({"exec", id, "--", "sh", "-c",
                        "mkdir tree; echo asked > tree/f; "
                        "rm -f /bin/tar"})
                .exit
            == 0);
  }
  void tar_does(const std::string& script) {
    REQUIRE(node.caged({"files", "write", id, "/bin/tar", "--mode", "0755"},
                       with_input("#!/bin/sh\n" + script + "\n"))
                .exit
            == 0);
  }
  void tar_prints(const std::string& bytes) {
    REQUIRE(node.caged({"cp", "-", id + ":/tmp/evil"}, with_input(bytes)).exit
            == 0);
    tar_does("cat /tmp/evil");
  }
};

} // namespace

TEST_CASE("an archive that leads out of the copy is refused") {
  liar sandbox;
  auto missing = sandbox.node.caged({"cp", sandbox.id + ":tree", "x"});
  CHECK(missing.exit == 1);
  CHECK(has(missing.err, "has no program \"tar\""));

  temp_dir dir;
  write_file(dir / "victim", "safe");
  auto victim = dir / "victim";
  struct lie {
    std::string bytes, why;
    std::string asked = "tree";
  };
  constexpr bool root = true;
  const std::vector<lie> lies = {
      {tar_maker{root}.add(victim, file, "evil").done(), "absolute name"},
      {tar_maker{root}.add("./../victim", file, "evil").done(), "\"..\""},
      {tar_maker{root}.add("./a/../../victim", file, "evil").done(), "\"..\""},
      {tar_maker{root}.soft("./l", victim).done(), "symbolic link"},
      {tar_maker{root}.soft("./l", "../victim").done(), "symbolic link"},
      {tar_maker{root}
           .add("./a/", folder)
           .soft("./a/l", "..")
           .soft("./m", "a/l/../../victim")
           .done(),
       "symbolic link"},
      {tar_maker{root}
           .add("./a/", folder)
           .soft("./l", "a")
           .add("./l/f", file, "evil")
           .done(),
       "cannot be written"},
      {tar_maker{root}.hard("./h", victim).done(), "hard link"},
      {tar_maker{root}.hard("./h", "../victim").done(), "hard link"},
      {tar_maker{root}.hard("./h", "./").done(), "hard link"},
      {tar_maker{root}.add("./dev", S_IFCHR | 0666).done(), "device"},
      {tar_maker{root}.add("./dev", S_IFBLK | 0666).done(), "device"},
      {tar_maker{}.add(".", file, "evil").done(), "as a file"},
      {tar_maker{}.add("./other", file, "evil").done(), "empty archive"},
      {tar_maker{}.add("./g", file, "evil").done(), "was asked for", "tree/f"},
      {tar_maker{}.add("./f", folder).done(), "as a directory", "tree/f"},
      {tar_maker{}.soft("./f", victim).done(), "symbolic link", "tree/f"},
      {tar_maker{}.add("./f", file, "a").add("./f", file, "b").done(), "twice",
       "tree/f"},
      {tar_maker{root}
           .add("./f", file, std::string(9000, 'x'))
           .done()
           .substr(0, 5000),
       "archive"},
      {tar_maker{root}.done() + std::string(3 * 1024 * 1024, '\0'),
       "behind its end"},
      {"this is no tar", "archive"},
  };
  fs::create_directory(dir / "into");
  for (const auto& one : lies) {
    CAPTURE(one.why);
    sandbox.tar_prints(one.bytes);
    auto got = sandbox.node.caged(
        {"cp", sandbox.id + ":" + one.asked, dir / "into/got"});
    INFO(got.err);
    CHECK(got.exit == 1);
    CHECK(has(got.err, one.why));
    CHECK(fs::is_empty(dir / "into"));
    CHECK(read_file(victim) == "safe");
    CHECK(links_of(victim) == 1);
  }

  // What is odd but harmless: a late root, set-user-id, which is dropped.
  sandbox.tar_prints(tar_maker{}
                         .add("./f", S_IFREG | 06755, "x")
                         .soft("./l", "f")
                         .hard("./h", "./f")
                         .add(".", folder)
                         .done());
  auto good =
      sandbox.node.caged({"cp", sandbox.id + ":tree", dir / "into/got"});
  INFO(good.err);
  CHECK(good.exit == 0);
  struct stat about {};
  REQUIRE(::stat((dir / "into/got/f").c_str(), &about) == 0);
  CHECK((about.st_mode & 07777) == 0755);
  CHECK(about.st_nlink == 2);
}

TEST_CASE("a tar that fails, lies about it or never ends puts nothing here") {
  liar sandbox;
  temp_dir dir;
  auto cp = [&](const char* what) {
    return sandbox.node.caged({"cp", sandbox.id + ":" + what, dir / "got"});
  };
  sandbox.tar_does("echo 'tar: the disk is on \033[31mfire' >&2; exit 2");
  auto failed = cp("tree");
  CHECK(failed.exit == 1);
  CHECK(has(failed.err, "the disk is on"));
  CHECK_FALSE(has(failed.err, "\033[31m"));
  CHECK(fs::is_empty(dir.path()));

  // Ctrl-C in the middle of a file, from a tar that will not hear of it.
  auto half = tar_maker{}
                  .add("./f", file, std::string(100'000, 'x'))
                  .done()
                  .substr(0, 60'000);
  REQUIRE(sandbox.node
              .caged({"cp", "-", sandbox.id + ":/tmp/evil"}, with_input(half))
              .exit
          == 0);
  sandbox.tar_does(
      "trap '' INT TERM HUP PIPE; cat /tmp/evil; while :; do sleep 1; done");
  auto job =
      sandbox.node.start_caged({"cp", sandbox.id + ":tree/f", dir / "got"});
  REQUIRE(eventually(20s, [&] {
    for (const auto& item : fs::directory_iterator(dir.path())) {
      std::error_code none;
      auto size = fs::file_size(item.path() / "copy", none);
      if (!none && size > 0)
        return true;
    }
    return false;
  }));
  job->signal(SIGINT);
  REQUIRE(job->wait(20s));
  CHECK(job->exit() == 128 + SIGINT);
  CHECK(fs::is_empty(dir.path()));
  CHECK(eventually(10s, [&] {
    return !has(sandbox.node.caged({"exec", sandbox.id, "--", "ps"}).out,
                "/bin/tar");
  }));
}

TEST_CASE("a write that is broken off leaves the old content") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  REQUIRE(node.caged({"files", "write", id, "f"}, with_input("old")).exit == 0);
  auto listing = [&] { return node.caged({"exec", id, "--", "ls", "-A"}).out; };
  for (int number : {SIGINT, SIGKILL}) {
    // Never ends by itself: its stdin stays open.
    auto job = std::make_unique<background>(std::vector<std::string>{
        "sh", "-c",
        "(echo new; exec sleep 600) | CAGED_ENDPOINT=" + node.endpoint()
            + " exec " + bin_dir() + "/caged files write " + id + " f"});
    REQUIRE(eventually(20s, [&] { return has(listing(), ".caged-write"); }));
    if (number == SIGKILL) {
      job.reset(); // the whole group; its command is killed 30 s later
      CHECK(eventually(60s, [&] {
        return !has(node.caged({"exec", id, "--", "ps"}).out, "cat");
      }));
    } else {
      ::kill(-job->pid(), number);
      CHECK(eventually(20s, [&] { return listing() == "f\n"; }));
    }
    CHECK(node.caged({"files", "cat", id, "f"}).out == "old");
  }
}
