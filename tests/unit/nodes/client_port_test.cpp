#include <catch2/catch.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include <sys/stat.h>
#include <unistd.h>
#include <zmq.hpp>

#include "cli/endpoint.hpp"
#include "messages/client_api_wire.hpp"
#include "messages/text.hpp"
#include "nodes/client_port.hpp"

using namespace caged;
using namespace std::chrono_literals;

namespace {

/// A port in a directory of its own, and what its handlers were told.
struct fixture {
  fixture() {
    char name[] = "/tmp/caged-port-XXXXXX";
    dir = ::mkdtemp(name);
    open();
  }
  ~fixture() {
    port.reset();
    std::filesystem::remove_all(dir);
  }
  void open() {
    auto made = client_port::open(
        {endpoint(), "caged"},
        [this](api::request r) {
          std::lock_guard guard{mutex};
          requests.push_back(std::move(r));
          changed.notify_all();
        },
        [this](std::string route) {
          std::lock_guard guard{mutex};
          gone.push_back(std::move(route));
          changed.notify_all();
        });
    INFO((made ? "" : made.error().message));
    REQUIRE(made.has_value());
    port = std::move(*made);
  }
  std::string endpoint() const { return "ipc://" + dir + "/node.sock"; }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock guard{mutex};
    return changed.wait_for(guard, 10s, condition);
  }

  std::string dir;
  std::unique_ptr<client_port> port;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<api::request> requests;
  std::vector<std::string> gone;
};

api::request a_request(api::request_body body) {
  api::request out;
  out.id = make_uuid();
  out.body = std::move(body);
  return out;
}

std::optional<api::reply> next_reply(cli::connection& on) {
  auto until = std::chrono::steady_clock::now() + 10s;
  while (std::chrono::steady_clock::now() < until) {
    auto got = on.receive();
    REQUIRE(got.has_value());
    if (*got)
      return **got;
    cli::wait_for(on, 100ms);
  }
  return {};
}

} // namespace

TEST_CASE(
    "a request arrives with the uid that the kernel keeps of the caller") {
  fixture f;
  auto client = cli::connection::open(f.endpoint());
  REQUIRE(client.has_value());
  auto sent = a_request(api::node_status{});
  (*client)->send(sent);
  REQUIRE(f.wait([&] { return !f.requests.empty(); }));
  CHECK(f.requests[0].id == sent.id);
  CHECK(f.requests[0].caller == "uid:" + std::to_string(::geteuid()));
  CHECK(f.requests[0].admin);
  f.port->send({f.requests[0].route, sent.id, api::shutdown_reply{3}});
  auto got = next_reply(**client);
  REQUIRE(got);
  CHECK(got->id == sent.id);
  CHECK(std::get<api::shutdown_reply>(got->body).destroyed == 3);
}

TEST_CASE("bytes that are no envelope are answered, and the port lives on") {
  fixture f;
  zmq::context_t context{1};
  zmq::socket_t raw{context, zmq::socket_type::dealer};
  raw.set(zmq::sockopt::linger, 0);
  raw.set(zmq::sockopt::rcvtimeo, 10000);
  raw.connect(f.endpoint());
  for (const std::string& bytes :
       {std::string("\xff\xff"), std::string(500, 'x')}) {
    raw.send(zmq::buffer(bytes), zmq::send_flags::none);
    zmq::message_t answer;
    REQUIRE(raw.recv(answer, zmq::recv_flags::none));
    auto got = api::decode_reply(answer.to_string_view());
    REQUIRE(got.has_value());
    REQUIRE(got->has_value());
    CHECK(std::get<api::error_reply>((*got)->body).why.code == ec::malformed);
  }
  // Three frames, which no version sends, are dropped.
  raw.send(zmq::str_buffer("a"), zmq::send_flags::sndmore);
  raw.send(zmq::str_buffer("b"), zmq::send_flags::sndmore);
  raw.send(zmq::str_buffer("c"), zmq::send_flags::none);
  auto good = api::encode(a_request(api::node_status{}));
  raw.send(zmq::buffer(good), zmq::send_flags::none);
  CHECK(f.wait([&] { return f.requests.size() == 1; }));
}

TEST_CASE("a watched client that goes away is told once") {
  fixture f;
  {
    auto client = cli::connection::open(f.endpoint());
    REQUIRE(client.has_value());
    (*client)->send(a_request(api::node_status{}));
    REQUIRE(f.wait([&] { return !f.requests.empty(); }));
    f.port->watch(f.requests[0].route);
  }
  REQUIRE(f.wait([&] { return !f.gone.empty(); }));
  f.port->stop();
  CHECK(f.gone == std::vector<std::string>{f.requests[0].route});
}

TEST_CASE("a client that does not read is cut off, and others are served") {
  fixture f;
  auto lazy = cli::connection::open(f.endpoint());
  auto busy = cli::connection::open(f.endpoint());
  REQUIRE((lazy && busy));
  (*lazy)->send(a_request(api::node_status{}));
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  auto route = f.requests[0].route;
  f.port->watch(route);
  auto id = make_uuid();
  // Kernel buffer, both high-water marks of 1000 frames, then the outbox.
  constexpr int enough = 2600;
  for (int i = 0; i < enough; ++i)
    f.port->send({route, id,
                  api::stream_data{api::channel::out, 0,
                                   std::string(limits::frame_max, 'x')}});
  CHECK(f.wait([&] { return f.gone.size() == 1; }));
  auto sent = a_request(api::node_status{});
  (*busy)->send(sent);
  REQUIRE(f.wait([&] { return f.requests.size() == 2; }));
  f.port->send({f.requests[1].route, sent.id, api::shutdown_reply{1}});
  CHECK(next_reply(**busy).has_value());
}

TEST_CASE("an endpoint that cannot be used safely is refused") {
  fixture f;
  auto refused = [&](const std::string& endpoint) {
    auto got = client_port::open(
        {endpoint, "caged"}, [](api::request) {}, [](std::string) {});
    REQUIRE_FALSE(got.has_value());
    return got.error();
  };
  CHECK(refused("tcp://127.0.0.1:7400").code == ec::bad_request);
  CHECK(refused("ipc://relative").code == ec::bad_request);
  auto long_one = refused("ipc:///" + std::string(120, 'x'));
  CHECK(long_one.message.find("107") != std::string::npos);
  CHECK(refused("ipc://" + f.dir + "/absent/s").code == ec::io);
  ::chmod(f.dir.c_str(), 0777);
  CHECK(refused("ipc://" + f.dir + "/other.sock").code == ec::denied);
}
