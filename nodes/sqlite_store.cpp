#include "nodes/sqlite_store.hpp"

#include <mutex>
#include <vector>

#include "nodes/sqlite_database.hpp"
#include "nodes/store_watchers.hpp"

namespace caged {

namespace {

constexpr const char* schema = R"(
CREATE TABLE records (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
)";

class sqlite_store : public store {
public:
  explicit sqlite_store(const std::filesystem::path& file)
      : db_{file, sqlite_database::durability::full} {
    db_.schema({schema});
  }

  result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) override {
    std::vector<std::pair<record, bool>> changes;
    std::lock_guard guard{mutex_};
    auto done = guarded([&]() -> result<std::int64_t> {
      sqlite_database::transaction change{db_};
      for (const auto& wanted : compares) {
        auto now = find(wanted.key);
        if ((now ? now->revision : 0) != wanted.revision)
          return fail(ec::conflict,
                      "the record " + wanted.key
                          + " was changed by somebody else",
                      "read it again");
      }
      db_.run("UPDATE counter SET revision = revision + 1");
      std::int64_t revision = 0;
      {
        sqlite_database::statement read{db_, "SELECT revision FROM counter"};
        if (read.step())
          revision = read.number(0);
      }
      for (const auto& item : operations) {
        if (item.what == operation::kind::put) {
          sqlite_database::statement put{
              db_, "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"};
          put.bind(item.key).bind(item.value).bind(revision).step();
        } else {
          sqlite_database::statement erase{db_,
                                           "DELETE FROM records WHERE key = ?"};
          erase.bind(item.key).step();
        }
        changes.push_back({{item.key, item.value, revision},
                           item.what == operation::kind::erase});
      }
      change.commit();
      return revision;
    });
    if (done)
      watchers_.changed(std::move(changes));
    return done;
  }

  result<std::optional<record>> get(const std::string& key) override {
    std::lock_guard guard{mutex_};
    return guarded(
        [&]() -> result<std::optional<record>> { return find(key); });
  }

  result<std::vector<record>> list(const std::string& prefix) override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<std::vector<record>> {
      // substr, not LIKE or GLOB: a key may hold their special characters.
      sqlite_database::statement read{
          db_, "SELECT key, value, revision FROM records WHERE key >= ?1 AND "
               "substr(key, 1, length(?1)) = ?1 ORDER BY key"};
      read.bind(prefix);
      std::vector<record> out;
      while (read.step())
        out.push_back({read.text(0), read.text(1), read.number(2)});
      return out;
    });
  }

  result<std::shared_ptr<void>> watch(const std::string& prefix,
                                      watch_handler handler) override {
    return watchers_.add(prefix, std::move(handler));
  }

  std::string kind() const override { return "sqlite"; }

private:
  std::optional<record> find(const std::string& key) {
    sqlite_database::statement read{
        db_, "SELECT value, revision FROM records WHERE key = ?"};
    read.bind(key);
    if (!read.step())
      return std::nullopt;
    return record{key, read.text(0), read.number(1)};
  }

  std::mutex mutex_;
  sqlite_database db_;
  store_watchers watchers_;
};

} // namespace

result<std::unique_ptr<store>>
open_sqlite_store(const std::filesystem::path& file) {
  return guarded([&]() -> result<std::unique_ptr<store>> {
    return std::unique_ptr<store>{std::make_unique<sqlite_store>(file)};
  });
}

} // namespace caged
