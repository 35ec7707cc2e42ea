#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "messages/text.hpp"
#include "nodes/agent_socket.hpp"
#include "nodes/asio_agent_port.hpp"

using namespace caged;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
namespace ap = caged::agent_protocol;

namespace {

struct scratch {
  fs::path path = fs::temp_directory_path() / ("caged-" + random_name(8));
  scratch() { fs::create_directory(path); }
  ~scratch() { fs::remove_all(path); }
  fs::path operator/(const char* name) const { return path / name; }
};

sockaddr_un address_of(const fs::path& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  std::strncpy(out.sun_path, path.c_str(), sizeof out.sun_path - 1);
  return out;
}

int listen_at(const fs::path& path) {
  auto at = address_of(path);
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0
      || ::listen(fd, 8) != 0)
    throw std::runtime_error{"cannot listen at " + path.string()};
  return fd;
}

bool ready(int fd, short what, std::chrono::milliseconds deadline = 5s) {
  pollfd one{fd, what, 0};
  return ::poll(&one, 1, static_cast<int>(deadline.count())) == 1;
}

/// The agent's end of connections, played by the test.
class scripted_agent {
public:
  explicit scripted_agent(const fs::path& path) : listener_{listen_at(path)} {}
  bool accept() {
    if (!ready(listener_.get(), POLLIN))
      return false;
    peer = socket_fd{::accept4(listener_.get(), nullptr, nullptr,
                               SOCK_CLOEXEC | SOCK_NONBLOCK)};
    return peer.get() >= 0;
  }
  /// False: nobody took it for `deadline`.
  bool say(std::string_view bytes, std::chrono::milliseconds deadline = 5s) {
    while (!bytes.empty()) {
      auto n = ::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0)
        bytes.remove_prefix(static_cast<std::size_t>(n));
      else if (!ready(peer.get(), POLLOUT, deadline))
        return false;
    }
    return true;
  }
  std::string hear(std::size_t size) {
    std::string out(size, '\0');
    std::size_t have = 0;
    while (have < size && ready(peer.get(), POLLIN)) {
      auto n = ::recv(peer.get(), out.data() + have, size - have, 0);
      if (n <= 0)
        break;
      have += static_cast<std::size_t>(n);
    }
    out.resize(have);
    return out;
  }
  bool hung_up() {
    char c = 0;
    return ready(peer.get(), POLLIN) && ::recv(peer.get(), &c, 1, 0) == 0;
  }
  socket_fd peer;

private:
  socket_fd listener_;
};

/// What the handlers were told.
struct events {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  std::vector<ap::line> lines;
  std::vector<failure> refusals;
  std::optional<failure> closed;

  static agent_handlers handlers(const std::shared_ptr<events>& to) {
    agent_handlers out;
    out.on_open = [to] { to->change([&] { to->open = true; }); };
    out.on_line = [to](ap::line got) {
      to->change([&] { to->lines.push_back(std::move(got)); });
    };
    out.on_error = [to](failure why, bool closed) {
      to->change([&] {
        if (closed)
          to->closed = std::move(why);
        else
          to->refusals.push_back(std::move(why));
      });
    };
    return out;
  }
  template <class What>
  void change(What what) {
    std::lock_guard guard{mutex};
    what();
    changed.notify_all();
  }
  template <class Done>
  bool wait(Done done, std::chrono::milliseconds deadline = 5s) {
    std::unique_lock guard{mutex};
    return changed.wait_for(guard, deadline, done);
  }
  bool wait_closed() {
    return wait([&] { return closed.has_value(); });
  }
  bool wait_lines(std::size_t n) {
    return wait([&] { return lines.size() >= n; });
  }
};

agent_address plain(const fs::path& path) {
  agent_address out;
  out.path = path.string();
  out.beneath_root = false;
  return out;
}

/// A child that listens at a path and waits for its end: an init with our own
/// root. Forked before the port's thread exists.
class child_agent {
public:
  explicit child_agent(const fs::path& path) {
    int up[2];
    if (::pipe2(up, O_CLOEXEC) != 0)
      throw std::runtime_error{"no pipe"};
    auto at = address_of(path);
    auto parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
      bool good = ::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0
                  && ::listen(fd, 8) == 0;
      char c = good ? '1' : '0';
      if (::write(up[1], &c, 1) != 1)
        ::_exit(1);
      int peer = ::accept(fd, nullptr, nullptr);
      char got[64];
      for (ssize_t n; (n = ::read(peer, got, sizeof got)) > 0;)
        if (::write(peer, got, static_cast<std::size_t>(n)) != n)
          break;
      while (::getppid() == parent)
        ::pause();
      ::_exit(0);
    }
    ::close(up[1]);
    char c = 0;
    bool good = ::read(up[0], &c, 1) == 1 && c == '1';
    ::close(up[0]);
    if (!good)
      throw std::runtime_error{"the child cannot listen"};
  }
  ~child_agent() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  agent_address address(const fs::path& path) const {
    agent_address out;
    out.path = path.string();
    out.init = {pid_, start_time_of(pid_)};
    return out;
  }

