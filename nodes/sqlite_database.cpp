#include "nodes/sqlite_database.hpp"

#include <sqlite3.h>
#include <sys/stat.h>

namespace caged {

namespace {

constexpr int busy_timeout_ms = 5000;

constexpr const char* damaged_hint =
    "it is damaged: restore it from a backup, or move it and its -wal and -shm "
    "files away to start anew";

/// errno of the last call that failed, on the WAL or else on the database
/// itself; 0 when none did. sqlite3_system_errno has it for few errors only.
int last_errno(sqlite3* of) {
  int error = 0;
  sqlite3_file* wal = nullptr;
  if (::sqlite3_file_control(of, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal)
          == SQLITE_OK
      && wal && wal->pMethods)
    wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &error);
  if (error == 0)
    ::sqlite3_file_control(of, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
  return error;
}

} // namespace

void sqlite_database::raise(int code) {
  auto what =
      std::string{raw_ ? ::sqlite3_errmsg(raw_) : ::sqlite3_errstr(code)};
  // "disk I/O error" alone names no cause.
  if (auto error = (code & 0xff) == SQLITE_IOERR ? last_errno(raw_) : 0)
    what = fail_errno(ec::io, what, error).value().message;
  std::string hint;
  switch (code & 0xff) {
  case SQLITE_FULL:
    hint = "free space on its disk, then try again";
    break;
  case SQLITE_READONLY:
  case SQLITE_CANTOPEN:
  case SQLITE_PERM:
  case SQLITE_IOERR:
    hint = "is its disk full, read-only or failing?";
    break;
  case SQLITE_NOTADB:
  case SQLITE_CORRUPT:
    hint = damaged_hint;
    break;
  default:
    break;
  }
  throw sqlite_error{
      {ec::io, file_.string() + " cannot be used: " + what, hint}};
}

sqlite_database::sqlite_database(const std::filesystem::path& file,
                                 durability how)
    : file_{file} {
  auto code = ::sqlite3_open_v2(file.c_str(), &raw_,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                    | SQLITE_OPEN_NOMUTEX,
                                nullptr);
  try {
    if (code != SQLITE_OK)
      raise(code);
    ::sqlite3_busy_timeout(raw_, busy_timeout_ms);
    ::chmod(file.c_str(), 0600); // specs hold secrets
    // The index of the WAL lives on the heap then (sqlite.org/wal.html, section
    // 8). In a mapped -shm file the first write after its file system became
    // read-only is a SIGBUS.
    run("PRAGMA locking_mode=EXCLUSIVE");
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=FULL");
    promise(how);
    if (how == durability::full)
      check();
  } catch (...) {
    ::sqlite3_close_v2(raw_);
    throw;
  }
}

sqlite_database::~sqlite_database() {
  ::sqlite3_close_v2(raw_);
}

void sqlite_database::promise(durability how) {
  if (how == promised_)
    return;
  run(how == durability::full ? "PRAGMA synchronous=FULL"
                              : "PRAGMA synchronous=NORMAL");
  promised_ = how;
}

/// Finds damage now, not when a sandbox depends on it.
void sqlite_database::check() {
  statement read{*this, "PRAGMA quick_check(1)"};
  if (!read.step())
    return;
  if (auto said = read.text(0); said != "ok")
    throw sqlite_error{
        {ec::io, file_.string() + " cannot be used: " + said, damaged_hint}};
}

void sqlite_database::run(const char* sql) {
  if (auto code = ::sqlite3_exec(raw_, sql, nullptr, nullptr, nullptr);
      code != SQLITE_OK)
    raise(code);
}

void sqlite_database::schema(const std::vector<const char*>& steps) {
  auto known = static_cast<std::int64_t>(steps.size());
  std::int64_t found = 0;
  {
    statement version{*this, "PRAGMA user_version"};
    if (version.step())
      found = version.number(0);
  }
  if (found > known)
    throw sqlite_error{
        {ec::unsupported,
         file_.string() + " has schema " + std::to_string(found)
             + ", this version knows " + std::to_string(known),
         "use the version of caged-node that wrote it, or a newer one"}};
  if (found == known)
    return;
  transaction change{*this};
  for (auto step = found; step < known; ++step)
    run(steps[static_cast<std::size_t>(step)]);
  run(("PRAGMA user_version=" + std::to_string(known)).c_str());
  change.commit();
}

sqlite_database::statement::statement(sqlite_database& db, std::string_view sql)
    : db_{db} {
  if (auto code = ::sqlite3_prepare_v2(
          db.raw_, sql.data(), static_cast<int>(sql.size()), &raw_, nullptr);
      code != SQLITE_OK)
    db.raise(code);
}

sqlite_database::statement::~statement() {
  ::sqlite3_finalize(raw_);
}

sqlite_database::statement&
sqlite_database::statement::bind(std::string_view text) {
  if (auto code =
          ::sqlite3_bind_text(raw_, next_++, text.data(),
                              static_cast<int>(text.size()), SQLITE_TRANSIENT);
      code != SQLITE_OK)
    db_.raise(code);
  return *this;
}

sqlite_database::statement&
sqlite_database::statement::bind(std::int64_t number) {
  if (auto code = ::sqlite3_bind_int64(raw_, next_++, number);
      code != SQLITE_OK)
    db_.raise(code);
  return *this;
}

sqlite_database::statement&
sqlite_database::statement::bind(std::optional<int> number) {
  if (number)
    return bind(std::int64_t{*number});
  if (auto code = ::sqlite3_bind_null(raw_, next_++); code != SQLITE_OK)
    db_.raise(code);
  return *this;
}

bool sqlite_database::statement::step() {
  auto code = ::sqlite3_step(raw_);
  if (code == SQLITE_ROW)
    return true;
  if (code != SQLITE_DONE)
    db_.raise(code);
  return false;
}

std::string sqlite_database::statement::text(int column) {
  const auto* data =
      static_cast<const char*>(::sqlite3_column_blob(raw_, column));
  auto size = static_cast<std::size_t>(::sqlite3_column_bytes(raw_, column));
  return data ? std::string{data, size} : std::string{};
}

std::int64_t sqlite_database::statement::number(int column) {
  return ::sqlite3_column_int64(raw_, column);
}

bool sqlite_database::statement::null(int column) {
  return ::sqlite3_column_type(raw_, column) == SQLITE_NULL;
}

sqlite_database::transaction::transaction(sqlite_database& db) : db_{db} {
  db_.run("BEGIN IMMEDIATE");
}

sqlite_database::transaction::~transaction() {
  if (open_)
    ::sqlite3_exec(db_.raw_, "ROLLBACK", nullptr, nullptr, nullptr);
}

void sqlite_database::transaction::commit() {
  db_.run("COMMIT");
  open_ = false;
}

} // namespace caged
