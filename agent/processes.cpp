#include "agent/processes.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>

#include <dirent.h>
#include <unistd.h>

#include "agent/small_file.hpp"

namespace caged::agent {

std::optional<process_row> parse_stat(std::string_view text) {
  process_row row;
  auto pid = leading_number(text);
  // The name in brackets is the process's own choice: it may hold ") ".
  auto name_end = text.rfind(')');
  if (!pid || name_end == std::string_view::npos || name_end + 2 >= text.size())
    return std::nullopt;
  row.pid = static_cast<pid_t>(*pid);
  row.state = text[name_end + 2];
  text.remove_prefix(name_end + 3);
  // Fields 4 (parent) to 17 (cstime).
  std::uint64_t fields[14] = {};
  for (auto& field : fields) {
    auto at = text.find_first_not_of(' ');
    if (at == std::string_view::npos)
      return std::nullopt;
    text.remove_prefix(at);
    auto end = std::min(text.find(' '), text.size());
    // tpgid (field 8) may be -1, which nobody needs.
    field = leading_number(text.substr(0, end)).value_or(0);
    text.remove_prefix(end);
  }
  row.parent = static_cast<pid_t>(fields[0]);
  row.group = static_cast<pid_t>(fields[1]);
  row.session = static_cast<pid_t>(fields[2]);
  row.cpu_ticks = fields[10] + fields[11] + fields[12] + fields[13];
  return row;
}

std::vector<process_row> list_processes(const std::string& proc) {
  std::vector<process_row> rows;
  auto* dir = ::opendir(proc.c_str());
  if (!dir)
    return rows;
  while (auto* entry = ::readdir(dir)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
      continue;
    if (auto row =
            parse_stat(read_small(proc + "/" + entry->d_name + "/stat", 1024)))
      rows.push_back(*row);
  }
  ::closedir(dir);
  return rows;
}

std::vector<pid_t> tree_of(const std::vector<process_row>& rows, pid_t leader,
                           pid_t self) {
  std::vector<pid_t> tree;
  auto inside = [&](pid_t pid) {
    return std::find(tree.begin(), tree.end(), pid) != tree.end();
  };
  for (const auto& row : rows)
    if (row.pid != self && (row.session == leader || row.pid == leader))
      tree.push_back(row.pid);
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& row : rows)
      if (row.pid != self && !inside(row.pid) && inside(row.parent)) {
        tree.push_back(row.pid);
        grown = true;
      }
  }
  return tree;
}

std::size_t signal_tree(pid_t leader, int number, bool leader_reaped) {
  std::size_t hit = 0;
  auto rounds = number == SIGKILL ? 8 : 1;
  for (int round = 0; round < rounds; ++round) {
    auto rows = list_processes();
    rows.erase(std::remove_if(rows.begin(), rows.end(),
                              [](const process_row& row) {
                                return row.state == 'Z' || row.state == 'X';
                              }),
               rows.end());
    if (leader_reaped
        && std::any_of(rows.begin(), rows.end(), [&](const process_row& row) {
             return row.pid == leader;
           }))
      return hit;
    std::size_t before = hit;
    for (auto pid : tree_of(rows, leader, ::getpid()))
      if (::kill(pid, number) == 0)
        ++hit;
    if (hit == before)
      break;
  }
  return hit;
}

} // namespace caged::agent
