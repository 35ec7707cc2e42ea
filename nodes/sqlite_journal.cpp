#include "nodes/sqlite_journal.hpp"

#include <deque>
#include <mutex>

#include "nodes/spec_json.hpp"
#include "nodes/sqlite_database.hpp"

namespace caged {

namespace {

using statement = sqlite_database::statement;
using transaction = sqlite_database::transaction;

/// The key's columns come first in every table: SQLite 3.40's quick_check finds
/// NULLs that are none in a WITHOUT ROWID table with another order.
constexpr const char* first_schema = R"(
CREATE TABLE sandboxes (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, request_id TEXT NOT NULL,
  digest INTEGER NOT NULL, spec TEXT NOT NULL, state INTEGER NOT NULL,
  created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL,
  slot INTEGER NOT NULL, pid INTEGER NOT NULL, start_time INTEGER NOT NULL,
  agent_boot TEXT NOT NULL, agent_version TEXT NOT NULL,
  init_state INTEGER NOT NULL, disk_kept INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE causes (
  sandbox TEXT NOT NULL, time_ms INTEGER NOT NULL, from_state INTEGER NOT NULL,
  to_state INTEGER NOT NULL, who TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX causes_by_sandbox ON causes (sandbox);
CREATE TABLE leases (
  sandbox TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  PRIMARY KEY (sandbox, kind, name)
) WITHOUT ROWID;
CREATE TABLE execs (
  exec TEXT PRIMARY KEY, sandbox TEXT NOT NULL, caller TEXT NOT NULL,
  digest INTEGER NOT NULL, started_ms INTEGER NOT NULL,
  detached INTEGER NOT NULL, code INTEGER, signal INTEGER
) WITHOUT ROWID;
)";

constexpr const char* second_schema = R"(
ALTER TABLE sandboxes ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN born_boot_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN active_boot_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execs ADD COLUMN tty INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execs ADD COLUMN command TEXT NOT NULL DEFAULT '';
CREATE INDEX causes_by_time ON causes (time_ms);
)";

/// A tenant's misbehaviour is recorded too: its history is bounded, the first
/// causes and the newest are kept.
constexpr int causes_max = 500;
/// Causes kept in memory while none can be written, of all sandboxes.
constexpr std::size_t unwritten_max = 1000;

phase to_phase(std::int64_t value) {
  return value >= 1 && value <= 8 ? static_cast<phase>(value) : phase::failed;
}

class sqlite_journal : public journal {
public:
  explicit sqlite_journal(const std::filesystem::path& file)
      : db_{file, sqlite_database::durability::full} {
    db_.schema({first_schema, second_schema});
  }

  result<void> create(const sandbox_record& sandbox,
                      const std::vector<lease>& leases,
                      const cause& why) override {
    return change([&] {
      put(sandbox);
      for (const auto& item : leases) {
        statement add{db_, "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)"};
        add.bind(sandbox.id).bind(item.kind).bind(item.name).step();
      }
      append(sandbox.id, why);
    });
  }

  result<void> transition(const sandbox_record& sandbox,
                          const cause& why) override {
    auto done = change([&] {
      put(sandbox);
      append(sandbox.id, why);
    });
    if (!done)
      remember(sandbox.id, why);
    return done;
  }

  result<void> release(const sandbox_record& sandbox, const cause& why,
                       const std::vector<lease>& kept) override {
    auto done = change([&] {
      put(sandbox);
      append(sandbox.id, why);
      statement clear{db_, "DELETE FROM leases WHERE sandbox = ?"};
      clear.bind(sandbox.id).step();
      for (const auto& item : kept) {
        statement add{db_, "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)"};
        add.bind(sandbox.id).bind(item.kind).bind(item.name).step();
      }
      statement execs{db_, "DELETE FROM execs WHERE sandbox = ?"};
      execs.bind(sandbox.id).step();
    });
    if (!done && why.to != phase::destroyed) // that is not so before it is here
      remember(sandbox.id, why);
    return done;
  }

  result<std::vector<sandbox_record>> sandboxes() override {
    return select("state != 6");
  }
  result<std::vector<sandbox_record>> destroyed() override {
    return select("state = 6");
  }

