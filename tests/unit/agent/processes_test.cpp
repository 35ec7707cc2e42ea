#include "agent/processes.hpp"

#include <algorithm>

#include <catch2/catch.hpp>
#include <unistd.h>

using namespace caged::agent;

TEST_CASE("a line of /proc/PID/stat is read whatever its name is") {
  auto row = parse_stat("42 (a) b (c)) R 7 42 40 34816 -1 4194304 5 6 7 8 100 "
                        "20 3 4 20 0 1 0 100\n");
  REQUIRE(row);
  CHECK(row->pid == 42);
  CHECK(row->state == 'R');
  CHECK(row->parent == 7);
  CHECK(row->group == 42);
  CHECK(row->session == 40);
  CHECK(row->cpu_ticks == 127);
  for (const auto* bad :
       {"", "42", "42 (x", "42 (x)", "42 (x) R", "x (y) R 1", "42 (x) R 1 2 3"})
    CHECK_FALSE(parse_stat(bad));
}

TEST_CASE("a tree is a session and the descendants of its members") {
  auto row = [](int pid, int parent, int session) {
    process_row out;
    out.pid = pid;
    out.parent = parent;
    out.session = session;
    return out;
  };
  const std::vector<process_row> rows = {
      row(1, 0, 1),    row(10, 1, 10), row(11, 10, 10), row(12, 11, 12),
      row(13, 12, 12), row(14, 1, 10), row(20, 1, 20),  row(21, 20, 20)};
  auto tree = tree_of(rows, 10, 1);
  std::sort(tree.begin(), tree.end());
  CHECK(tree == std::vector<pid_t>{10, 11, 12, 13, 14});
  CHECK(tree_of(rows, 99, 1).empty());
  // Itself never, even inside.
  tree = tree_of(rows, 10, 12);
  CHECK(std::find(tree.begin(), tree.end(), 12) == tree.end());
}

TEST_CASE("the list of processes has this one") {
  auto rows = list_processes();
  auto self = std::find_if(rows.begin(), rows.end(), [](const auto& row) {
    return row.pid == ::getpid();
  });
  REQUIRE(self != rows.end());
  CHECK(self->parent == ::getppid());
  CHECK(self->session == ::getsid(0));
  CHECK(list_processes("/nonexistent").empty());
}