private:
  pid_t pid_ = -1;
};

/// Dials and gives the reason of the refusal.
failure refused(const agent_address& where) {
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(where, events::handlers(seen));
  REQUIRE(seen->wait_closed());
  CHECK_FALSE(seen->open);
  return *seen->closed;
}

bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("lines and raw bytes of an agent arrive whole and in order") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  channel->send("early\n"); // before it is open
  REQUIRE(agent.accept());
  REQUIRE(seen->wait([&] { return seen->open; }));
  channel->send("late\n");
  CHECK(agent.hear(11) == "early\nlate\n");
  std::string raw(65536, 'x');
  raw[7] = '\n';
  auto bytes = ap::encode_line("pong", 1, {{"a", 1}})
               + ap::encode_data("data", std::nullopt, {{"n", 2}}, raw, true)
               + ap::encode_line("pong", 3, nlohmann::json::object());
  // In pieces that end anywhere.
  for (std::size_t at = 0; at < bytes.size(); at += 9973)
    REQUIRE(agent.say(std::string_view{bytes}.substr(at, 9973)));
  REQUIRE(seen->wait_lines(3));
  CHECK(seen->lines[0].id == 1);
  CHECK(seen->lines[1].raw == raw);
  CHECK(seen->lines[2].id == 3);
  CHECK(seen->refusals.empty());
}

TEST_CASE("what an agent sends without need is refused and the link goes on") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  REQUIRE(agent.accept());
  REQUIRE(agent.say("no JSON\n[]\n" + std::string(200000, 'x') + "\n"
                    + ap::encode_line("pong", 5, nlohmann::json::object())));
  REQUIRE(seen->wait_lines(1));
  CHECK(seen->lines[0].id == 5);
  REQUIRE(seen->refusals.size() == 3);
  CHECK(seen->refusals[0].code == ec::malformed);
  CHECK(seen->refusals[1].code == ec::malformed);
  CHECK(seen->refusals[2].code == ec::too_large);
  // Half a line and the end.
  REQUIRE(agent.say("{\"type\":\"po"));
  agent.peer = socket_fd{};
  REQUIRE(seen->wait_closed());
  CHECK(seen->closed->code == ec::agent_lost);
  CHECK(seen->lines.size() == 1);
}

TEST_CASE("a flooding agent fills its own socket, not the node") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  REQUIRE(agent.accept());
  constexpr std::size_t count = 400;
  std::vector<std::size_t> sizes;
  std::thread flood{[&] {
    for (std::size_t i = 0; i < count; ++i)
      if (!agent.say(ap::encode_line("pong", i,
                                     {{"x", std::string(i % 7 * 8000, 'x')}})))
        return;
  }};
  REQUIRE(seen->wait_lines(64));
  // Nothing more comes until something was consumed.
  CHECK_FALSE(seen->wait([&] { return seen->lines.size() > 64; }, 100ms));
  channel->consumed(10);
  REQUIRE(seen->wait_lines(74));
  CHECK_FALSE(seen->wait([&] { return seen->lines.size() > 74; }, 100ms));
  for (std::size_t n = 74; n < count; ++n) {
    channel->consumed(1);
    if (!seen->wait_lines(std::min(count, n + 1)))
      break;
  }
  flood.join();
  REQUIRE(seen->lines.size() == count);
  for (std::size_t i = 0; i < count; ++i)
    REQUIRE(seen->lines[i].id == i);
}

TEST_CASE("garbage counts as messages: a flood of it is stopped too") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  REQUIRE(agent.accept());
  std::string garbage;
  for (int i = 0; i < 200; ++i)
    garbage += "x\n";
  REQUIRE(agent.say(garbage));
  REQUIRE(seen->wait([&] { return seen->refusals.size() == 64; }));
  CHECK_FALSE(seen->wait([&] { return seen->refusals.size() > 64; }, 100ms));
  channel->consumed(64);
  REQUIRE(seen->wait([&] { return seen->refusals.size() == 128; }));
}

TEST_CASE("an agent that does not read is hung up on at 8 MiB") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  REQUIRE(agent.accept());
  for (int i = 0; i < 100; ++i)
    channel->send(std::string(100 * 1024, 'x'));
  REQUIRE(seen->wait_closed());
  CHECK(seen->closed->code == ec::agent_lost);
  CHECK(has(seen->closed->message, "8 MiB"));
}

TEST_CASE("everything queued reaches an agent that reads slowly") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  REQUIRE(agent.accept());
  std::string sent;
  for (int i = 0; i < 200; ++i) {
    std::string part(static_cast<std::size_t>(i) * 199 + 1,
                     static_cast<char>('a' + i % 26));
    sent += part;
    channel->send(std::move(part));
  }
  CHECK(agent.hear(sent.size()) == sent);
}