  result<std::vector<cause>> causes(const std::string& id) override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<std::vector<cause>> {
      statement read{db_,
                     "SELECT time_ms, from_state, to_state, who, text FROM "
                     "causes WHERE sandbox = ? ORDER BY rowid"};
      read.bind(id);
      std::vector<cause> out;
      while (read.step())
        out.push_back({read.number(0), to_phase(read.number(1)),
                       to_phase(read.number(2)), read.text(3), read.text(4)});
      for (const auto& [sandbox, why] : unwritten_)
        if (sandbox == id)
          out.push_back(why);
      return out;
    });
  }

  result<std::vector<std::pair<std::string, lease>>> leases() override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<std::vector<std::pair<std::string, lease>>> {
      statement read{db_, "SELECT sandbox, kind, name FROM leases"};
      std::vector<std::pair<std::string, lease>> out;
      while (read.step())
        out.push_back({read.text(0), {read.text(1), read.text(2)}});
      return out;
    });
  }

  result<void> expire(std::int64_t before_ms) override {
    return change([&] {
      statement causes{db_,
                       "DELETE FROM causes WHERE sandbox IN (SELECT id FROM "
                       "sandboxes WHERE state = 6 AND changed_ms < ?)"};
      causes.bind(before_ms).step();
      statement gone{
          db_, "DELETE FROM sandboxes WHERE state = 6 AND changed_ms < ?"};
      gone.bind(before_ms).step();
    });
  }

  result<std::vector<std::pair<std::string, cause>>>
  events(std::int64_t since_ms, std::size_t most) override {
    std::lock_guard guard{mutex_};
    using list = std::vector<std::pair<std::string, cause>>;
    return guarded([&]() -> result<list> {
      statement read{db_, "SELECT sandbox, time_ms, from_state, to_state, who, "
                          "text FROM (SELECT rowid AS n, * FROM causes WHERE "
                          "time_ms >= ? ORDER BY rowid DESC LIMIT ?) ORDER BY "
                          "n"};
      read.bind(since_ms).bind(static_cast<std::int64_t>(most));
      list out;
      while (read.step())
        out.push_back({read.text(0),
                       {read.number(1), to_phase(read.number(2)),
                        to_phase(read.number(3)), read.text(4), read.text(5)}});
      return out;
    });
  }

  result<void> touch(const std::string& id,
                     std::int64_t active_boot_ms) override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<void> {
      db_.promise(sqlite_database::durability::process);
      statement write{db_,
                      "UPDATE sandboxes SET active_boot_ms = ? WHERE id = ?"};
      write.bind(active_boot_ms).bind(id).step();
      return {};
    });
  }

  result<void> put_exec(const exec_record& exec) override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<void> {
      db_.promise(sqlite_database::durability::process);
      statement add{db_,
                    "INSERT OR REPLACE INTO execs VALUES (?, ?, ?, ?, ?, ?, "
                    "?, ?, ?, ?)"};
      add.bind(exec.exec)
          .bind(exec.sandbox)
          .bind(exec.caller)
          .bind(static_cast<std::int64_t>(exec.digest))
          .bind(exec.started_ms)
          .bind(std::int64_t{exec.detached})
          .bind(exec.code)
          .bind(exec.signal)
          .bind(std::int64_t{exec.tty})
          .bind(exec.command)
          .step();
      return {};
    });
  }

  result<void> drop_exec(const std::string& exec) override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<void> {
      db_.promise(sqlite_database::durability::process);
      statement drop{db_, "DELETE FROM execs WHERE exec = ?"};
      drop.bind(exec).step();
      return {};
    });
  }

  result<std::vector<exec_record>> execs() override {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<std::vector<exec_record>> {
      statement read{db_, "SELECT exec, sandbox, caller, digest, started_ms, "
                          "detached, code, signal, tty, command FROM execs"};
      std::vector<exec_record> out;
      while (read.step()) {
        exec_record item;
        item.exec = read.text(0);
        item.sandbox = read.text(1);
        item.caller = read.text(2);
        item.digest = static_cast<std::uint64_t>(read.number(3));
        item.started_ms = read.number(4);
        item.detached = read.number(5) != 0;
        if (!read.null(6))
          item.code = static_cast<int>(read.number(6));
        if (!read.null(7))
          item.signal = static_cast<int>(read.number(7));
        item.tty = read.number(8) != 0;
        item.command = read.text(9);
        out.push_back(std::move(item));
      }
      return out;
    });
  }

