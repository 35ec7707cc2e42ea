#include "tests/support/books.hpp"

#include <filesystem>
#include <functional>
#include <stdexcept>

#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include "messages/sandbox.hpp"

namespace caged::test {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

using row = std::vector<std::string>;

void query(const std::string& file, const std::string& sql,
           const std::function<void(const row&)>& each) {
  // The daemon has its databases for itself: what is read is a copy, taken
  // when nothing is written.
  temp_dir copies;
  auto copy = copies / fs::path{file}.filename().string();
  std::error_code none;
  fs::copy_file(file, copy, none);
  fs::copy_file(file + "-wal", copy + "-wal", none);
  sqlite3* raw = nullptr;
  auto opened =
      ::sqlite3_open_v2(copy.c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr);
  std::unique_ptr<sqlite3, decltype(&::sqlite3_close)> db{raw,
                                                          &::sqlite3_close};
  sqlite3_stmt* made = nullptr;
  constexpr int patience_ms = 5000;
  if (opened != SQLITE_OK
      || ::sqlite3_busy_timeout(raw, patience_ms) != SQLITE_OK
      || ::sqlite3_prepare_v2(raw, sql.c_str(), -1, &made, nullptr)
             != SQLITE_OK)
    throw std::runtime_error(file + ": " + ::sqlite3_errmsg(raw));
  std::unique_ptr<sqlite3_stmt, decltype(&::sqlite3_finalize)> read{
      made, &::sqlite3_finalize};
  int got = 0;
  while ((got = ::sqlite3_step(made)) == SQLITE_ROW) {
    row out;
    for (int i = 0; i < ::sqlite3_column_count(made); ++i) {
      const auto* text =
          reinterpret_cast<const char*>(::sqlite3_column_text(made, i));
      out.emplace_back(text ? text : "");
    }
    each(out);
  }
  if (got != SQLITE_DONE)
    throw std::runtime_error(file + ": " + ::sqlite3_errmsg(raw));
}

bool beneath(const std::string& path, const std::string& dir) {
  return path.rfind(dir + "/", 0) == 0;
}

void look_at_host(const test_node& node, books& out) {
  std::error_code none;
  auto names_in = [&](const std::string& dir, const std::string& kind) {
    for (const auto& item : fs::directory_iterator(dir, none))
      if (auto name = item.path().filename().string();
          name.rfind("cage-", 0) == 0)
        out.host[kind].insert(name);
  };
  names_in(node.data_dir() + "/sandboxes", "directory");
  names_in(node.data_dir() + "/exec-logs", "exec log");
  names_in(node.run_dir() + "/crun", "container");
  for (const auto& item : fs::directory_iterator("/sys/block", none)) {
    auto file = read_file((item.path() / "loop/backing_file").string());
    if (beneath(file, node.data_dir() + "/sandboxes"))
      out.host["loop"].insert(fs::path{file}.parent_path().filename().string());
  }
  // Groups end while one looks: increment(error) goes on.
  for (fs::recursive_directory_iterator
           it{"/sys/fs/cgroup", fs::directory_options::skip_permission_denied,
              none},
       end;
       it != end; it.increment(none)) {
    if (!it->is_directory(none))
      continue;
    auto name = it->path().filename().string();
    if (out.journal.count(name) != 0)
      out.host["cgroup"].insert(name);
  }
}

/// The sandbox in whose cgroup a process is; empty when it is in none.
std::string sandbox_of(const std::string& pid) {
  auto text = read_file("/proc/" + pid + "/cgroup");
  auto at = text.find("/cage-");
  constexpr std::size_t size = 13; // "cage-" and eight characters
  return at == std::string::npos ? "" : text.substr(at + 1, size);
}

/// Processes that run this build's agent as the init of a PID namespace, and
/// those of a sandbox's cgroup.
void look_at_processes(books& out) {
  std::error_code none;
  auto ours = fs::read_symlink("/proc/self/ns/pid", none);
  for (const auto& item : fs::directory_iterator("/proc", none)) {
    auto pid = item.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos)
      continue;
    auto id = sandbox_of(pid);
    bool is_agent =
        fs::equivalent(item.path() / "exe", bin_dir() + "/caged-agent", none)
        && fs::read_symlink(item.path() / "ns/pid", none) != ours;
    if (out.journal.count(id) != 0)
      out.host["process"].insert(id);
    else if (is_agent && id.empty() && is_alive(std::stoi(pid)))
      out.host["process"].insert("(no sandbox) " + pid);
  }
}

} // namespace

