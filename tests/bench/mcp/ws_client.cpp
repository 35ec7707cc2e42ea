#include "tests/bench/mcp/ws_client.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace caged::bench {

namespace {

double microseconds(clock::duration took) {
  return std::chrono::duration<double, std::micro>(took).count();
}

/// One connection. What it sends is small: a blocking send never waits long.
class connection {
public:
  explicit connection(std::uint16_t port)
      : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd_ < 0
        || ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
      throw std::runtime_error(std::string{"connect: "} + std::strerror(errno));
    int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    write("GET / HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port)
          + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection() { ::close(fd_); }

  int fd() const { return fd_; }
  void write(std::string_view bytes) const {
    while (!bytes.empty()) {
      auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0)
        throw std::runtime_error("the server closed a connection");
      bytes.remove_prefix(std::size_t(n));
    }
  }
  void send(std::string_view text) const {
    std::string frame = "\x81"; // final, text
    if (text.size() < 126) {
      frame += char(0x80 | text.size());
    } else {
      frame += char(0x80 | 126);
      frame += char(text.size() >> 8U);
      frame += char(text.size() & 0xFFU);
    }
    frame.append(4, '\0');
    frame += text;
    write(frame);
  }
  /// What has come; false: nothing for now.
  bool read() {
    char chunk[65536];
    auto n = ::recv(fd_, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
      throw std::runtime_error("the server closed a connection");
    if (n > 0)
      input_.append(chunk, std::size_t(n));
    return n > 0;
  }
  /// The head of the handshake's answer is here, and cut off.
  bool take_head() {
    auto end = input_.find("\r\n\r\n");
    if (end == std::string::npos)
      return false;
    if (input_.rfind("HTTP/1.1 101", 0) != 0)
      throw std::runtime_error("no WebSocket: " + input_);
    input_.erase(0, end + 4);
    return true;
  }
  /// One whole text message into `out`; false: not yet.
  bool take(std::string& out) {
    for (;;) {
      if (input_.size() < 2)
        return false;
      auto byte = [&](std::size_t i) {
        return std::uint64_t(static_cast<unsigned char>(input_[i]));
      };
      auto size = byte(1) & 0x7FU;
      std::size_t head = 2;
      if (size >= 126) {
        std::size_t width = size == 126 ? 2 : 8;
        if (input_.size() < head + width)
          return false;
        size = 0;
        for (std::size_t i = 0; i < width; ++i)
          size = size << 8U | byte(head + i);
        head += width;
      }
      if (input_.size() < head + size)
        return false;
      auto code = byte(0);
      out.assign(input_, head, size);
      input_.erase(0, head + size);
      if (code == 0x81)
        return true;
      if ((code & 0x0FU) != 9 && (code & 0x0FU) != 10) // ping, pong: passed by
        throw std::runtime_error("an unexpected WebSocket frame");
    }
  }

  enum { handshake, initialize, ready } state = handshake;
  clock::time_point sent;
  std::uint64_t id = 0;

private:
  int fd_;
  std::string input_;
};

/// Waits for input of any; calls `got` with its index.
class waiter {
public:
  waiter() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {}
  waiter(const waiter&) = delete;
  waiter& operator=(const waiter&) = delete;
  ~waiter() { ::close(epoll_); }
  void add(int fd, std::size_t index) const {
    epoll_event event{EPOLLIN, {}};
    event.data.u64 = index;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }
  template <class Got>
  void wait(Got got) const {
    epoll_event events[256];
    int n = ::epoll_wait(epoll_, events, 256, 60'000);
    if (n == 0)
      throw std::runtime_error("the server does not answer for a minute");
    for (int i = 0; i < n; ++i)
      got(std::size_t(events[i].data.u64));
  }

private:
  int epoll_;
};

using connections = std::vector<std::unique_ptr<connection>>;

void connect_all(connections& all, const waiter& input, std::uint16_t port,
                 std::size_t n) {
  const request hello{"initialize",
                      {{"protocolVersion", "2025-06-18"},
                       {"capabilities", json::object()},
                       {"clientInfo", {{"name", "bench"}, {"version", "1"}}}}};
  for (std::size_t i = 0; i < n; ++i) {
    all.push_back(std::make_unique<connection>(port));
    input.add(all.back()->fd(), i);
  }
  std::size_t ready = 0;
  std::string message;
  while (ready < n)
    input.wait([&](std::size_t i) {
      auto& one = *all[i];
      one.read();
      if (one.state == connection::handshake && one.take_head()) {
        one.state = connection::initialize;
        one.send(text_of(hello, 1));
      }
      if (one.state == connection::initialize && one.take(message)
          && id_of(message) == 1) {
        must_be_result(message, hello, true);
        one.send(R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
        one.state = connection::ready;
        ++ready;
      }
    });
}

} // namespace

ws_figures ws_load(const server_process& of, std::uint16_t port,
                   std::size_t clients, const request& what,
                   const effort& much) {
  waiter input;
  connections all;
  auto begun = clock::now();
  connect_all(all, input, port, clients);
  ws_figures out;
  out.connect_ms = microseconds(clock::now() - begun) / 1e3;

  auto before = of.cpu();
  auto from = clock::now();
  auto until = from + std::chrono::duration<double>(much.seconds);
  std::uint64_t last_id = 1;
  std::size_t flying = 0;
  auto launch = [&](connection& one) {
    one.id = ++last_id;
    one.sent = clock::now();
    one.send(text_of(what, one.id));
    ++flying;
  };
  for (auto& one : all)
    launch(*one);
  auto last = from;
  std::string message;
  while (flying > 0)
    input.wait([&](std::size_t i) {
      auto& one = *all[i];
      one.read();
      while (one.take(message)) {
        auto id = id_of(message);
        if (id == 0)
          continue;
        if (id != one.id)
          throw std::runtime_error("an answer to something else");
        must_be_result(message, what, out.all.each_us.size() < clients);
        last = clock::now();
        out.all.each_us.push_back(microseconds(last - one.sent));
        --flying;
        if (last < until)
          launch(one);
      }
    });
  auto after = of.cpu();
  auto n = double(out.all.each_us.size());
  out.all.ops_per_s = 1e6 * n / microseconds(last - from);
  out.all.cpu_per_op = {(after.own - before.own) / n,
                        (after.children - before.children) / n};
  return out;
}

} // namespace caged::bench
