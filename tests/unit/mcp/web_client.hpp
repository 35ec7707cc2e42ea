#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/process.hpp"

/// A client of HTTP and WebSocket on a bare socket, so that it can also say
/// what no library would let it say. Throws when what it waits for does not
/// come.
namespace caged::test {

struct http_response {
  int status = 0;
  std::map<std::string, std::string> headers; ///< Names in lower case.
  std::string body;
  const std::string& header(const std::string& name) { return headers[name]; }
};

struct ws_frame {
  int opcode = 0;
  bool fin = true;
  std::string payload;
  /// Of a close frame; 0 without.
  int code() const {
    return payload.size() < 2 ? 0
                              : (static_cast<unsigned char>(payload[0]) << 8)
                                    | static_cast<unsigned char>(payload[1]);
  }
};

class web_client {
public:
  explicit web_client(std::uint16_t port, int receive_buffer = 0)
      : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    if (receive_buffer > 0)
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer,
                   sizeof receive_buffer);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
      throw std::runtime_error("cannot connect");
  }
  /// Of a Unix socket.
  explicit web_client(const std::string& path)
      : fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
      close();
      throw std::runtime_error("cannot connect");
    }
  }
  ~web_client() { close(); }
  web_client(const web_client&) = delete;
  web_client& operator=(const web_client&) = delete;

  void close() {
    if (fd_ >= 0)
      ::close(std::exchange(fd_, -1));
  }
  /// False: the peer takes nothing more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0)
        return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// Sends what fits now; bytes that were taken.
  std::size_t send_some(std::string_view bytes) {
    const auto n =
        ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }
  /// Whether the peer closes, reading what it still says.
  bool closed(std::chrono::milliseconds within = std::chrono::seconds{10}) {
    const auto until = std::chrono::steady_clock::now() + patient(within);
    while (fill(until)) {
    }
    return ended_;
  }
  /// Whether something arrives.
  bool readable(std::chrono::milliseconds within) {
    pollfd one{fd_, POLLIN, 0};
    return !in_.empty()
           || ::poll(&one, 1, static_cast<int>(within.count())) > 0;
  }

  /// Whether the peer takes bytes.
  bool writable(std::chrono::milliseconds within) {
    pollfd one{fd_, POLLOUT, 0};
    return ::poll(&one, 1, static_cast<int>(within.count())) > 0;
  }

  std::string read_until(std::string_view mark) {
    for (;;) {
      if (const auto at = in_.find(mark); at != std::string::npos)
        return cut(at + mark.size());
      need();
    }
  }
  std::string read(std::size_t bytes) {
    while (in_.size() < bytes)
      need();
    return cut(bytes);
  }

  // HTTP.

  /// Status and headers alone.
  http_response head() {
    http_response out;
    auto text = read_until("\r\n\r\n");
    if (text.size() > 12)
      out.status = std::stoi(text.substr(9, 3));
    std::size_t at = text.find("\r\n") + 2;
    for (auto end = text.find("\r\n", at); end > at;
         at = end + 2, end = text.find("\r\n", at)) {
      const auto colon = text.find(':', at);
      auto name = text.substr(at, colon - at);
      for (auto& c : name)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      out.headers[name] = text.substr(colon + 2, end - colon - 2);
    }
    return out;
  }
  http_response response() {
    auto out = head();
    if (out.headers.contains("content-length"))
      out.body = read(std::stoul(out.header("content-length")));
    else if (out.header("transfer-encoding") == "chunked")
      for (auto part = chunk(); !part.empty(); part = chunk())
        out.body += part;
    return out;
  }
  std::string chunk() {
    const auto size = std::stoul(read_until("\r\n"), nullptr, 16);
    auto out = read(size + 2);
    out.resize(size);
    return out;
  }
  /// The next event of a chunked stream; nothing at its end.
  std::optional<std::string> event() {
    for (;;) {
      if (const auto at = events_.find("\n\n"); at != std::string::npos) {
        auto out = events_.substr(0, at);
        events_.erase(0, at + 2);
        return out;
      }
      const auto more = chunk();
      if (more.empty())
        return std::nullopt;
      events_ += more;
    }
  }

  using fields = std::map<std::string, std::string>;
  static std::string request(std::string_view method, const fields& extra = {},
                             std::string_view body = {}) {
    fields all{{"Host", "localhost"},
               {"Accept", "application/json, text/event-stream"}};
    if (method == "POST") {
      all["Content-Type"] = "application/json";
      all["Content-Length"] = std::to_string(body.size());
    }
    for (const auto& [name, value] : extra)
      all[name] = value;
    auto out = std::string{method} + " /mcp HTTP/1.1\r\n";
    for (const auto& [name, value] : all)
      if (!value.empty())
        out += name + ": " + value + "\r\n";
    return out + "\r\n" + std::string{body};
  }
  http_response ask(std::string_view method, const fields& extra = {},
                    std::string_view body = {}) {
    send(request(method, extra, body));
    return response();
  }
  http_response post(std::string_view body, const fields& extra = {}) {
    return ask("POST", extra, body);
  }

  // WebSocket.

  static std::string upgrade(const fields& extra = {},
                             std::string_view target = "/mcp") {
    fields all{{"Host", "localhost"},
               {"Upgrade", "websocket"},
               {"Connection", "Upgrade"},
               {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
               {"Sec-WebSocket-Version", "13"},
               {"Sec-WebSocket-Protocol", "mcp"}};
    for (const auto& [name, value] : extra)
      all[name] = value;
    auto out = "GET " + std::string{target} + " HTTP/1.1\r\n";
    for (const auto& [name, value] : all)
      if (!value.empty())
        out += name + ": " + value + "\r\n";
    return out + "\r\n";
  }
  http_response handshake(const fields& extra = {},
                          std::string_view target = "/mcp") {
    send(upgrade(extra, target));
    auto out = head();
    if (out.status != 101 && out.headers.contains("content-length"))
      out.body = read(std::stoul(out.header("content-length")));
    return out;
  }
  /// RFC 6455, 5.2; a key of zeros leaves the payload as it is.
  static std::string frame(int opcode, std::string_view payload,
                           bool fin = true, bool masked = true) {
    std::string out;
    out += static_cast<char>((fin ? 0x80 : 0) | opcode);
    const auto mask = masked ? 0x80U : 0U;
    if (payload.size() < 126) {
      out += static_cast<char>(mask | payload.size());
    } else {
      const auto bytes = payload.size() < 65536 ? 2U : 8U;
      out += static_cast<char>(mask | (bytes == 2 ? 126U : 127U));
      for (auto i = bytes; i-- > 0;)
        out += static_cast<char>((payload.size() >> (8 * i)) & 0xffU);
    }
    if (masked)
      out.append(4, '\0');
    return out + std::string{payload};
  }
  bool say(std::string_view text) { return send(frame(1, text)); }
  ws_frame hear() {
    ws_frame out;
    const auto start = read(2);
    out.opcode = start[0] & 0x0f;
    out.fin = (start[0] & 0x80) != 0;
    std::size_t size = static_cast<unsigned char>(start[1]);
    if (size >= 126) {
      std::size_t full = 0;
      for (const auto c : read(size == 126 ? 2 : 8))
        full = (full << 8) | static_cast<unsigned char>(c);
      size = full;
    }
    out.payload = read(size);
    return out;
  }
  std::string exchange(std::string_view text) {
    say(text);
    return hear().payload;
  }

private:
  std::string cut(std::size_t bytes) {
    auto out = in_.substr(0, bytes);
    in_.erase(0, bytes);
    return out;
  }
  bool fill(std::chrono::steady_clock::time_point until) {
    if (ended_)
      return false;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd one{fd_, POLLIN, 0};
    if (left.count() <= 0
        || ::poll(&one, 1, static_cast<int>(left.count())) <= 0)
      return false;
    char bytes[16384];
    const auto n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    in_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }
  void need() {
    if (!fill(std::chrono::steady_clock::now()
              + patient(std::chrono::seconds{20})))
      throw std::runtime_error(ended_ ? "the server closed the connection"
                                      : "nothing came from the server");
  }

  int fd_;
  bool ended_ = false;
  std::string in_, events_;
};

} // namespace caged::test
