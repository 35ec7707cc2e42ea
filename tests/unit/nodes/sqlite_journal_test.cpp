#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>

#include <catch2/catch.hpp>

#include <sys/mount.h>

#include "messages/text.hpp"
#include "nodes/sqlite_journal.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

struct scratch {
  fs::path path = fs::temp_directory_path() / ("caged-" + random_name(8));
  scratch() { fs::create_directory(path); }
  ~scratch() { fs::remove_all(path); }
};

sandbox_record sandbox(const std::string& id, std::int64_t created_ms = 1) {
  sandbox_record out;
  out.id = id;
  out.owner = "uid:0";
  out.request_id = make_uuid();
  out.digest = 0xfedcba9876543210U; // above what SQLite's integers hold
  out.spec.name = "web";
  out.spec.env = {{"KEY", "value with \"quotes\" and ümlaut"}};
  out.spec.labels = {{"a", "b"}};
  out.spec.init_script = "echo\nhi";
  out.created_ms = out.changed_ms = created_ms;
  out.slot = 7;
  return out;
}

cause because(phase from, phase to, const std::string& text) {
  return {wall_clock_ms(), from, to, "uid:0", text};
}

std::unique_ptr<journal> open(const fs::path& dir) {
  auto made = open_journal(dir / "journal.db");
  INFO((made ? std::string{} : made.error().message));
  REQUIRE(made);
  return std::move(*made);
}

} // namespace

TEST_CASE("a journal gives back everything after a restart") {
  scratch dir;
  auto first = sandbox("cage-aaaaaaaa", 2), second = sandbox("cage-bbbbbbbb");
  std::vector<lease> leases = {{"cgroup", "/caged/a"}, {"loop", "img-a"}};
  {
    auto book = open(dir.path);
    REQUIRE(book->create(first, leases,
                         because(phase::pending, phase::pending, "asked")));
    REQUIRE(book->create(second, {{"cgroup", "/caged/b"}},
                         because(phase::pending, phase::pending, "asked")));
    first.state = phase::running;
    first.process = {1234, 0xffffffffffffffffU};
    first.agent_boot = "boot";
    first.init_state = 2;
    REQUIRE(book->transition(
        first, because(phase::pending, phase::running, "its agent answers")));
  }
  auto book = open(dir.path);
  auto all = book->sandboxes();
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK((*all)[0].id == second.id); // oldest first
  const auto& got = (*all)[1];
  CHECK(got.spec == first.spec);
  CHECK(got.digest == first.digest);
  CHECK(got.process == first.process);
  CHECK(got.state == phase::running);
  CHECK(got.request_id == first.request_id);
  CHECK(got.agent_boot == "boot");
  CHECK(got.init_state == 2);
  CHECK(got.slot == 7);
  auto causes = book->causes(first.id);
  REQUIRE(causes->size() == 2);
  CHECK((*causes)[0].text == "asked");
  CHECK((*causes)[1].from == phase::pending);
  CHECK((*causes)[1].to == phase::running);
  CHECK(book->leases()->size() == 3);
}

TEST_CASE("leases are struck off with the release, all but the kept ones") {
  scratch dir;
  auto book = open(dir.path);
  auto one = sandbox("cage-aaaaaaaa"), other = sandbox("cage-bbbbbbbb");
  lease disk{"directory", "/d/a"}, group{"cgroup", "/c/a"};
  REQUIRE(book->create(one, {disk, group}, {}));
  REQUIRE(book->create(other, {{"cgroup", "/c/b"}}, {}));
  one.state = phase::failed;
  one.disk_kept = true;
  REQUIRE(book->release(one, because(phase::running, phase::failed, "oom"),
                        {disk}));
  auto left = book->leases();
  REQUIRE(left->size() == 2);
  CHECK(std::count(left->begin(), left->end(), std::pair{one.id, disk}) == 1);
  CHECK((*book->sandboxes())[0].disk_kept);
  one.state = phase::destroyed;
  REQUIRE(book->release(one, {}, {}));
  left = book->leases();
  REQUIRE(left->size() == 1);
  CHECK(left->front().first == other.id);
  // Its history stays, apart from the living.
  CHECK(book->sandboxes()->size() == 1);
  CHECK(book->destroyed()->size() == 1);
  CHECK(book->causes(one.id)->size() == 3);
}

TEST_CASE("expire forgets the destroyed ones of before, and nothing else") {
  scratch dir;
  auto book = open(dir.path);
  auto old = sandbox("cage-aaaaaaaa"), recent = sandbox("cage-bbbbbbbb"),
       living = sandbox("cage-cccccccc");
  old.state = recent.state = phase::destroyed;
  old.changed_ms = living.changed_ms = 1000;
  recent.changed_ms = 3000;
  for (const auto& one : {old, recent, living})
    REQUIRE(book->create(one, {}, because(one.state, one.state, "x")));
  REQUIRE(book->expire(2000));
  CHECK(book->causes(old.id)->empty());
  REQUIRE(book->destroyed()->size() == 1);
  CHECK(book->destroyed()->front().id == recent.id);
  CHECK(book->sandboxes()->size() == 1);
  CHECK(book->causes(living.id)->size() == 1);
}