TEST_CASE("a closed or dropped channel hangs up and its handlers are silent") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  for (bool drop : {false, true}) {
    auto seen = std::make_shared<events>();
    auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
    REQUIRE(agent.accept());
    REQUIRE(seen->wait([&] { return seen->open; }));
    if (drop)
      channel.reset();
    else
      channel->close();
    CHECK(agent.hung_up());
    CHECK_FALSE(seen->closed.has_value());
    // The handlers are let go of, and with them what they hold.
    for (auto until = std::chrono::steady_clock::now() + 5s;
         seen.use_count() > 1 && std::chrono::steady_clock::now() < until;)
      std::this_thread::yield();
    CHECK(seen.use_count() == 1);
  }
}

TEST_CASE("a channel may outlive its port") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  auto seen = std::make_shared<events>();
  auto channel = port->dial(plain(dir / "s"), events::handlers(seen));
  REQUIRE(agent.accept());
  REQUIRE(seen->wait([&] { return seen->open; }));
  port.reset();
  CHECK(agent.hung_up());
  channel->send("x\n");
  channel->consumed(3);
  channel->close();
  CHECK(seen.use_count() == 1);
}

TEST_CASE("where nobody listens the agent is lost, for now") {
  scratch dir;
  auto absent = refused(plain(dir / "none"));
  CHECK(absent.code == ec::agent_lost);
  CHECK(has(absent.message, "none"));
  ::close(listen_at(dir / "dead"));
  CHECK(refused(plain(dir / "dead")).code == ec::agent_lost);
}

TEST_CASE("beneath a root the socket must be the init's own") {
  scratch dir;
  child_agent init{dir / "own"};
  {
    auto port = make_asio_agent_port();
    auto seen = std::make_shared<events>();
    auto channel =
        port->dial(init.address(dir / "own"), events::handlers(seen));
    REQUIRE(seen->wait([&] { return seen->open; }));
    channel->send(ap::encode_line(
        "pong", 9, nlohmann::json::object())); // the child is an echo
    REQUIRE(seen->wait_lines(1));
    CHECK(seen->lines[0].id == 9);
  }

  // Our own socket: another process than the init.
  socket_fd other{listen_at(dir / "other")};
  auto stolen = refused(init.address(dir / "other"));
  CHECK(stolen.code == ec::denied);
  CHECK(has(stolen.message, "the socket is not the agent's own: "));
  CHECK(has(stolen.message, std::to_string(::getpid()).c_str()));

  fs::create_symlink(dir / "own", dir / "link");
  CHECK(refused(init.address(dir / "link")).code == ec::denied);
  fs::create_directory_symlink(dir.path, dir / "folder");
  CHECK(refused(init.address(dir / "folder" / "own")).code == ec::denied);
  CHECK(refused(init.address(dir / ".." / ".." / ".." / ".." / "x")).code
        == ec::denied);

  std::ofstream{dir / "file"} << "x";
  auto file = refused(init.address(dir / "file"));
  CHECK(file.code == ec::denied);
  CHECK(has(file.message, "no socket"));
  CHECK(refused(init.address(dir / "absent")).code == ec::agent_lost);
}

TEST_CASE("a pid that was given to another process is nobody's init") {
  scratch dir;
  child_agent init{dir / "own"};
  auto where = init.address(dir / "own");
  ++where.init.start_time;
  auto why = refused(where);
  CHECK(why.code == ec::agent_lost);
  CHECK(has(why.message, std::to_string(where.init.pid).c_str()));
}

// Hidden: a figure, not a verdict. ./unit_nodes "[bench]" on a quiet machine.
TEST_CASE("raw output of an agent is read at its full rate", "[.][bench]") {
  scratch dir;
  scripted_agent agent{dir / "s"};
  auto port = make_asio_agent_port();
  std::atomic<std::uint64_t> got{0};
  std::shared_ptr<agent_channel> channel;
  agent_handlers handlers;
  handlers.on_line = [&](ap::line line) {
    got += line.raw.size();
    channel->consumed(1);
  };
  channel = port->dial(plain(dir / "s"), handlers);
  REQUIRE(agent.accept());
  auto frame = ap::encode_data(
      "data", std::nullopt,
      {{"stream", make_uuid()}, {"channel", "stdout"}, {"offset", 123456789}},
      std::string(65536, 'x'), true);
  constexpr std::uint64_t frames = 32768; // 2 GiB
  auto begun = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < frames; ++i)
    REQUIRE(agent.say(frame));
  while (got < frames * 65536)
    std::this_thread::yield();
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  std::cout << "agent port, 64 KiB raw frames: "
            << static_cast<double>(got) / 1e6 / took.count() << " MB/s\n";
  channel->close();
}
