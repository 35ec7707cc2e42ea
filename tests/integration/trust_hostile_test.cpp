#include <catch2/catch.hpp>

#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/person.hpp"

// Whoever reaches the port and is no client: refused, counted, and nobody else
// notices.
using namespace caged::test;

namespace {

/// A socket that is connected to the node's port, and closed at the end.
class knock {
public:
  explicit knock(const std::string& endpoint)
      : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<std::uint16_t>(
        std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
    good_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~knock() { ::close(fd_); }
  knock(const knock&) = delete;
  knock& operator=(const knock&) = delete;

  bool good() const { return good_; }
  void say(const std::string& bytes) const {
    // The node may hang up in the middle.
    (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  /// Whether the node hung up within the time.
  bool over() const {
    return eventually(10s, [&] {
      char byte[256];
      const auto got = ::recv(fd_, byte, sizeof byte, MSG_DONTWAIT);
      return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    });
  }

private:
  int fd_;
  bool good_ = false;
};

double refused(const test_node& node) {
  return node.series("caged_node_clients_refused_total{reason=\"handshake\"")
      .value_or(0);
}

} // namespace

TEST_CASE(
    "strangers at the port are refused and counted, and the node goes on") {
  test_node node{listening()};
  REQUIRE(node.start());
  const person alice{node, "alice", "user"};
  REQUIRE(alice.up("web"));
  auto open =
      alice.start_caged({"exec", "--no-stdin", "web", "--", "sh", "-c",
                         "while [ ! -e /tmp/told ]; do echo line; sleep "
                         "0.1; done; exit 4"});
  REQUIRE(eventually(20s, [&] { return !open->out().empty(); }));
  const auto endpoint = tcp_endpoint(node);

  SECTION("random bytes") {
    std::uint32_t state = 7;
    constexpr int rounds = 50;
    for (int i = 0; i < rounds; ++i) {
      knock on{endpoint};
      REQUIRE(on.good());
      std::string noise(static_cast<std::size_t>(1 + i * 97), '\0');
      for (auto& each : noise) {
        state = state * 1664525U + 1013904223U;
        each = static_cast<char>(state >> 24U);
      }
      on.say(noise);
    }
    CHECK(eventually(20s, [&] { return refused(node) >= rounds; }));
  }
  SECTION("a greeting of ours and then a frame without end") {
    std::string greeting = {'\xff', 0, 0, 0, 0, 0, 0, 0, 0, '\x7f', 3, 1};
    greeting += "CURVE";
    greeting.resize(64, '\0');
    knock on{endpoint};
    REQUIRE(on.good());
    on.say(greeting);
    on.say(std::string{6, 0, 0, 1, 0, 0, 0, 0, 0});
    CHECK(on.over());
    CHECK(eventually(10s, [&] { return refused(node) >= 1; }));
  }
  SECTION("a hundred that only sit there") {
    constexpr std::size_t many = 100;
    std::vector<std::unique_ptr<knock>> silent;
    while (silent.size() < many) {
      silent.push_back(std::make_unique<knock>(endpoint));
      REQUIRE(silent.back()->good());
    }
    // Others are served meanwhile.
    CHECK(alice.caged({"exec", "web", "--", "true"}).exit == 0);
    for (const auto& each : silent)
      CHECK(each->over());
    CHECK(eventually(10s, [&] { return refused(node) >= many; }));
  }
  // The log has a few lines of it, not one each.
  const auto log = node.log();
  std::size_t lines = 0;
  for (auto at = log.find("client_refused"); at != std::string::npos;
       at = log.find("client_refused", at + 1))
    ++lines;
  CHECK(lines >= 1);
  CHECK(lines <= 20);
  CHECK(alice.caged({"exec", "web", "--", "touch", "/tmp/told"}).exit == 0);
  REQUIRE(open->wait(20s));
  CHECK(open->exit() == 4);
  CHECK(node.clear().empty());
}
