#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/support/test_node.hpp"

namespace caged::test {

/// Flags of a node that has room for a hundred small sandboxes.
std::vector<std::string> roomy();

/// So many small sandboxes, made at once. Their ids; fewer when some failed,
/// with a note on stderr.
std::vector<std::string> make_fleet(const test_node& node, std::size_t count);

/// Host pid of every sandbox's init, by id.
std::map<std::string, pid_t> inits(const test_node& node);

/// Host pid of the command of a sandbox whose arguments hold the text, by the
/// host pid of its init; no daemon is asked. 0 when there is none.
pid_t find_command(pid_t init, const std::string& text);

/// Ids of those that are running, as `caged list` has them.
std::vector<std::string> running(const test_node& node);

/// What `caged node audit` finds wrong, one a line: orphaned and missing.
std::string audit_findings(const test_node& node);

/// The lines from 1 to `last`, as seq(1) prints them.
std::string numbered(std::uint64_t last, const std::string& end = "\n");

/// A shell loop that prints numbered lines, some 1.5 MB/s, while `condition`
/// holds; then $i is the last of them.
std::string count_while(const std::string& condition);

std::string last_line(const std::string& text);

} // namespace caged::test
