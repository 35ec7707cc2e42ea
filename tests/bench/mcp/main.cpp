// bench_mcp: measures caged-mcp-server beside others, in rounds in which they
// take turns, and prints the table of mcp-baselines.md with the figure to beat
// in each row. tests/bench/mcp.sh makes the folders and calls it.
#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fstream>

#include <CLI/CLI.hpp>

#include "tests/bench/mcp/plan.hpp"

using namespace caged::bench;

namespace {

struct options {
  std::string server, peer, floor, samples_file;
  std::vector<std::string> npm;
  surroundings where;
  int rounds = 3;
};

std::string number(double value) {
  if (value == 0)
    return "-";
  char text[32];
  std::snprintf(text, sizeof text,
                value < 10     ? "%.2f"
                : value < 1000 ? "%.1f"
                               : "%.0f",
                value);
  return text;
}

std::string times(const std::optional<sample>& of) {
  return of ? number(of->p50) + " / " + number(of->p99) : "-";
}

std::string brief(const std::optional<sample>& of) {
  return of ? number(of->p50) + " / " + number(of->ops) : "-";
}

double judged(const bar& by, const sample& of) {
  switch (by.by) {
  case measure::ops:
    return of.ops;
  case measure::cpu:
    return of.own + of.children;
  case measure::p50:
    break;
  }
  return of.p50;
}

struct score {
  int ahead = 0, behind = 0, open = 0;
};

void print_row(const bar& row, const samples& all, bool with_peer,
               score& total) {
  auto ours = median(all, "ours", row.row);
  auto figure = to_beat(row, all);
  const bool memory = row.row.rfind("memory", 0) == 0;
  std::string verdict = "-";
  if (ours && figure) {
    auto got = judged(row, *ours);
    bool ahead = row.by == measure::ops ? got > *figure : got < *figure;
    verdict = ahead ? "yes" : "no";
    ++(ahead ? total.ahead : total.behind);
  } else {
    ++total.open;
  }
  const char* unit = memory                   ? "MB"
                     : row.by == measure::ops ? "ops/s"
                     : row.by == measure::cpu ? "CPU us"
                                              : "p50 us";
  std::printf("| %s | %s | %s | %s | %s | %s | ", row.row.c_str(),
              memory ? (ours ? number(ours->p50).c_str() : "-")
                     : times(ours).c_str(),
              ours ? number(ours->ops).c_str() : "-",
              ours && ours->ops != 0
                  ? (number(ours->own) + " + " + number(ours->children)).c_str()
                  : "-",
              brief(median(all, "npm", row.row)).c_str(),
              brief(median(all, "floor", row.row)).c_str());
  if (with_peer)
    std::printf("%s | ", brief(median(all, "peer", row.row)).c_str());
  std::printf("%s | %s | %s | %s |\n", unit,
              ours ? number(judged(row, *ours)).c_str() : "-",
              figure ? number(*figure).c_str() : "-", verdict.c_str());
}

void print_table(const samples& all, bool with_peer) {
  std::printf("| test | ours p50 / p99 us | ops/s | own + child CPU us | npm "
              "p50 us / ops/s | floor | %sjudged by | ours | to beat | ahead "
              "|\n",
              with_peer ? "peer | " : "");
  std::printf("| --- | ---: | ---: | ---: | ---: | ---: | %s--- | ---: | ---: "
              "| --- |\n",
              with_peer ? "---: | " : "");
  score total;
  for (const auto& row : bars())
    print_row(row, all, with_peer, total);
  std::printf("\n%d rows ahead, %d behind, %d without a figure.\n\n",
              total.ahead, total.behind, total.open);
  std::printf("| beside it | p50 us |\n| --- | ---: |\n");
  for (const auto& [name, rounds] : all.at("machine"))
    std::printf("| %s | %s |\n", name.c_str(),
                number(median(all, "machine", name)->p50).c_str());
  for (const char* who : {"ours", "peer"})
    for (const char* row : {"connect: ws1", "connect: ws64", "connect: ws512"})
      if (auto took = median(all, who, row))
        std::printf("| %s, %s: connect and initialize all | %s |\n", who,
                    row + 9, number(took->p50 * 1e3).c_str());
}

/// server, row, round and every figure: for whoever asks about the spread.
void write_samples(const samples& all, const std::string& to) {
  std::ofstream out{to};
  out << "server\trow\tround\tp50\tp99\tops\town\tchildren\n";
  for (const auto& [server, rows] : all)
    for (const auto& [row, rounds] : rows)
      for (std::size_t i = 0; i < rounds.size(); ++i)
        out << server << '\t' << row << '\t' << i + 1 << '\t' << rounds[i].p50
            << '\t' << rounds[i].p99 << '\t' << rounds[i].ops << '\t'
            << rounds[i].own << '\t' << rounds[i].children << '\n';
}

int run(const options& what) {
  using sort = contender::sort;
  std::vector<contender> all{{sort::caged, "ours", {what.server}},
                             {sort::floor, "floor", {what.floor}}};
  if (!what.npm.empty())
    all.push_back({sort::npm, "npm", what.npm});
  if (!what.peer.empty())
    all.push_back({sort::caged, "peer", {what.peer}});
  samples got;
  bool complete = true;
  for (int i = 0; i < what.rounds; ++i) {
    for (const auto& who : all) {
      std::fprintf(stderr, "-- round %d: %s\n", i + 1, who.name.c_str());
      try {
        measure_server(who, what.where, got);
      } catch (const std::exception& error) {
        // The others' rows are still worth having.
        std::fprintf(stderr, "bench_mcp: %s: %s\n", who.name.c_str(),
                     error.what());
        complete = complete && who.name == "peer";
      }
    }
    measure_machine(what.where, got);
  }
  print_table(got, !what.peer.empty());
  if (!what.samples_file.empty())
    write_samples(got, what.samples_file);
  return complete ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"Measures caged-mcp-server beside others"};
  options what;
  app.add_option("--server", what.server, "caged-mcp-server")->required();
  app.add_option("--floor", what.floor, "bench_mcp_floor")->required();
  app.add_option("--npm", what.npm,
                 "server-filesystem: the words of its command");
  app.add_option("--peer", what.peer, "a server with the same command line");
  app.add_option("--files", what.where.files)->required();
  app.add_option("--tree", what.where.tree)->required();
  app.add_option("--repo", what.where.repo)->required();
  app.add_option("--log", what.where.log, "stderr of the servers")->required();
  app.add_option("--samples", what.samples_file, "every round's figures");
  app.add_option("--rounds", what.rounds);
  app.add_flag("--quick", what.where.quick, "does it run, not how fast");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(what);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_mcp: %s\n", error.what());
    return 1;
  }
}
