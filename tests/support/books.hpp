#pragma once

#include <set>
#include <string>
#include <vector>

#include "tests/support/test_node.hpp"

namespace caged::test {

/// What a node has written down and what the host has, seen from outside: the
/// databases are read with SQLite, cgroups, loop devices and directories where
/// the kernel shows them. Nothing of the node's own code is used.
struct books {
  std::map<std::string, std::string> journal; ///< id to state, also destroyed
  std::set<std::string> placements;           ///< ids in the store
  std::map<std::string, std::string> names;   ///< store: key to id
  std::set<std::string> leases, execs;        ///< journal: whose they are
  /// "cgroup", "process", "container", "loop", "directory", "exec log" to ids.
  /// Of the first two those alone whose id the journal knows, since other nodes
  /// have theirs, and agents that are in no sandbox.
  std::map<std::string, std::set<std::string>> host;
};

books read_books(const test_node& node);

/// Where store, journal, kernel, `caged list` and `caged node audit` do not
/// say the same, one a line; empty when they agree. What comes and goes at the
/// moment is a disagreement, too: ask again.
std::vector<std::string> disagreements(const test_node& node);

/// What there is of a sandbox on the host and in the books beyond its history.
std::vector<std::string> traces_of(const test_node& node,
                                   const std::string& id);

/// `all`, one a line.
std::string lines(const std::vector<std::string>& all);

} // namespace caged::test
