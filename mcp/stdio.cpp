#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "mcp/log.hpp"
#include "mcp/session.hpp"
#include "mcp/stdio_outlet.hpp"
#include "mcp/stdio_reader.hpp"
#include "mcp/workspace.hpp"

// One session over stdin and stdout: a message a line (MCP, basic/transports).

namespace caged::mcp {

namespace {

using ended = stdio_reader::ended;

/// Waits until no call is left. False: not in this time.
bool settle(const session& of, std::chrono::milliseconds most, int signals) {
  const auto until = std::chrono::steady_clock::now() + most;
  while (of.busy() > 0) {
    if (std::chrono::steady_clock::now() > until)
      return false;
    pollfd told[] = {{signals, POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    if (::poll(told, 2, 2) > 0)
      return false; // told to stop, or the client does not read any more
  }
  return true;
}

/// Answers what still runs, if somebody may want it, and ends the session.
void finish(session& client, stdio_outlet& out, ended why, int signals,
            int stop) {
  // What runs when the input ends has a second: "printf ... | server" is worth
  // an answer. A client that is gone closes both.
  if (why == ended::by_input) {
    settle(client, std::chrono::seconds{1}, signals);
    out.flush();
  }
  client.close();
  ::eventfd_write(stop, 1);
  out.abandon();
  log::info("ending", {{"reason", why == ended::by_signal  ? "signal"
                                  : why == ended::by_input ? "end of input"
                                                           : "output closed"}});
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds{5};
  while (client.busy() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  if (client.busy() > 0) {
    // A system call that never returns (a dead network file system): its thread
    // cannot be ended, the process can.
    log::warn("ending although calls have not ended",
              {{"calls", client.busy()}});
    std::_Exit(0);
  }
}

} // namespace

int serve_stdio(server& of) {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t told;
  sigemptyset(&told);
  for (const auto number : {SIGTERM, SIGINT})
    sigaddset(&told, number);
  // Before the first worker, which inherits it. Commands get an empty mask.
  ::pthread_sigmask(SIG_BLOCK, &told, nullptr);
  const owned_fd signals{::signalfd(-1, &told, SFD_CLOEXEC | SFD_NONBLOCK)};
  const owned_fd stop{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!signals || !stop) {
    log::error("no descriptor for signals", {{"error", std::strerror(errno)}});
    return 1;
  }
  auto out = std::make_shared<stdio_outlet>(signals.get(), stop.get());
  auto client = session::make(of, out);
  log::info("serving stdio", {{"workspace", of.config().workspace},
                              {"read_only", of.config().read_only}});
  stdio_reader in{of.config().max_message_bytes, *client, out, signals.get()};
  in.run([&](ended why) {
    finish(*client, *out, why, signals.get(), stop.get());
  });
  return 0;
}

} // namespace caged::mcp
