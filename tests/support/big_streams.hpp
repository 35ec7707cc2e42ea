#pragma once

#include <string>

#include "tests/support/test_node.hpp"

namespace caged::test {

/// 300 MB into a sandbox and 300 MB out of it, asked for at one node while
/// another (or the same) has it. All of it arrives, and the memory of nobody on
/// the way grows: command line, daemons, agent. Checked with Catch2.
void check_big_streams(test_node& through, test_node& owner,
                       const std::string& id);

} // namespace caged::test
