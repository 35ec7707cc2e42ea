#pragma once

#include <string>

#include "tests/bench/mcp/baselines.hpp"

namespace caged::bench {

/// The table on stdout: a row for each of bars(), what the machine takes, and
/// how many rows are ahead. `with_peer`: a column for it.
void print_table(const samples& all, bool with_peer);

/// A line for each server, row and round, for whoever asks about the spread.
void write_samples(const samples& all, const std::string& to);

} // namespace caged::bench