books read_books(const test_node& node) {
  books out;
  auto journal = node.data_dir() + "/journal.db";
  query(journal, "SELECT id, state FROM sandboxes", [&](const row& r) {
    out.journal[r[0]] = to_string(static_cast<phase>(std::stoi(r[1])));
  });
  query(journal, "SELECT DISTINCT sandbox FROM leases",
        [&](const row& r) { out.leases.insert(r[0]); });
  query(journal, "SELECT DISTINCT sandbox FROM execs",
        [&](const row& r) { out.execs.insert(r[0]); });
  query(node.data_dir() + "/store.db", "SELECT key, value FROM records",
        [&](const row& r) {
          const std::string placement = "placements/", name = "names/";
          if (r[0].rfind(placement, 0) == 0)
            out.placements.insert(r[0].substr(placement.size()));
          else if (r[0].rfind(name, 0) == 0)
            out.names[r[0]] = r[1];
        });
  look_at_host(node, out);
  look_at_processes(out);
  return out;
}

std::vector<std::string> disagreements(const test_node& node) {
  std::vector<std::string> out;
  auto seen = read_books(node);
  std::map<std::string, std::string> alive;
  for (const auto& [id, state] : seen.journal)
    if (state != "destroyed")
      alive[id] = state;
  for (const auto& [id, state] : alive)
    if (seen.placements.count(id) == 0)
      out.push_back(id + ": " + state + " in the journal, not in the store");
  auto only_of_living = [&](const std::set<std::string>& ids,
                            const std::string& what) {
    for (const auto& id : ids)
      if (alive.count(id) == 0)
        out.push_back(id + ": has a " + what + " and does not live");
  };
  only_of_living(seen.placements, "placement");
  only_of_living(seen.leases, "lease");
  only_of_living(seen.execs, "journalled exec");
  for (const auto& [key, id] : seen.names)
    if (alive.count(id) == 0)
      out.push_back(key + ": of " + id + ", which does not live");
  for (const auto& [kind, ids] : seen.host)
    only_of_living(ids, kind);
  for (const char* kind :
       {"cgroup", "process", "container", "loop", "directory"})
    for (const auto& [id, state] : alive) {
      bool there = seen.host[kind].count(id) != 0;
      bool kept = state != "failed" || std::string{kind} == "directory";
      if (there != kept)
        out.push_back(id + ": " + state + (there ? " with a " : " without a ")
                      + kind);
    }

  auto listed =
      json::parse(node.caged({"list", "--format", "json"}).out, nullptr, false);
  if (!listed.is_array())
    return out.push_back("caged list does not answer"), out;
  std::map<std::string, std::string> said;
  for (const auto& item : listed)
    said[item.value("id", "")] = item.value("state", "");
  for (const auto& [id, state] : alive)
    if (said[id] != state)
      out.push_back(id + ": " + state + " in the journal, caged list says \""
                    + said[id] + "\"");
  for (const auto& [id, state] : said)
    if (alive.count(id) == 0 && !state.empty())
      out.push_back(id + ": " + state + " in caged list, not in the journal");

  auto audit = json::parse(
      node.caged({"node", "audit", "--format", "json"}).out, nullptr, false);
  if (audit.is_discarded())
    return out.push_back("caged node audit does not answer"), out;
  for (const auto& item : audit.is_object() ? audit["rows"] : audit)
    if (item.value("verdict", "") != "owned")
      out.push_back(item.value("sandbox", "") + ": " + item.value("verdict", "")
                    + " " + item.value("kind", "") + " "
                    + item.value("name", ""));
  return out;
}

std::vector<std::string> traces_of(const test_node& node,
                                   const std::string& id) {
  std::vector<std::string> out;
  auto seen = read_books(node);
  for (const auto& [kind, ids] : seen.host)
    if (ids.count(id) != 0)
      out.push_back(kind);
  if (seen.placements.count(id) != 0)
    out.emplace_back("placement");
  if (seen.leases.count(id) != 0)
    out.emplace_back("lease");
  if (seen.execs.count(id) != 0)
    out.emplace_back("journalled exec");
  for (const auto& [key, of] : seen.names)
    if (of == id)
      out.push_back(key);
  auto audit = json::parse(
      node.caged({"node", "audit", "--format", "json"}).out, nullptr, false);
  if (audit.is_discarded())
    out.emplace_back("caged node audit does not answer");
  else
    for (const auto& item : audit.is_object() ? audit["rows"] : audit)
      if (item.value("sandbox", "") == id)
        out.push_back("audit: " + item.value("kind", ""));
  return out;
}

std::string lines(const std::vector<std::string>& all) {
  std::string out;
  for (const auto& line : all)
    out += line + "\n";
  return out;
}

} // namespace caged::test
