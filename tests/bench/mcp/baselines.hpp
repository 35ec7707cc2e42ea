#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/bench/mcp/pipe_client.hpp"

namespace caged::bench {

/// One row of one server, of one round or the median of the rounds. Memory
/// rows have megabytes as their p50, nothing else.
struct sample {
  double p50 = 0, p99 = 0;      ///< microseconds
  double ops = 0;               ///< operations a second
  double own = 0, children = 0; ///< CPU microseconds an operation

  static sample of(const figures& all);
  static sample of_value(double value) { return {value, 0, 0, 0, 0}; }
};

/// Server -> row -> its rounds.
using samples =
    std::map<std::string, std::map<std::string, std::vector<sample>>>;

/// The median of the rounds, each figure by itself; nothing: not measured.
std::optional<sample> median(const samples& of, const std::string& server,
                             const std::string& row);

/// By which figure a row is judged.
enum class measure { p50, ops, cpu };

/// What a row has to beat. The figures of the original server and of the
/// yardstick are those of the project's baselines (2 virtual CPUs, npm's
/// server-filesystem 2026.8.31 on node 20.20.2, three rounds of 0.5 s).
struct bar {
  std::string row;
  measure by = measure::p50;
  double original = 0;
  /// What was measured in the baselines and is again in this run; its time an
  /// operation now over that of then scales the original's figure. No row: the
  /// figure stands as it is (memory, waiting times).
  std::string yardstick, yardstick_row;
  measure yardstick_by = measure::p50; ///< p50, or ops for 1/ops
  double yardstick_then = 0;
  double margin = 1; ///< So many times better than the original.
  /// Row of the machine that the original needs beside its own figure: there
  /// git is a process that the server's figure does not hold.
  std::string beside = {};
  /// Row of the machine that every server needs for this one, as a part of it.
  std::string least = {};
};

/// Every row, in the order of the table.
const std::vector<bar>& bars();

/// The figure to beat in this run; nothing when its yardstick is missing.
std::optional<double> to_beat(const bar& what, const samples& of);

} // namespace caged::bench
