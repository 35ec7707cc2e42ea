#include "tests/bench/mcp/baselines.hpp"

#include <algorithm>

namespace caged::bench {

namespace {

// Rows under 100 us by CPU: there the kernel's choice of CPUs decides the time.
// npm's pipelined rows, in which node is busy all the time, are what its CPU is
// compared by.
bar by_cpu(const char* row, double original, const char* npm_row,
           double npm_ops) {
  return {row, measure::cpu, original, "npm", npm_row, measure::ops, npm_ops};
}
bar by_p50(const char* row, double original, double npm) {
  return {row, measure::p50, original, "npm", row, measure::p50, npm};
}
// What is mostly the start of a process; npm's is mostly its interpreter's.
bar by_floor(const char* row, double original, double floor) {
  return {row, measure::p50, original, "floor", row, measure::p50, floor};
}
bar by_ops(const char* row, double original, double npm) {
  return {row, measure::ops, original, "npm", row, measure::ops, npm};
}
// npm has no such tool: what the machine takes for the same.
bar by_machine(const char* row, measure by, double original,
               const char* program, double then) {
  return {row, by, original, "machine", program, measure::p50, then};
}
bar fixed(const char* row, double original, double margin = 1) {
  bar out{row, measure::p50, original, "", "", measure::p50, 0};
  out.margin = margin;
  return out;
}

std::vector<bar> make() {
  std::vector<bar> all{
      by_floor("start", 4455, 2919),
      by_cpu("ping", 7.29, "pipe64_ping", 35812),
      by_cpu("tools_list", 31.5, "tools_list", 691.8),
      by_cpu("read_1k", 22.1, "pipe64_read_1k", 4921),
      by_p50("read_1m", 8572, 14927),
      by_p50("write_1k", 248.4, 805.3),
      by_p50("list_1000", 2993, 16582),
      by_machine("exec_true", measure::p50, 940.5, "sh -c true", 1050),
      by_machine("exec_echo", measure::p50, 1063, "sh -c true", 1050),
      by_ops("pipe64_ping", 178219, 35812),
      by_ops("pipe64_read_1k", 35387, 4921),
      by_ops("pipe64_write_1k", 4171, 2723),
      by_machine("pipe64_exec_true", measure::ops, 963.8, "sh -c true", 1050),
      by_p50("search_20k", 73487, 2221190),
      by_machine("git_status", measure::p50, 14657, "git status", 18600),
      by_machine("git_log", measure::p50, 2821, "git log -n10", 2200),
      by_machine("git_diff", measure::p50, 14028, "git diff", 17900),
      by_machine("pipe16_git_status", measure::ops, 73.7, "git status", 18600),
      // It handles one message at a time.
      fixed("ping_during_exec", 973'000, 5),
      fixed("search_during_exec", 973'000 + 73'487, 5),
      {"memory: start", measure::p50, 5.5, "npm", "memory: start", measure::p50,
       72.8},
      {"memory: files", measure::p50, 17.6, "npm", "memory: files",
       measure::p50, 147.9},
      {"memory: search", measure::p50, 11.3, "npm", "memory: search",
       measure::p50, 90.1},
      fixed("memory: git", 10.8),
      by_cpu("ws1_ping", 71.3, "pipe64_ping", 35812),
      by_cpu("ws1_read_1k", 111.0, "pipe64_read_1k", 4921),
      by_cpu("ws64_ping", 21.5, "pipe64_ping", 35812),
      by_cpu("ws64_read_1k", 50.4, "pipe64_read_1k", 4921),
      by_cpu("ws512_ping", 26.6, "pipe64_ping", 35812),
      by_cpu("ws512_read_1k", 51.8, "pipe64_read_1k", 4921),
      fixed("memory: ws1", 12.0),
      fixed("memory: ws64", 13.4),
      fixed("memory: ws512", 36.7),
  };
  for (auto& one : all) {
    if (one.row == "search_20k")
      one.margin = 5;
    if (one.row == "memory: git")
      one.beside = "memory: git status";
    if (one.row == "list_1000")
      one.least = "fstatat of 1000 files";
  }
  return all;
}

double middle(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  auto n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

} // namespace

sample sample::of(const figures& all) {
  return {all.p50(), all.p99(), all.ops_per_s, all.cpu_per_op.own,
          all.cpu_per_op.children};
}

std::optional<sample> median(const samples& of, const std::string& server,
                             const std::string& row) {
  auto rows = of.find(server);
  if (rows == of.end())
    return std::nullopt;
  auto found = rows->second.find(row);
  if (found == rows->second.end() || found->second.empty())
    return std::nullopt;
  auto each = [&](double sample::*figure) {
    std::vector<double> values;
    for (const auto& one : found->second)
      values.push_back(one.*figure);
    return middle(std::move(values));
  };
  return sample{each(&sample::p50), each(&sample::p99), each(&sample::ops),
                each(&sample::own), each(&sample::children)};
}

const std::vector<bar>& bars() {
  static const auto all = make();
  return all;
}

std::optional<double> to_beat(const bar& what, const samples& of) {
  double slower = 1;
  if (!what.yardstick.empty()) {
    auto now = median(of, what.yardstick, what.yardstick_row);
    if (!now)
      return std::nullopt;
    slower = what.yardstick_by == measure::ops ? what.yardstick_then / now->ops
                                               : now->p50 / what.yardstick_then;
  }
  double beside = 0;
  if (!what.beside.empty()) {
    auto more = median(of, "machine", what.beside);
    if (!more)
      return std::nullopt;
    beside = more->p50;
  }
  return what.by == measure::ops
             ? what.original / slower * what.margin
             : what.original * slower / what.margin + beside;
}

} // namespace caged::bench
