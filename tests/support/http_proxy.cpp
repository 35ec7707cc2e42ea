#include "tests/support/http_proxy.hpp"

#include <array>
#include <stdexcept>
#include <utility>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace caged::test {

namespace {

constexpr int tick_ms = 5;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  return at;
}

int dial(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto at = loopback(port);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

bool send_all(int fd, const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto n =
        ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n <= 0)
      return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

/// Length of the first whole request with a Content-Length; 0: there is none.
std::size_t whole_request(const std::string& bytes) {
  const auto head = bytes.find("\r\n\r\n");
  if (head == std::string::npos)
    return 0;
  const std::string name = "Content-Length: ";
  const auto at = bytes.find(name);
  std::size_t body = 0;
  if (at != std::string::npos && at < head)
    body = std::stoul(bytes.substr(at + name.size()));
  return bytes.size() >= head + 4 + body ? head + 4 + body : 0;
}

bool readable(int fd, int wait_ms) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, wait_ms) > 0;
}

/// False: the other side has closed.
bool read_some(int fd, std::string& to) {
  std::array<char, 65536> some{};
  const auto n = ::recv(fd, some.data(), some.size(), 0);
  if (n <= 0)
    return false;
  to.append(some.data(), static_cast<std::size_t>(n));
  return true;
}

} // namespace

http_proxy::http_proxy(std::uint16_t server) : server_{server} {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto at = loopback(0);
  socklen_t size = sizeof at;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0
      || ::listen(listener_, 64) != 0
      || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
    throw std::runtime_error{"the proxy cannot listen"};
  port_ = ntohs(at.sin_port);
  acceptor_ = std::thread{[this] { accept(); }};
}

http_proxy::~http_proxy() {
  stopping_ = true;
  acceptor_.join();
  ::close(listener_);
}

void http_proxy::decide(judge with) {
  std::lock_guard guard{mutex_};
  judge_ = std::move(with);
}

void http_proxy::cut(bool now) {
  cut_ = now;
}

void http_proxy::accept() {
  while (!stopping_) {
    if (!readable(listener_, tick_ms))
      continue;
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0)
      continue;
    if (cut_) {
      ::close(client);
      continue;
    }
    threads_.emplace_back([this, client, era = era_.load()] {
      serve(client, era);
      ::close(client);
    });
  }
  for (auto& one : threads_)
    one.join();
}

void http_proxy::serve(int client, unsigned era) {
  const int server = dial(server_);
  if (server < 0)
    return;
  std::string in;
  bool lose = false, waits = false;
  unsigned release_seen = 0;
  while (!stopping_ && !cut_) {
    if (era != era_) { // silent
      ::poll(nullptr, 0, tick_ms);
      continue;
    }
    if (waits) {
      if (released_ == release_seen) {
        ::poll(nullptr, 0, tick_ms);
        continue;
      }
      waits = false;
      --waiting_;
      const auto size = whole_request(in);
      if (!send_all(server, in.substr(0, size)))
        break;
      in.erase(0, size);
    }
    std::array<pollfd, 2> both{{{client, POLLIN, 0}, {server, POLLIN, 0}}};
    if (::poll(both.data(), both.size(), tick_ms) <= 0)
      continue;
    if (both[1].revents != 0) {
      std::string out;
      if (!read_some(server, out) || lose || !send_all(client, out))
        break;
    }
    if (both[0].revents != 0 && !read_some(client, in))
      break;
    const auto size = whole_request(in);
    if (size == 0)
      continue;
    auto then = fate::pass;
    {
      std::lock_guard guard{mutex_};
      if (judge_)
        then = judge_(in.substr(0, size));
      if (then == fate::hold)
        held_.push_back(in.substr(0, size));
    }
    if (then == fate::hold)
      break;
    if (then == fate::keep_waiting) {
      waits = true;
      release_seen = released_;
      ++waiting_;
      continue;
    }
    lose = then == fate::lose_answer;
    if (!send_all(server, in.substr(0, size)))
      break;
    in.erase(0, size);
  }
  ::close(server);
}

std::size_t http_proxy::release() {
  ++released_;
  std::vector<std::string> all;
  {
    std::lock_guard guard{mutex_};
    all.swap(held_);
  }
  for (const auto& request : all) {
    const int server = dial(server_);
    std::string answer;
    if (server >= 0 && send_all(server, request))
      while (answer.find("\r\n\r\n") == std::string::npos
             && readable(server, 10000) && read_some(server, answer)) {
      }
    ::close(server);
  }
  return all.size() + waiting_;
}

} // namespace caged::test
