#include "agent/loop.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/epoll.h>

using namespace caged::agent;
using namespace std::chrono_literals;

TEST_CASE("timers fire in order, cancelled ones never") {
  event_loop loop;
  std::string order;
  loop.after(2ms, [&] { order += 'b'; });
  auto cancelled = loop.after(1ms, [&] { order += 'x'; });
  loop.after(1ms, [&] {
    order += 'a';
    loop.after(0ms, [&] { order += 'c'; });
  });
  loop.cancel(cancelled);
  loop.cancel(cancelled);
  for (int i = 0; i < 100 && order.size() < 3; ++i)
    loop.step(100ms);
  CHECK(order.find('x') == std::string::npos);
  CHECK(order.size() == 3);
  CHECK(order.front() == 'a');
}

TEST_CASE("a handler may forget its own and its neighbour's descriptor") {
  event_loop loop;
  int fds[2][2];
  for (auto& pair : fds)
    REQUIRE(::pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0);
  int calls = 0;
  for (auto& pair : fds)
    REQUIRE(loop.watch(pair[0], EPOLLIN, [&](auto) {
      ++calls;
      for (auto& each : fds)
        loop.forget(each[0]);
    }));
  for (auto& pair : fds)
    REQUIRE(::write(pair[1], "x", 1) == 1);
  loop.step(1000ms);
  loop.step(0ms);
  CHECK(calls == 1);
  for (auto& pair : fds)
    for (int fd : pair)
      ::close(fd);
}

TEST_CASE("an event of a closed descriptor does not reach its successor") {
  event_loop loop;
  int a[2], b[2];
  REQUIRE(::pipe2(a, O_CLOEXEC | O_NONBLOCK) == 0);
  REQUIRE(::pipe2(b, O_CLOEXEC | O_NONBLOCK) == 0);
  int wrong = 0;
  auto replace = [&](int fd) {
    // Whoever comes first closes the other, whose number is used again.
    loop.forget(fd);
    ::close(fd);
    int idle[2];
    REQUIRE(::pipe2(idle, O_CLOEXEC | O_NONBLOCK) == 0);
    loop.watch(idle[0], EPOLLIN, [&](auto) { ++wrong; });
  };
  bool done = false;
  for (auto [own, other] : {std::pair{a[0], b[0]}, std::pair{b[0], a[0]}})
    loop.watch(own, EPOLLIN, [&, victim = other](auto) {
      if (!std::exchange(done, true))
        replace(victim);
    });
  REQUIRE(::write(a[1], "x", 1) == 1);
  REQUIRE(::write(b[1], "x", 1) == 1);
  loop.step(1000ms);
  CHECK(done);
  CHECK(wrong == 0);
}

TEST_CASE("a regular file cannot be watched, and it is said") {
  event_loop loop;
  int fd = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
  CHECK_FALSE(loop.watch(fd, EPOLLIN, [](auto) {}));
  ::close(fd);
}
