#include <atomic>
#include <filesystem>
#include <fstream>

#include <sys/stat.h>

#include "messages/text.hpp"
#include "nodes/sqlite_database.hpp"
#include "nodes/sqlite_store.hpp"
#include "tests/unit/nodes/store_contract.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

struct scratch {
  fs::path path = fs::temp_directory_path() / ("caged-" + random_name(8));
  scratch() { fs::create_directory(path); }
  ~scratch() { fs::remove_all(path); }
};

} // namespace

TEST_CASE("the SQLite store keeps the contract of stores") {
  scratch dir;
  test::store_contract([&] { return open_sqlite_store(dir.path / "s.db"); });
}

TEST_CASE("the SQLite store keeps the contract of leases") {
  scratch dir;
  test::lease_contract([&] { return open_sqlite_store(dir.path / "s.db"); });
}

TEST_CASE("leases of the SQLite store end with the process") {
  scratch dir;
  auto one = open_sqlite_store(dir.path / "s.db");
  REQUIRE(one);
  const auto mine = (*one)->grant(std::chrono::seconds{600});
  REQUIRE(mine);
  auto leased = test::put("a", "x");
  leased.lease = mine->id;
  REQUIRE((*one)->commit({}, {leased, test::put("b", "x")}));
  one->reset();
  one = open_sqlite_store(dir.path / "s.db");
  REQUIRE(one);
  CHECK_FALSE((*one)->get("a")->has_value());
  CHECK((*one)->get("b")->has_value());
  CHECK((*one)->keep_alive(mine->id).error().code == ec::not_found);
}

TEST_CASE("a SQLite store from before there were leases is read") {
  scratch dir;
  {
    sqlite_database old{dir.path / "s.db", sqlite_database::durability::full};
    old.run("CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB NOT NULL, "
            "revision INTEGER NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE counter (revision INTEGER NOT NULL);"
            "INSERT INTO counter VALUES (7);"
            "INSERT INTO records VALUES ('a', 'x', 7); PRAGMA user_version=1");
  }
  auto store = open_sqlite_store(dir.path / "s.db");
  REQUIRE(store);
  CHECK((*(*store)->get("a"))->revision == 7);
  CHECK((*store)->commit({{"a", 7}}, {test::put("a", "y")}) == 8);
}

TEST_CASE("what is too many for one commit is erased in several") {
  scratch dir;
  auto store = open_sqlite_store(dir.path / "s.db");
  REQUIRE(store);
  std::vector<std::string> keys;
  for (int i = 0; i < 300; ++i) {
    keys.push_back("k" + std::to_string(i));
    REQUIRE((*store)->commit({}, {test::put(keys.back(), "v")}));
  }
  auto before = (*store)->commit({}, {test::put("a", "x")});
  REQUIRE(erase_all(**store, keys));
  CHECK((*store)->list("k")->empty());
  CHECK((*store)->commit({}, {}).value() == *before + 4); // 127, 127, 46, this
}

TEST_CASE("the store's file is its owner's alone") {
  scratch dir;
  auto store = open_sqlite_store(dir.path / "s.db");
  REQUIRE(store);
  REQUIRE((*store)->commit({}, {test::put("a", "b")}));
  for (const auto& file : fs::directory_iterator(dir.path)) {
    struct stat what {};
    REQUIRE(::stat(file.path().c_str(), &what) == 0);
    INFO(file.path());
    CHECK((what.st_mode & 0777) == 0600);
  }
}

TEST_CASE("a store that is no store is refused with its name and a remedy") {
  scratch dir;
  auto file = dir.path / "s.db";
  std::ofstream{file} << std::string(8192, 'x');
  auto garbage = open_sqlite_store(file);
  REQUIRE_FALSE(garbage);
  CHECK(garbage.error().code == ec::io);
  CHECK(garbage.error().message.find(file.string()) != std::string::npos);
  CHECK(garbage.error().hint.find("damaged") != std::string::npos);

  auto missing = open_sqlite_store(dir.path / "no" / "s.db");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message.find("no/s.db") != std::string::npos);
}

TEST_CASE("a store with a damaged page is refused when it is opened") {
  scratch dir;
  auto file = dir.path / "s.db";
  {
    auto store = open_sqlite_store(file);
    REQUIRE(store);
    for (int i = 0; i < 200; ++i)
      REQUIRE((*store)->commit(
          {}, {test::put("key" + std::to_string(i), std::string(400, 'v'))}));
  }
  REQUIRE(fs::file_size(file) > 40000);
  std::fstream damage{file, std::ios::in | std::ios::out | std::ios::binary};
  damage.seekp(4096 * 3);
  damage << std::string(4096 * 4, '\x55');
  damage.close();
  auto refused = open_sqlite_store(file);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ec::io);
  CHECK(refused.error().hint.find("damaged") != std::string::npos);
}

TEST_CASE("a store of a newer schema is refused with both versions") {
  scratch dir;
  auto file = dir.path / "s.db";
  REQUIRE(open_sqlite_store(file));
  sqlite_database{file, sqlite_database::durability::full}.run(
      "PRAGMA user_version=7");
  auto newer = open_sqlite_store(file);
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == ec::unsupported);
  CHECK(newer.error().message.find("schema 7") != std::string::npos);
}