TEST_CASE("execs are remembered with how they ended, until dropped") {
  scratch dir;
  exec_record one;
  one.exec = make_uuid();
  one.sandbox = "cage-aaaaaaaa";
  one.caller = "uid:1000";
  one.digest = ~std::uint64_t{0};
  one.started_ms = 5;
  one.detached = true;
  auto ended = one;
  ended.exec = make_uuid();
  ended.code = 0;
  {
    auto book = open(dir.path);
    REQUIRE(book->put_exec(one));
    REQUIRE(book->put_exec(ended));
    ended.code.reset();
    ended.signal = 9;
    REQUIRE(book->put_exec(ended)); // replaces
  }
  auto book = open(dir.path);
  auto all = book->execs();
  REQUIRE(all->size() == 2);
  for (const auto& got : *all) {
    CHECK(got.digest == one.digest);
    CHECK(got.caller == one.caller);
    CHECK(got.detached);
    CHECK_FALSE(got.code.has_value());
    CHECK(got.signal.has_value() == (got.exec == ended.exec));
  }
  REQUIRE(book->drop_exec(one.exec));
  CHECK(book->execs()->size() == 1);
}

TEST_CASE("a journal on a full disk says so and keeps what it had") {
  scratch dir;
  if (::mount("tmpfs", dir.path.c_str(), "tmpfs", 0, "size=512k") != 0) {
    std::cout << "SKIPPED: no right to mount a tmpfs" << std::endl;
    return;
  }
  {
    auto book = open(dir.path);
    auto big = sandbox("cage-aaaaaaaa");
    REQUIRE(book->create(big, {}, {}));
    big.spec.init_script = std::string(40000, 'x');
    result<void> last;
    int made = 0;
    while (last && made < 100) {
      big.id = "cage-" + std::to_string(10000000 + made++);
      last = book->create(big, {{"cgroup", big.id}}, {});
    }
    REQUIRE_FALSE(last);
    CHECK(last.error().code == ec::io);
    CHECK(last.error().message.find("journal.db") != std::string::npos);
    CHECK_FALSE(last.error().hint.empty());
    // The refused one left nothing, the others are whole.
    auto all = book->sandboxes();
    REQUIRE(all);
    CHECK(all->size() == static_cast<std::size_t>(made));
    CHECK(book->leases()->size() == static_cast<std::size_t>(made - 1));
  }
  CHECK(::umount2(dir.path.c_str(), MNT_DETACH) == 0);
}

TEST_CASE("a cause that a full disk refused is shown, and written later") {
  scratch dir;
  if (::mount("tmpfs", dir.path.c_str(), "tmpfs", 0, "size=1m") != 0) {
    std::cout << "SKIPPED: no right to mount a tmpfs" << std::endl;
    return;
  }
  {
    auto book = open(dir.path);
    auto one = sandbox("cage-aaaaaaaa");
    REQUIRE(
        book->create(one, {}, because(phase::pending, phase::pending, "1")));
    std::ofstream{dir.path / "ballast"} << std::string(1 << 20U, 'x');
    one.spec.init_script = std::string(40000, 'x'); // more than a page is left
    one.state = phase::failed;
    auto written =
        book->transition(one, because(phase::pending, phase::failed, "2"));
    REQUIRE_FALSE(written);
    REQUIRE(book->causes(one.id)->size() == 2);
    CHECK(book->causes(one.id)->back().text == "2");
    CHECK(book->sandboxes()->at(0).state == phase::pending);
    // That everything is freed is so when it is written.
    one.state = phase::destroyed;
    CHECK_FALSE(
        book->release(one, because(phase::failed, phase::destroyed, "no"), {}));
    CHECK(book->causes(one.id)->size() == 2);
    fs::remove(dir.path / "ballast");
    one.state = phase::stopping;
    REQUIRE(
        book->transition(one, because(phase::failed, phase::stopping, "3")));
    book.reset();
    auto all = open(dir.path)->causes(one.id);
    REQUIRE(all->size() == 3);
    CHECK(all->at(1).text == "2");
    CHECK(all->at(2).text == "3");
  }
  CHECK(::umount2(dir.path.c_str(), MNT_DETACH) == 0);
}

// Hidden: figures, not a verdict. ./unit_nodes "[bench]"
TEST_CASE("what the journal's promises cost", "[.][bench]") {
  // /tmp may be a tmpfs; TMPDIR chooses the disk.
  scratch dir;
  auto book = open(dir.path);
  auto time = [](const char* what, int count, auto work) {
    auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i)
      work(i);
    std::chrono::duration<double, std::micro> took =
        std::chrono::steady_clock::now() - begun;
    std::cout << what << ": " << took.count() / count << " us\n";
  };
  std::vector<lease> leases;
  for (const char* kind : {"cgroup", "directory", "loop", "container"})
    leases.push_back({kind, {}});
  time("create", 200, [&](int i) {
    auto one = sandbox("cage-" + std::to_string(10000000 + i));
    for (auto& item : leases)
      item.name = one.id;
    REQUIRE(book->create(one, leases, {}));
  });
  auto one = sandbox("cage-10000000");
  time("transition", 200, [&](int) { REQUIRE(book->transition(one, {})); });
  exec_record exec;
  time("put_exec and drop_exec", 2000, [&](int i) {
    exec.exec = std::to_string(i);
    REQUIRE(book->put_exec(exec));
    REQUIRE(book->drop_exec(exec.exec));
  });
}