private:
  template <class Work>
  result<void> change(Work work) {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<void> {
      db_.promise(sqlite_database::durability::full);
      transaction all{db_};
      for (const auto& [id, why] : unwritten_)
        append(id, why);
      work();
      all.commit();
      unwritten_.clear();
      return {};
    });
  }

  /// A history with a hole where the disk was full would hide the very cause:
  /// `why` shows it from memory until it can be written.
  void remember(const std::string& id, const cause& why) {
    std::lock_guard guard{mutex_};
    unwritten_.emplace_back(id, why);
    if (unwritten_.size() > unwritten_max)
      unwritten_.pop_front();
  }

  void put(const sandbox_record& s) {
    statement write{db_, "INSERT OR REPLACE INTO sandboxes VALUES (?, ?, ?, ?, "
                         "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
    write.bind(s.id)
        .bind(s.owner)
        .bind(s.request_id)
        .bind(static_cast<std::int64_t>(s.digest))
        .bind(spec_to_json(s.spec))
        .bind(static_cast<std::int64_t>(s.state))
        .bind(s.created_ms)
        .bind(s.changed_ms)
        .bind(std::int64_t{s.slot})
        .bind(std::int64_t{s.process.pid})
        .bind(static_cast<std::int64_t>(s.process.start_time))
        .bind(s.agent_boot)
        .bind(s.agent_version)
        .bind(std::int64_t{s.init_state})
        .bind(std::int64_t{s.disk_kept})
        .bind(s.boot_id)
        .bind(s.born_boot_ms)
        .bind(s.active_boot_ms)
        .step();
  }

  void append(const std::string& id, const cause& why) {
    statement add{db_, "INSERT INTO causes VALUES (?, ?, ?, ?, ?, ?)"};
    add.bind(id)
        .bind(why.time_ms)
        .bind(static_cast<std::int64_t>(why.from))
        .bind(static_cast<std::int64_t>(why.to))
        .bind(why.who)
        .bind(why.text)
        .step();
    statement trim{
        db_, "DELETE FROM causes WHERE sandbox = ?1 AND rowid IN (SELECT rowid "
             "FROM causes WHERE sandbox = ?1 ORDER BY rowid LIMIT 1 OFFSET 10) "
             "AND (SELECT count(*) FROM causes WHERE sandbox = ?1) > ?2"};
    trim.bind(id).bind(std::int64_t{causes_max}).step();
  }

  result<std::vector<sandbox_record>> select(const std::string& where) {
    std::lock_guard guard{mutex_};
    return guarded([&]() -> result<std::vector<sandbox_record>> {
      statement read{db_, "SELECT id, owner, request_id, digest, spec, state, "
                          "created_ms, changed_ms, slot, pid, start_time, "
                          "agent_boot, agent_version, init_state, disk_kept, "
                          "boot_id, born_boot_ms, active_boot_ms "
                          "FROM sandboxes WHERE "
                              + where + " ORDER BY created_ms, id"};
      std::vector<sandbox_record> out;
      while (read.step()) {
        sandbox_record s;
        s.id = read.text(0);
        s.owner = read.text(1);
        s.request_id = read.text(2);
        s.digest = static_cast<std::uint64_t>(read.number(3));
        auto spec = spec_from_json(read.text(4));
        if (!spec)
          return fail(spec.error().code, s.id + ": " + spec.error().message);
        s.spec = std::move(*spec);
        s.state = to_phase(read.number(5));
        s.created_ms = read.number(6);
        s.changed_ms = read.number(7);
        s.slot = static_cast<std::uint32_t>(read.number(8));
        s.process.pid = static_cast<std::int32_t>(read.number(9));
        s.process.start_time = static_cast<std::uint64_t>(read.number(10));
        s.agent_boot = read.text(11);
        s.agent_version = read.text(12);
        s.init_state = static_cast<int>(read.number(13));
        s.disk_kept = read.number(14) != 0;
        s.boot_id = read.text(15);
        s.born_boot_ms = read.number(16);
        s.active_boot_ms = read.number(17);
        out.push_back(std::move(s));
      }
      return out;
    });
  }

  std::mutex mutex_;
  std::deque<std::pair<std::string, cause>> unwritten_;
  sqlite_database db_;
};

} // namespace

result<std::unique_ptr<journal>>
open_journal(const std::filesystem::path& file) {
  return guarded([&]() -> result<std::unique_ptr<journal>> {
    return std::unique_ptr<journal>{std::make_unique<sqlite_journal>(file)};
  });
}

} // namespace caged
