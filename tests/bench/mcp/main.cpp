// bench_mcp: measures caged-mcp-server beside others, in rounds in which they
// take turns, and prints the table of mcp-baselines.md with the figure to beat
// in each row. tests/bench/mcp.sh makes the folders and calls it.
#include <csignal>
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "tests/bench/mcp/plan.hpp"
#include "tests/bench/mcp/report.hpp"

using namespace caged::bench;

namespace {

struct options {
  std::string server, peer, floor, samples_file;
  std::vector<std::string> npm;
  surroundings where;
  int rounds = 3;
};

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
  measure_memory(what.where, got);
  for (int i = 0; i < what.rounds; ++i) {
    for (const auto& who : all) {
      std::fprintf(stderr, "-- round %d: %s\n", i + 1, who.name.c_str());
      // What fails leaves the other rows worth having.
      for (const auto& why : measure_server(who, what.where, got)) {
        std::fprintf(stderr, "bench_mcp: %s: %s\n", who.name.c_str(),
                     why.c_str());
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
