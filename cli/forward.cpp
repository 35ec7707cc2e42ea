#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <iostream>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/endpoint.hpp"
#include "cli/exec.hpp"
#include "cli/live.hpp"
#include "messages/text.hpp"

// `caged forward`: a listening socket here, a process of its own for every
// connection, as inetd has it: one that breaks or blocks costs nobody else.
namespace caged::cli {

namespace {

constexpr int connections_most = 256;

class listener {
public:
  ~listener() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  result<std::uint16_t> open(const std::string& address, std::uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    if (::inet_pton(AF_INET, address.c_str(), &at.sin_addr) != 1)
      return fail(ec::bad_request,
                  "the address " + caged::quoted(address)
                      + " is no IPv4 address",
                  "use 127.0.0.1, or 0.0.0.0 for every interface");
    // Non-blocking: a connection may be gone between poll and accept.
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    socklen_t size = sizeof at;
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0
        || ::listen(fd_, SOMAXCONN) != 0
        || ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      int why = errno;
      auto out = fail_errno(
          ec::io, "cannot listen on " + address + ":" + std::to_string(port),
          why);
      if (why == EADDRINUSE)
        out.value().hint = "choose another local port: LOCAL:PORT, or 0:PORT "
                           "for any";
      return out;
    }
    return ntohs(at.sin_port);
  }
  int fd() const { return fd_; }

private:
  int fd_ = -1;
};

/// One connection, to its end. The exit code of its process.
int serve(const node_address& node, const forward_options& what,
          std::uint16_t port, int fd) {
  descriptor_source in{fd};
  descriptor_sink out{fd};
  kept_bytes none{0};
  exec_ends ends{&in, out, none};
  ends.transfer = true;
  ends.out_ended = [fd] { ::shutdown(fd, SHUT_WR); };
  api::exec want;
  want.sandbox = what.sandbox;
  want.resume = what.resume;
  auto ended = run_exec(node, std::move(want), ends, {{}, port});
  if (ended)
    return 0;
  std::cerr << "caged: " << escape_text(ended.error().message) << "\n";
  return 1;
}

/// A port of what has ended, or is not there yet, would take connections and
/// drop each.
result<void> can_forward(const sandbox_info& to, bool resume) {
  auto id = escape_text(to.id);
  auto refused = [&](const std::string& how, const std::string& hint) {
    return fail(ec::wrong_state, id + " " + how, hint);
  };
  auto history = "caged why " + id + " shows its history";
  switch (to.state) {
  case phase::pending:
    return refused("is still being made",
                   "wait until it is running: caged get " + id);
  case phase::paused:
    if (resume)
      return {};
    return refused("is paused", "caged resume " + id + ", or give --resume");
  case phase::unhealthy:
    return refused("is unhealthy: " + escape_text(to.last_cause.text), history);
  case phase::failed:
    return refused("has failed: " + escape_text(to.last_cause.text), history);
  case phase::stopping:
    return refused("is being destroyed", {});
  case phase::destroyed:
    return refused("is destroyed", history);
  default:
    return {};
  }
}

volatile std::sig_atomic_t ended_by = 0;

/// The signals that end us or tell of a child: they come in poll() and nowhere
/// else, so that none is missed between a look and a wait.
class interruptions {
public:
  interruptions() {
    sigset_t set;
    ::sigemptyset(&set);
    struct sigaction on {};
    on.sa_handler = [](int number) {
      if (number != SIGCHLD)
        ended_by = number;
    };
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) {
      ::sigaddset(&set, number);
      ::sigaction(number, &on, nullptr);
    }
    ::sigprocmask(SIG_BLOCK, &set, &before_);
  }
  int poll(pollfd& news) const { return ::ppoll(&news, 1, nullptr, &before_); }
  /// In a child.
  void undo() const {
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD})
      std::signal(number, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

private:
  sigset_t before_{};
};

} // namespace

result<forward_ports> parse_ports(const std::string& text) {
  auto port = [&](std::string_view part,
                  unsigned least) -> std::optional<std::uint16_t> {
    unsigned value = 0;
    auto [end, error] =
        std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc{} || end != part.data() + part.size()
        || value < least || value > 65535)
      return std::nullopt;
    return static_cast<std::uint16_t>(value);
  };
  std::string_view all{text};
  auto colon = all.find(':');
  auto remote = port(colon == all.npos ? all : all.substr(colon + 1), 1);
  auto local = colon == all.npos ? remote : port(all.substr(0, colon), 0);
  if (!remote || !local)
    return fail(ec::bad_request,
                "the ports " + caged::quoted(text)
                    + " are not PORT or LOCAL:PORT with numbers from 1 to "
                      "65535 (LOCAL 0: any)",
                "for example 8080, or 9000:8080");
  return forward_ports{*local, *remote};
}

result<int> run_forward(const common_options& with,
                        const forward_options& what) {
  auto ports = parse_ports(what.ports);
  if (!ports)
    return tl::unexpected<failure>(ports.error());
  auto there = ask<api::get_reply>(with.endpoint, api::get{what.sandbox});
  if (!there)
    return tl::unexpected<failure>(there.error());
  if (auto fine = can_forward(there->sandbox, what.resume); !fine)
    return tl::unexpected<failure>(fine.error());
  listener here;
  auto local = here.open(what.address, ports->local);
  if (!local)
    return tl::unexpected<failure>(local.error());
  // Its id, so that a name that changes hands is not followed.
  auto fixed = what;
  fixed.sandbox = there->sandbox.id;
  std::cout << what.address << ":" << *local << " -> "
            << escape_text(fixed.sandbox) << ":" << ports->remote << std::endl;
  interruptions signals;
  int running = 0;
  while (ended_by == 0) {
    while (running > 0 && ::waitpid(-1, nullptr, WNOHANG) > 0)
      --running;
    pollfd news{running < connections_most ? here.fd() : -1, POLLIN, 0};
    if (signals.poll(news) <= 0)
      continue;
    int fd = ::accept4(here.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
      return fail_errno(ec::resource, "a connection cannot be taken", errno);
    if (fd < 0)
      continue; // it went away at once
    auto pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      ::close(here.fd());
      signals.undo();
      ::_exit(serve(with.endpoint, fixed, ports->remote, fd));
    }
    ::close(fd);
    if (pid > 0)
      ++running;
    else
      std::cerr << "caged: no process can be made for a connection: "
                << std::strerror(errno) << "\n";
  }
  return 0;
}

} // namespace caged::cli
