#include "nodes/sqlite_store.hpp"

#include <mutex>
#include <vector>

#include "nodes/sqlite_database.hpp"
#include "nodes/store_leases.hpp"
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

constexpr const char* schema_leases =
    "ALTER TABLE records ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;";

class sqlite_store : public store {
public:
  explicit sqlite_store(const std::filesystem::path& file)
      : db_{file, sqlite_database::durability::full} {
    db_.schema({schema, schema_leases});
    erase_leased("lease != 0", 0); // those of an earlier process
  }

  result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) override {
    std::vector<store_watchers::change> changes;
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
      if (auto alive = leases_.check(operations); !alive)
        return tl::unexpected<failure>(alive.error());
      const auto revision = next_revision();
      for (const auto& item : operations)
        apply(item, revision, changes);
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

  result<store_lease> grant(std::chrono::seconds ttl) override {
    return leases_.grant(ttl);
  }

  result<void> keep_alive(std::int64_t lease) override {
    return leases_.keep_alive(lease);
  }

  result<void> revoke(std::int64_t lease) override {
    leases_.drop(lease);
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<void> {
      erase_leased("lease = ?1", lease);
      return {};
    });
  }

  std::string kind() const override { return "sqlite"; }

private:
  /// Those that the condition chooses, with events. Throws sqlite_error.
  void erase_leased(const std::string& condition, std::int64_t lease) {
    std::vector<store_watchers::change> changes;
    {
      sqlite_database::transaction change{db_};
      std::vector<std::string> keys;
      {
        sqlite_database::statement read{db_, "SELECT key FROM records WHERE "
                                                 + condition};
        if (lease != 0)
          read.bind(lease);
        while (read.step())
          keys.push_back(read.text(0));
      }
      if (keys.empty())
        return;
      const auto revision = next_revision();
      for (auto& key : keys)
        apply({operation::kind::erase, std::move(key), {}}, revision, changes);
      change.commit();
    }
    watchers_.changed(std::move(changes));
  }

  std::int64_t next_revision() {
    db_.run("UPDATE counter SET revision = revision + 1");
    sqlite_database::statement read{db_, "SELECT revision FROM counter"};
    return read.step() ? read.number(0) : 0;
  }

  void apply(const operation& item, std::int64_t revision,
             std::vector<store_watchers::change>& changes) {
    if (item.what == operation::kind::put) {
      sqlite_database::statement put{
          db_, "INSERT OR REPLACE INTO records (key, value, revision, lease) "
               "VALUES (?, ?, ?, ?)"};
      put.bind(item.key).bind(item.value).bind(revision).bind(item.lease);
      put.step();
      changes.push_back({{item.key, item.value, revision}, false});
    } else if (find(item.key)) {
      sqlite_database::statement erase{db_,
                                       "DELETE FROM records WHERE key = ?"};
      erase.bind(item.key).step();
      changes.push_back({{item.key, {}, revision}, true});
    }
  }

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
  // Last: it is the first to end, and its thread uses the others.
  store_leases leases_{[this](std::int64_t lease) {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<void> {
             erase_leased("lease = ?1", lease);
             return {};
           })
        .has_value();
  }};
};

} // namespace

result<std::unique_ptr<store>>
open_sqlite_store(const std::filesystem::path& file) {
  return guarded([&]() -> result<std::unique_ptr<store>> {
    return std::unique_ptr<store>{std::make_unique<sqlite_store>(file)};
  });
}

} // namespace caged
