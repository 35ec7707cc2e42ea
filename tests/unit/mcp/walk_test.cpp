#include "mcp/walk.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;

namespace {

struct walked {
  std::vector<std::string> paths; ///< Sorted; folders with a slash.
  walk_stats stats;
};

walked walk_beneath(int folder, walk_options options = {},
                    cancellation* cancel = nullptr) {
  cancellation none;
  std::mutex mutex;
  walked out;
  out.stats = walk(folder, options, cancel != nullptr ? *cancel : none,
                   [&](const walk_entry& entry) {
                     const std::lock_guard lock{mutex};
                     out.paths.emplace_back(entry.path);
                     if (entry.type == entry_type::folder)
                       out.paths.back() += '/';
                   });
  std::sort(out.paths.begin(), out.paths.end());
  return out;
}

owned_fd open_folder(const std::string& folder) {
  owned_fd fd{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  REQUIRE(fd);
  return fd;
}

walked walk_all(const std::string& folder, walk_options options = {},
                cancellation* cancel = nullptr) {
  return walk_beneath(open_folder(folder).get(), std::move(options), cancel);
}

std::size_t open_descriptors() {
  owned_fd fd{::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  walk_options alone;
  alone.threads = 1;
  alone.respect_ignore = false;
  cancellation none;
  std::size_t count = 0;
  walk(fd.get(), alone, none, [&](const walk_entry&) { ++count; });
  return count;
}

using paths = std::vector<std::string>;

} // namespace

TEST_CASE(
    "a walk lists files and folders, with ignore rules and hidden names") {
  temp_dir dir;
  for (const auto* each : {"a", "a/b", "build", ".git", "a/.cache"})
    REQUIRE(::mkdir((dir / each).c_str(), 0755) == 0);
  for (const auto* each : {"x", "a/y.o", "a/b/z", "build/o", ".git/config",
                           ".env", "a/.cache/c", "a/b/keep.o"})
    write_file(dir / each, "");
  write_file(dir / ".gitignore", "*.o\nbuild/\n");
  write_file(dir / "a/b/.gitignore", "!keep.o\n");
  auto where = workspace::open(dir.path());
  REQUIRE(where.has_value());
  walk_options options;
  options.rules = ignore_rules::of_folder(*where, "");
  const auto plain = walk_all(dir.path(), options);
  CHECK(plain.paths == paths{"a/", "a/b/", "a/b/keep.o", "a/b/z", "x"});
  CHECK(plain.stats.folders == 3);
  CHECK(plain.stats.ignored == 2);
  CHECK(plain.stats.hidden == 4); // .env, .cache, .gitignore twice
  options.hidden = true;
  CHECK(walk_all(dir.path(), options).paths
        == paths{".env", ".gitignore", "a/", "a/.cache/", "a/.cache/c", "a/b/",
                 "a/b/.gitignore", "a/b/keep.o", "a/b/z", "x"});
  options.hidden = false;
  options.respect_ignore = false;
  CHECK(walk_all(dir.path(), options).paths
        == paths{"a/", "a/b/", "a/b/keep.o", "a/b/z", "a/y.o", "build/",
                 "build/o", "x"});
  options.prefix = "some/where";
  options.enter = [](std::string_view below) { return below == "a"; };
  CHECK(walk_all(dir.path(), options).paths
        == paths{"some/where/a/", "some/where/a/b/", "some/where/a/y.o",
                 "some/where/build/", "some/where/x"});
}

TEST_CASE("a walk follows no link and opens nothing special") {
  temp_dir dir, outside;
  write_file(outside / "secret", "");
  REQUIRE(::mkdir((dir / "sub").c_str(), 0755) == 0);
  REQUIRE(::symlink(outside.path().c_str(), (dir / "out").c_str()) == 0);
  REQUIRE(::symlink("/", (dir / "sub/root").c_str()) == 0);
  REQUIRE(::symlink(".", (dir / "loop").c_str()) == 0);
  REQUIRE(::symlink("..", (dir / "sub/up").c_str()) == 0);
  REQUIRE(::symlink("nowhere", (dir / "dangling").c_str()) == 0);
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0644) == 0);
  CHECK(walk_all(dir.path()).paths
        == paths{"dangling", "fifo", "loop", "out", "sub/", "sub/root",
                 "sub/up"});
}

TEST_CASE("a walk takes names of any bytes") {
  temp_dir dir;
  for (const auto* each :
       {"new\nline", "\xFF\xFE", " ", "-rf", "\\", "*", "\x1B[31m"})
    write_file(dir / each, "");
  const std::string longest(255, 'n');
  write_file(dir / longest, "");
  CHECK(walk_all(dir.path()).paths
        == paths{"\x1B[31m", " ", "*", "-rf", "\\", "new\nline", longest,
                 "\xFF\xFE"});
}

