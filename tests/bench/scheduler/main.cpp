// bench_scheduler: the real choice of a node and its real booking, over nodes
// that are only records, in a store in memory. Prints a sample a line:
// microseconds of one placement, or of the choice alone.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "actors/scheduler.hpp"
#include "tests/support/faulty_store.hpp"

using namespace caged;
using clock_type = std::chrono::steady_clock;

namespace {

std::vector<node_view> make_nodes(std::size_t count) {
  std::vector<node_view> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto& node = out[i].node;
    node.id = "id-" + std::to_string(i);
    node.name = "node-" + std::to_string(i);
    node.runtime = "oci";
    node.networks = {"none"};
    node.total = {100000, 100000000, 1000000};
    out[i].live = true;
  }
  return out;
}

std::string sandbox_id(std::size_t number) {
  auto digits = std::to_string(number);
  return "cage-" + std::string(8 - digits.size(), '0') + digits;
}

} // namespace

int main(int argc, char** argv) {
  std::size_t nodes = 10, count = 1000;
  bool choice = false;
  CLI::App app{"Times placements over nodes in memory; microseconds, a sample "
               "a line.",
               "bench_scheduler"};
  app.add_option("--nodes", nodes, "how many there are")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("-n,--count", count, "placements")->capture_default_str();
  app.add_flag("--choice", choice, "the choice alone, nothing is booked");
  CLI11_PARSE(app, argc, argv);

  test::faulty_store in;
  auto view = make_nodes(nodes);
  wish wanted;
  wanted.spec.cpus = 1;
  wanted.spec.memory_mb = 128;
  wanted.spec.disk_gb = 1;
  for (std::size_t i = 0; i < count; ++i) {
    placement_record what;
    what.sandbox = sandbox_id(i);
    what.owner = "uid:0";
    what.request_id = "request-" + std::to_string(i);
    const auto from = clock_type::now();
    failure why;
    bool good = false;
    // As an entrypoint chooses and the owner books.
    auto best = order(view, wanted, what.sandbox, i);
    good = best && !best->empty();
    why = best ? failure{} : best.error();
    if (good && !choice) {
      auto& node = view[best->front()];
      what.node = node.node.id;
      what.takes = {wanted.spec.cpus, wanted.spec.memory_mb,
                    wanted.spec.disk_gb};
      auto placed = book_once(in, what, node.node.total, node.reserved);
      good = placed && *placed;
      why = placed ? failure{} : placed.error();
    }
    const std::chrono::duration<double, std::micro> took =
        clock_type::now() - from;
    if (!good) {
      std::fprintf(stderr, "bench_scheduler: %s\n", why.message.c_str());
      return EXIT_FAILURE;
    }
    std::printf("%.3f\n", took.count());
  }
  return EXIT_SUCCESS;
}
