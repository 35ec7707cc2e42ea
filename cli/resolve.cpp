#include "cli/resolve.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::cli {

namespace {

constexpr std::string_view scheme = "tcp://";
constexpr int patience_ms = 1000;

struct parts {
  std::string host, port;
};

/// "HOST:PORT" and "[IPV6]:PORT"; without host: it is none.
parts split(std::string_view text) {
  const auto colon = text.rfind(':');
  if (!text.starts_with(scheme) || colon == std::string_view::npos
      || colon <= scheme.size())
    return {};
  parts out{std::string{text.substr(scheme.size(), colon - scheme.size())},
            std::string{text.substr(colon + 1)}};
  if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']')
    out.host = out.host.substr(1, out.host.size() - 2);
  constexpr unsigned long last_port = 65535;
  if (out.port.empty() || out.port.size() > 5
      || out.port.find_first_not_of("0123456789") != std::string::npos
      || std::stoul(out.port) > last_port || std::stoul(out.port) == 0)
    return {};
  return out;
}

class found {
public:
  explicit found(const parts& of, int flags) {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = flags;
    error_ = ::getaddrinfo(of.host.c_str(), of.port.c_str(), &wanted, &first_);
    if (error_ != 0)
      first_ = nullptr;
  }
  ~found() {
    if (first_)
      ::freeaddrinfo(first_);
  }
  found(const found&) = delete;
  found& operator=(const found&) = delete;

  int error() const { return error_; }
  const addrinfo* first() const { return first_; }

private:
  int error_ = 0;
  addrinfo* first_ = nullptr;
};

} // namespace

result<std::vector<std::string>> addresses_of(const std::string& endpoint) {
  const auto of = split(endpoint);
  if (of.host.empty())
    return fail(ec::bad_request,
                "the endpoint " + caged::quoted(endpoint)
                    + " is no tcp://HOST:PORT",
                "for example tcp://node1.example.org:7400");
  const found all{of, AI_ADDRCONFIG | AI_NUMERICSERV};
  // Alone on a machine, AI_ADDRCONFIG has no use for 127.0.0.1.
  const found numeric{of, AI_NUMERICHOST | AI_NUMERICSERV};
  const auto& use = numeric.error() == 0 ? numeric : all;
  if (use.error() != 0)
    return fail(use.error() == EAI_AGAIN ? ec::unavailable : ec::bad_request,
                "the host " + caged::quoted(of.host)
                    + " is not known: " + ::gai_strerror(use.error()),
                "check the name in " + endpoint);
  std::vector<std::string> out;
  for (const auto* each = use.first(); each; each = each->ai_next) {
    std::array<char, NI_MAXHOST> host{};
    if (::getnameinfo(each->ai_addr, each->ai_addrlen, host.data(), host.size(),
                      nullptr, 0, NI_NUMERICHOST)
        != 0)
      continue;
    const std::string text{host.data()};
    out.push_back(std::string{scheme}
                  + (each->ai_family == AF_INET6 ? "[" + text + "]" : text)
                  + ":" + of.port);
  }
  return out;
}

std::string why_not(const std::string& address) {
  const found at{split(address), AI_NUMERICHOST | AI_NUMERICSERV};
  if (!at.first())
    return "it has no address";
  const int fd = ::socket(at.first()->ai_family,
                          SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return std::strerror(errno);
  int error = ::connect(fd, at.first()->ai_addr, at.first()->ai_addrlen) == 0
                  ? 0
                  : errno;
  if (error == EINPROGRESS) {
    pollfd item{fd, POLLOUT, 0};
    socklen_t size = sizeof error;
    if (::poll(&item, 1, patience_ms) <= 0)
      error = ETIMEDOUT;
    else
      ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  }
  ::close(fd);
  return error == 0 ? "it came too late" : std::strerror(error);
}

} // namespace caged::cli
