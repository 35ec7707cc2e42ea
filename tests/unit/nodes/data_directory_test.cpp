#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/sandbox.hpp"
#include "messages/text.hpp"
#include "nodes/data_directory.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

struct scratch {
  fs::path path = fs::temp_directory_path() / ("caged-" + random_name(8));
  scratch() {
    fs::create_directory(path);
    fs::permissions(path, fs::perms::owner_all);
  }
  ~scratch() { fs::remove_all(path); }
  auto open() { return data_directory::open(path / "data", path / "run"); }
};

mode_t mode_of(const fs::path& path) {
  struct stat what {};
  REQUIRE(::stat(path.c_str(), &what) == 0);
  return what.st_mode & 07777;
}

} // namespace

TEST_CASE("the node's id is made once and its directories are private") {
  scratch dir;
  std::string id;
  {
    auto first = dir.open();
    REQUIRE(first);
    id = (*first)->node_id();
    CHECK(id.size() == 8);
    CHECK(is_valid_name(id));
    CHECK(mode_of(dir.path / "data") == 0700);
    CHECK(mode_of(dir.path / "run") == 0750);
    CHECK(mode_of(dir.path / "data" / "node-id") == 0600);
  }
  auto again = dir.open();
  REQUIRE(again);
  CHECK((*again)->node_id() == id);
  // Nothing of the probes is left.
  std::size_t files = 0;
  for (const auto& file : fs::directory_iterator(dir.path / "data")) {
    INFO(file.path());
    ++files;
  }
  CHECK(files == 2); // lock, node-id
}

TEST_CASE("a second node on a data directory is told who holds it") {
  scratch dir;
  auto first = dir.open();
  REQUIRE(first);
  // flock(2) belongs to the open file: also in one process the second fails.
  auto second = dir.open();
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ec::conflict);
  CHECK(second.error().message.find(std::to_string(::getpid()))
        != std::string::npos);
  CHECK(second.error().message.find((dir.path / "data").string())
        != std::string::npos);
  first->reset();
  CHECK(dir.open());
}

TEST_CASE("the lock of a killed node is free") {
  scratch dir;
  auto child = ::fork();
  if (child == 0) {
    auto mine = dir.open();
    ::_exit(mine ? 0 : 1); // no destructor
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(dir.open());
}

TEST_CASE("a directory that was there keeps its mode") {
  scratch dir;
  fs::create_directory(dir.path / "run");
  REQUIRE(::chmod((dir.path / "run").c_str(), 0755) == 0);
  REQUIRE(dir.open());
  CHECK(mode_of(dir.path / "run") == 0755);
}

TEST_CASE("a directory that others can write into is refused") {
  scratch dir;
  fs::create_directory(dir.path / "data");
  REQUIRE(::chmod((dir.path / "data").c_str(), 01777) == 0);
  auto refused = dir.open();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ec::denied);
  CHECK(refused.error().message.find("data") != std::string::npos);
  CHECK(mode_of(dir.path / "data") == 01777);
  CHECK_FALSE(fs::exists(dir.path / "data" / "lock"));
}

TEST_CASE("a broken node id is an error, never a new id") {
  scratch dir;
  REQUIRE(dir.open());
  std::ofstream{dir.path / "data" / "node-id"} << "../..";
  auto broken = dir.open();
  REQUIRE_FALSE(broken);
  CHECK(broken.error().message.find("node-id") != std::string::npos);
}

TEST_CASE("what cannot be made is named with a remedy") {
  scratch dir;
  std::ofstream{dir.path / "file"} << "x";
  auto refused =
      data_directory::open(dir.path / "file" / "data", dir.path / "run");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ec::io);
  CHECK(refused.error().message.find("file/data") != std::string::npos);
  CHECK_FALSE(refused.error().hint.empty());
}
