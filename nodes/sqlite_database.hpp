#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "messages/error.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace caged {

/// A failure inside SQLite; caught where a public function of the store or the
/// journal ends (see guarded), so that statements can be written one after
/// another.
struct sqlite_error {
  failure why;
};

/// One connection. Not thread-safe: its owner serialises.
class sqlite_database {
public:
  enum class durability {
    full, ///< on disk when a commit returns (synchronous=FULL)
    /// Survives the process, not the machine. Still synchronous=NORMAL: a
    /// checkpoint that is not synced (OFF) could damage at a power loss what
    /// the other connection has promised (sqlite.org/pragma.html).
    process,
  };

  /// Opens or makes the file, mode 0600, in WAL mode, and checks that it is not
  /// damaged. Nobody else can open it meanwhile. Throws sqlite_error: io,
  /// naming the file, what SQLite says and the remedy.
  sqlite_database(const std::filesystem::path& file, durability how);
  ~sqlite_database();
  sqlite_database(const sqlite_database&) = delete;
  sqlite_database& operator=(const sqlite_database&) = delete;

  /// What the next commits promise.
  void promise(durability how);

  /// Runs statements without results. Throws sqlite_error.
  void run(const char* sql);

  /// Brings the file to the newest schema: runs the steps it has not seen, in
  /// one commit. Refuses a schema that is newer than the last step.
  void schema(const std::vector<const char*>& steps);

  class statement {
  public:
    statement(sqlite_database& db, std::string_view sql);
    ~statement();
    statement(const statement&) = delete;
    statement& operator=(const statement&) = delete;

    statement& bind(std::string_view text); ///< the next parameter
    statement& bind(std::int64_t number);
    statement& bind(std::optional<int> number); ///< nullopt: NULL
    bool step();                                ///< true: a row is there
    std::string text(int column);
    std::int64_t number(int column);
    bool null(int column);

  private:
    sqlite_database& db_;
    sqlite3_stmt* raw_ = nullptr;
    int next_ = 1;
  };

  /// BEGIN IMMEDIATE ... COMMIT; rolls back when it is destroyed before.
  class transaction {
  public:
    explicit transaction(sqlite_database& db);
    ~transaction();
    transaction(const transaction&) = delete;
    transaction& operator=(const transaction&) = delete;
    void commit();

  private:
    sqlite_database& db_;
    bool open_ = true;
  };

private:
  [[noreturn]] void raise(int code);
  void check();
  std::filesystem::path file_;
  sqlite3* raw_ = nullptr;
  durability promised_ = durability::full;
};

/// Runs `work` and turns a sqlite_error into its failure.
template <class Work>
auto guarded(Work&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const sqlite_error& e) {
    return tl::unexpected<failure>(e.why);
  }
}

} // namespace caged
