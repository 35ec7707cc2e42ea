#include "agent/dial.hpp"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/server.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace ap = agent_protocol;

namespace {

/// A loopback connect is decided at once unless the listener's backlog is
/// full; the agent has one thread and does not wait longer for that.
constexpr timeval connect_timeout{0, 300'000};

/// A loopback port, or a Unix socket by its path.
struct destination {
  sockaddr_storage address{};
  socklen_t size = 0;
  std::string name; ///< for errors
};

result<destination> port_of(const nlohmann::json& payload) {
  auto port = ap::number(payload, "port", 65535);
  auto host = ap::optional_text(payload, "host");
  if (!port)
    return tl::unexpected{port.error()};
  if (!host)
    return tl::unexpected{host.error()};
  if (*port == 0)
    return fail(ec::bad_request, "port must be 1 to 65535");
  destination out;
  auto name = host->value_or("127.0.0.1");
  out.name = name + " port " + std::to_string(*port);
  sockaddr_in four{};
  sockaddr_in6 six{};
  if (::inet_pton(AF_INET, name.c_str(), &four.sin_addr) == 1
      && (ntohl(four.sin_addr.s_addr) >> 24) == 127) {
    four.sin_family = AF_INET;
    four.sin_port = htons(static_cast<std::uint16_t>(*port));
    out.size = sizeof four;
    std::memcpy(&out.address, &four, sizeof four);
  } else if (::inet_pton(AF_INET6, name.c_str(), &six.sin6_addr) == 1
             && IN6_IS_ADDR_LOOPBACK(&six.sin6_addr)) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(static_cast<std::uint16_t>(*port));
    out.size = sizeof six;
    std::memcpy(&out.address, &six, sizeof six);
  } else {
    return fail(ec::bad_request,
                caged::quoted(name) + " is no loopback address");
  }
  return out;
}

result<destination> path_of(const std::string& path) {
  sockaddr_un local{};
  if (path.empty() || path[0] != '/' || path.size() >= sizeof local.sun_path
      || path.find('\0') != std::string::npos)
    return fail(ec::bad_request, "path must be absolute and shorter than "
                                     + std::to_string(sizeof local.sun_path)
                                     + " bytes");
  local.sun_family = AF_UNIX;
  std::memcpy(local.sun_path, path.data(), path.size());
  destination out;
  out.name = path;
  out.size = sizeof local;
  std::memcpy(&out.address, &local, sizeof local);
  return out;
}

} // namespace

result<void> dial::start(const nlohmann::json& payload) {
  auto path = ap::optional_text(payload, "path");
  if (!path)
    return tl::unexpected{path.error()};
  if (*path && payload.contains("port"))
    return fail(ec::bad_request, "a dial has a port or a path, not both");
  auto credit = payload.value("credit", nlohmann::json::object());
  if (!credit.is_object())
    return fail(ec::bad_request, "credit must be an object");
  auto out_credit = ap::number_or(credit, "out", 0);
  if (!out_credit)
    return tl::unexpected{out_credit.error()};
  auto to = *path ? path_of(**path) : port_of(payload);
  if (!to)
    return tl::unexpected{to.error()};
  unique_fd socket{
      ::socket(to->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket)
    return fail_errno(ec::resource, "a socket cannot be made", errno);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &connect_timeout,
               sizeof connect_timeout);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&to->address),
                to->size)
      != 0)
    return fail_errno(ec::io, "cannot connect to " + to->name, errno);
  ::fcntl(socket.get(), F_SETFL, ::fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  input_.fd = unique_fd{::fcntl(socket.get(), F_DUPFD_CLOEXEC, 3)};
  input_.present = true;
  outputs_[0].fd = std::move(socket);
  outputs_[0].present = true;
  outputs_[0].credit = *out_credit;
  watch_output(0);
  return {};
}

std::string_view dial::output_name(std::size_t) const {
  return "out";
}

std::string dial::next_notice() {
  auto eof = stream::next_notice();
  if (!eof.empty())
    return eof;
  if (close_sent_ || !outputs_[0].eof_sent || !input_.closed)
    return {};
  close_sent_ = true;
  over_ = true;
  owner_.forget_later();
  return ap::encode_line(
      "close", {}, {{"stream", name_}, {"reason", "both sides have ended"}});
}

/// A dial does not outlive its connection.
void dial::detached() {
  stream::detached();
  close();
}

void dial::close() {
  over_ = true;
  owner_.forget_later();
}

void dial::end_input() {
  ::shutdown(input_.fd.get(), SHUT_WR);
  owner_.loop().forget(input_.fd.get());
  input_.fd.reset();
  input_.closed = true;
  owner_.wants_flush(link_);
}

} // namespace caged::agent