TEST_CASE("a walk of 5,000 levels ends, holds few descriptors and says so") {
  temp_dir dir;
  owned_fd at{::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  for (auto i = 0; i < 5000; ++i) {
    REQUIRE(::mkdirat(at.get(), "d", 0755) == 0);
    owned_fd next{::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    REQUIRE(next);
    at = std::move(next);
  }
  const auto before = open_descriptors();
  walk_options options;
  const auto bounded = walk_all(dir.path(), options);
  CHECK(bounded.paths.size() == options.max_depth + 1);
  CHECK(bounded.stats.too_deep == 1);
  options.max_depth = 100'000;
  const auto path_max = walk_all(dir.path(), options);
  CHECK(path_max.paths.size() > 2000);
  CHECK(path_max.stats.too_deep == 1);
  CHECK(open_descriptors() == before);
  // Nothing that goes down by paths could remove it.
  for (auto i = 0; i < 5000; ++i) {
    at = owned_fd{::openat(at.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    REQUIRE(::unlinkat(at.get(), "d", AT_REMOVEDIR) == 0);
  }
}

TEST_CASE("a walk of 100,000 names in one folder and of many folders") {
  temp_dir dir;
  REQUIRE(::mkdir((dir / "wide").c_str(), 0755) == 0);
  owned_fd wide{
      ::open((dir / "wide").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Hard links are the quickest files; ext4 allows 65,000 of one.
  std::string source;
  for (auto i = 0; i < 100'000; ++i) {
    const auto name = "file" + std::to_string(i);
    if (i % 30'000 == 0) {
      owned_fd made{::openat(wide.get(), name.c_str(),
                             O_CREAT | O_WRONLY | O_CLOEXEC, 0644)};
      REQUIRE(made);
      source = name;
    } else {
      REQUIRE(::linkat(wide.get(), source.c_str(), wide.get(), name.c_str(), 0)
              == 0);
    }
  }
  for (auto i = 0; i < 300; ++i)
    REQUIRE(::mkdir((dir / ("d" + std::to_string(i))).c_str(), 0755) == 0);
  const auto all = walk_all(dir.path());
  CHECK(all.paths.size() == 100'301);
  CHECK(std::adjacent_find(all.paths.begin(), all.paths.end())
        == all.paths.end());
  CHECK(all.stats.folders == 302);
}

TEST_CASE("a walk says which folders it could not read") {
  temp_dir dir;
  REQUIRE(::mkdir((dir / "closed").c_str(), 0755) == 0);
  write_file(dir / "closed/x", "");
  REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
  REQUIRE(::chmod((dir / "closed").c_str(), 0) == 0);
  // Opened before: a folder above may be closed to others.
  const auto folder = open_folder(dir.path());
  // Root reads everything: be nobody for a moment (all threads, glibc).
  const auto root = ::geteuid() == 0;
  if (root)
    REQUIRE(::seteuid(65'534) == 0);
  const auto all = walk_beneath(folder.get());
  if (root)
    REQUIRE(::seteuid(0) == 0);
  REQUIRE(::chmod((dir / "closed").c_str(), 0755) == 0);
  CHECK(all.paths == paths{"closed/"});
  CHECK(all.stats.unreadable == 1);
  CHECK(all.stats.unreadable_first == paths{"closed"});
}

TEST_CASE("a folder swapped for a link during walks never leads out") {
  temp_dir dir, outside;
  write_file(outside / "secret", "");
  for (const auto* each : {"a", "a/b"})
    REQUIRE(::mkdir((dir / each).c_str(), 0755) == 0);
  write_file(dir / "a/b/inside", "");
  REQUIRE(::symlink(outside.path().c_str(), (dir / "l").c_str()) == 0);
  std::atomic<bool> stop = false;
  std::atomic<std::size_t> swaps = 0;
  std::thread swapper{[&] {
    // "b" is in turn the folder and the link.
    while (!stop) {
      ::renameat2(AT_FDCWD, (dir / "a/b").c_str(), AT_FDCWD,
                  (dir / "l").c_str(), RENAME_EXCHANGE);
      ++swaps;
    }
  }};
  std::set<std::string> seen;
  for (auto i = 0; i < 2000; ++i)
    for (auto& each : walk_all(dir.path()).paths)
      seen.insert(std::move(each));
  stop = true;
  swapper.join();
  CHECK(swaps > 0);
  CHECK(seen.count("a/b/inside") + seen.count("l/inside") > 0);
  for (const auto& each : seen) {
    INFO(each);
    CHECK(each.find("secret") == std::string::npos);
  }
}

TEST_CASE("a cancelled walk stops") {
  temp_dir dir;
  for (auto i = 0; i < 200; ++i) {
    const auto folder = std::to_string(i);
    REQUIRE(::mkdir((dir / folder).c_str(), 0755) == 0);
    write_file(dir / (folder + "/file"), "");
  }
  cancellation cancel;
  SECTION("before it began") {
    cancel.cancel();
    const auto none = walk_all(dir.path(), {}, &cancel);
    CHECK(none.stats.cancelled);
    CHECK(none.stats.folders == 0);
  }
  SECTION("while it runs, on every thread") {
    owned_fd fd{::open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    std::atomic<std::uint64_t> ticks = 0;
    walk_options options;
    const auto stats = walk(
        fd.get(), options, cancel,
        [&](const walk_entry& entry) {
          // The others stay in their first folder until then: they may well
          // be through with all of them before the caller's thread ticks.
          while (entry.worker != 0 && !cancel.cancelled())
            std::this_thread::yield();
        },
        [&](std::uint64_t) {
          if (++ticks == 1)
            cancel.cancel();
        });
    CHECK(stats.cancelled);
    CHECK(ticks == 1);
    CHECK(stats.folders <= options.threads);
  }
}
