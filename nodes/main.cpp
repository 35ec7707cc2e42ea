#include <csignal>
#include <cstdio>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodes/config.hpp"
#include "nodes/logging.hpp"
#include "nodes/node.hpp"
#include "nodes/setup.hpp"

// caged-node: the daemon of one host, and what sets it up. This file only knows
// how a process lives and ends; nodes/node.cpp wires everything.
namespace {

/// As for bad flags: it is of no use to start it again
/// (ops/systemd/caged-node.service).
constexpr int removed_exit = 2;

/// Every client, agent and FIFO costs a descriptor: what we may have, we take.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0
      && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

int complain(const caged::failure& why) {
  std::fprintf(stderr, "caged-node: %s\n", why.message.c_str());
  if (!why.hint.empty())
    std::fprintf(stderr, "hint: %s\n", why.hint.c_str());
  return 1;
}

} // namespace

int main(int argc, char** argv) {
  if (caged::is_setup(argc, argv))
    return caged::run_setup(argc, argv);
  auto parsed = caged::parse_node_config(argc, argv);
  if (parsed.exit_code)
    return *parsed.exit_code; // --help, --version, --check-config, a bad value
  const auto& config = parsed.config;

  // Before any thread, so that all inherit it: signals are read below.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  ::umask(077);
  raise_descriptor_limit();
  caged::set_up_logging(config);

  auto node = caged::node::start(config, [] { ::kill(::getpid(), SIGTERM); });
  if (!node)
    return complain(node.error());
  caged::log_event("started", {{"node", (*node)->name()},
                               {"clients", config.client_endpoint},
                               {"metrics", (*node)->metrics_address()}});
  int signal = 0;
  sigwait(&ends, &signal);
  caged::log_event("stopping", {{"signal", signal == SIGINT ? "INT" : "TERM"}});
  // A second signal does not wait for a clean end.
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  const auto over = (*node)->over();
  (*node)->stop();
  caged::log_event("stopped", {});
  if (!over)
    return 0;
  complain(*over);
  return removed_exit;
}
