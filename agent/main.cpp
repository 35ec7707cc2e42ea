#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <unistd.h>

#include "agent/config.hpp"
#include "agent/init.hpp"
#include "agent/server.hpp"
#include "caged_version.hpp"

// caged-agent: lives inside every sandbox as PID 1, or stand-alone.
int main(int argc, char** argv) {
  using namespace caged::agent;
  auto parsed = parse_config({argv + 1, argv + argc}, [](const char* name) {
    return std::getenv(name);
  });
  if (!parsed) {
    std::fprintf(stderr, "caged-agent: %s\n", parsed.error().message.c_str());
    return 2;
  }
  if (parsed->show_help) {
    std::fputs(help_text().c_str(), stdout);
    return 0;
  }
  if (parsed->show_version) {
    std::puts("caged-agent " CAGED_VERSION);
    return 0;
  }
  log::set_level(parsed->log_level);
  // Long lines are allocated and freed all the time: each goes back to the
  // kernel at once, so that the peak is what is in use (mallopt(3)).
  // With everything at its worst the most of 20 runs was 2868 kB, and 3056 kB
  // with 32, 64 and 16 KiB.
  ::mallopt(M_MMAP_THRESHOLD, 16 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 16 * 1024);
  ::mallopt(M_TOP_PAD, 4 * 1024);
  bool init = ::getpid() == 1;
  if (init) {
    prepare_init();
    // Its reader, the node, may be away: then lines are dropped.
    int flags = ::fcntl(STDERR_FILENO, F_GETFL);
    if (flags >= 0)
      ::fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
  }
  std::signal(SIGPIPE, SIG_IGN);
  // Whatever the runtime has left open is not for the commands in here.
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t read_by_loop;
  sigemptyset(&read_by_loop);
  for (int number : {SIGCHLD, SIGTERM, SIGINT})
    sigaddset(&read_by_loop, number);
  sigprocmask(SIG_BLOCK, &read_by_loop, nullptr);

  int code = 1;
  {
    server agent{*parsed, init};
    if (auto ready = agent.listen(); !ready)
      std::fprintf(stderr, "caged-agent: %s\n", ready.error().message.c_str());
    else
      code = agent.run();
  }
  if (init)
    power_off_if_machine();
  return code;
}
