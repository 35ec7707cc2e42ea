#include <catch2/catch.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.hpp>

#include "cli/endpoint.hpp"
#include "messages/client_api_wire.hpp"
#include "messages/curve_pair.hpp"
#include "messages/text.hpp"
#include "nodes/metrics_table.hpp"
#include "nodes/node_key.hpp"
#include "nodes/sqlite_store.hpp"
#include "nodes/store_follower.hpp"
#include "nodes/tcp_port.hpp"

using namespace caged;
using namespace std::chrono_literals;

namespace {

/// A port on loopback, its keys in a store of its own, and what its handlers
/// were told.
struct fixture {
  fixture() {
    char name[] = "/tmp/caged-tcp-XXXXXX";
    dir = ::mkdtemp(name);
    auto opened = open_sqlite_store(std::filesystem::path{dir} / "store.db");
    REQUIRE(opened);
    records = std::move(*opened);
    node = *make_key_pair({});
    auto made = tcp_port::open({"tcp://127.0.0.1:0", node}, keys, metrics);
    INFO((made ? "" : made.error().message));
    REQUIRE(made.has_value());
    port = std::move(*made);
    keys->on_change([this] { port->keys_changed(); });
    follower = std::make_unique<store_follower>(
        records, "keys/",
        [this](const record& what, bool erased) { keys->apply(what, erased); },
        [this] { keys->loaded(); });
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (!keys->ready() && std::chrono::steady_clock::now() < until)
      ::usleep(1000);
    port->start(
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
  }
  ~fixture() {
    port->stop();
    follower.reset(); // before the port, which it calls
    port.reset();
    records.reset();
    std::filesystem::remove_all(dir);
  }

  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock guard{mutex};
    return changed.wait_for(guard, 10s, condition);
  }
  void let_in(const key_pair& who, api::role as) {
    REQUIRE(keys->authorize(*records, {who.public_key, who.name, as, true},
                            wall_clock_ms()));
  }
  cli::node_address address(const key_pair& who) const {
    cli::node_address out{port->address()};
    out.endpoints.front().server_key = node.public_key;
    out.key = who;
    return out;
  }
  /// Of refusals for this reason so far.
  double refused(const std::string& reason) const {
    for (const auto& family : metrics->Collect())
      if (family.name == "caged_node_clients_refused_total")
        for (const auto& each : family.metric)
          for (const auto& label : each.label)
            if (label.name == "reason" && label.value == reason)
              return each.counter.value;
    return 0;
  }
  bool counts(const std::string& reason, double at_least) const {
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (refused(reason) < at_least)
      if (std::chrono::steady_clock::now() > until)
        return false;
      else
        ::usleep(5000);
    return true;
  }
  /// A socket that speaks no ZeroMQ.
  int knock() const {
    const auto& to = port->address();
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(
        static_cast<std::uint16_t>(std::stoi(to.substr(to.rfind(':') + 1))));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    return fd;
  }

  std::string dir;
  std::shared_ptr<caged::store> records;
  key_pair node;
  std::shared_ptr<key_table> keys = std::make_shared<key_table>();
  std::shared_ptr<metrics_table> metrics =
      std::make_shared<metrics_table>("n1", "test", "none");
  std::unique_ptr<tcp_port> port;
  std::unique_ptr<store_follower> follower;
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

/// The next message, or the error that came in its place.
result<std::optional<api::reply>> next(cli::connection& on) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (std::chrono::steady_clock::now() < until) {
    auto got = on.receive();
    if (!got || *got)
      return got;
    cli::wait_for(on, 100ms);
  }
  return std::optional<api::reply>{};
}

} // namespace

TEST_CASE("a client with an authorised key is served, and named by it") {
  fixture f;
  const auto alice = *make_key_pair("alice");
  f.let_in(alice, api::role::user);
  auto client = cli::connection::open(f.address(alice));
  INFO((client ? "" : client.error().message));
  REQUIRE(client);
  const auto sent = a_request(api::node_status{});
  (*client)->send(sent);
  REQUIRE(f.wait([&] { return !f.requests.empty(); }));
  CHECK(f.requests[0].caller == "key:alice");
  CHECK_FALSE(f.requests[0].admin);
  CHECK_FALSE(f.requests[0].viewer);
  CHECK(f.requests[0].route.starts_with(tcp_port::route_prefix));
  f.port->send({f.requests[0].route, sent.id, api::shutdown_reply{3}});
  const auto got = next(**client);
  REQUIRE((got && *got));
  CHECK(std::get<api::shutdown_reply>((*got)->body).destroyed == 3);
  // A new role counts from the next message on, over the same connection.
  f.let_in(alice, api::role::admin);
  (*client)->send(a_request(api::node_status{}));
  REQUIRE(f.wait([&] { return f.requests.size() == 2; }));
  CHECK(f.requests[1].admin);
  f.let_in(alice, api::role::viewer);
  (*client)->send(a_request(api::node_status{}));
  REQUIRE(f.wait([&] { return f.requests.size() == 3; }));
  CHECK(f.requests[2].viewer);
}

TEST_CASE("an unknown key is told so at once, and counted") {
  fixture f;
  const auto eve = *make_key_pair("eve");
  const auto begun = std::chrono::steady_clock::now();
  const auto got = cli::connection::open(f.address(eve));
  REQUIRE_FALSE(got);
  CHECK(std::chrono::steady_clock::now() - begun < 1500ms);
  CHECK(got.error().code == ec::denied);
  CHECK(got.error().message.find(eve.public_key) != std::string::npos);
  CHECK(got.error().hint.find("caged key authorize") != std::string::npos);
  CHECK(f.counts("unknown_key", 1));
  // Once is enough: it is no failed handshake as well.
  CHECK(f.refused("handshake") == 0);
  CHECK(f.requests.empty());
}

TEST_CASE("who has another node's key is told what to compare") {
  fixture f;
  const auto alice = *make_key_pair("alice");
  f.let_in(alice, api::role::admin);
  auto wrong = f.address(alice);
  wrong.endpoints.front().server_key = make_key_pair({})->public_key;
  const auto got = cli::connection::open(wrong);
  REQUIRE_FALSE(got);
  CHECK(got.error().message.find("--server-key") != std::string::npos);
  CHECK(f.counts("handshake", 1));
  CHECK(f.requests.empty());
}

TEST_CASE("a revoked key is cut off, its open connection too") {
  fixture f;
  const auto alice = *make_key_pair("alice"), bob = *make_key_pair("bob");
  f.let_in(alice, api::role::admin);
  f.let_in(bob, api::role::user);
  auto hers = cli::connection::open(f.address(alice));
  auto his = cli::connection::open(f.address(bob));
  REQUIRE((hers && his));
  const auto sent = a_request(api::node_status{});
  (*hers)->send(sent);
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  const auto route = f.requests[0].route;
  f.port->watch(route); // as an open exec does
  REQUIRE(f.keys->revoke(*f.records, "alice"));
  const auto told = next(**hers);
  REQUIRE_FALSE(told);
  CHECK(told.error().code == ec::denied);
  REQUIRE(f.wait([&] { return f.gone.size() == 1; }));
  CHECK(f.gone.front() == route);
  CHECK(f.counts("revoked_key", 1));
  // What was on its way to her does not arrive; what she asks is refused.
  f.port->send({route, sent.id, api::shutdown_reply{1}});
  const auto again = a_request(api::node_status{});
  (*hers)->send(again);
  const auto refused = next(**hers);
  REQUIRE((refused && *refused));
  CHECK((*refused)->id == again.id);
  CHECK(std::get<api::error_reply>((*refused)->body).why.code == ec::denied);
  CHECK(f.requests.size() == 1);
  CHECK(cli::connection::open(f.address(alice)).error().code == ec::denied);
  // Nobody else noticed.
  (*his)->send(a_request(api::node_status{}));
  CHECK(f.wait([&] { return f.requests.size() == 2; }));
}

TEST_CASE("bytes that are no client's are refused, counted, and do no harm") {
  fixture f;
  const auto alice = *make_key_pair("alice");
  f.let_in(alice, api::role::user);
  auto before = cli::connection::open(f.address(alice));
  REQUIRE(before);
  (*before)->send(a_request(api::node_status{}));
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  // A greeting of ZeroMQ's with CURVE, and behind it a frame of 2^40 bytes.
  std::string greeting = {'\xff', 0, 0, 0, 0, 0, 0, 0, 0, '\x7f', 3, 1};
  greeting += "CURVE";
  greeting.resize(64, '\0');
  const std::string huge = {6, 0, 0, 1, 0, 0, 0, 0, 0};
  double count = 0;
  for (const auto& bytes :
       {std::string(100, 'x'), std::string(4096, '\0'),
        std::string(1000, '\xff'), std::string{"GET / HTTP/1.1\r\n\r\n"},
        greeting + huge}) {
    const int fd = f.knock();
    REQUIRE(::write(fd, bytes.data(), bytes.size())
            == static_cast<ssize_t>(bytes.size()));
    ++count;
    CAPTURE(count);
    // The node hangs up by itself, or 2 s later when it waits for more.
    CHECK(f.counts("handshake", count));
    ::close(fd);
  }
  CHECK(f.refused("handshake") == count);
  (*before)->send(a_request(api::node_status{}));
  CHECK(f.wait([&] { return f.requests.size() == 2; }));
}

TEST_CASE("a client that is let in and sends nonsense gets an answer") {
  fixture f;
  const auto alice = *make_key_pair("alice");
  f.let_in(alice, api::role::user);
  zmq::context_t context{1};
  zmq::socket_t raw{context, zmq::socket_type::dealer};
  raw.set(zmq::sockopt::linger, 0);
  raw.set(zmq::sockopt::rcvtimeo, 10000);
  raw.set(zmq::sockopt::curve_serverkey, f.node.public_key);
  raw.set(zmq::sockopt::curve_publickey, alice.public_key);
  raw.set(zmq::sockopt::curve_secretkey, alice.secret_key);
  // A routing id that looks like another port's route.
  raw.set(zmq::sockopt::routing_id, "gateway/x");
  raw.connect(f.port->address());
  const auto ask = [&](const std::string& bytes) {
    raw.send(zmq::buffer(bytes), zmq::send_flags::none);
    zmq::message_t answer;
    REQUIRE(raw.recv(answer, zmq::recv_flags::none));
    auto got = api::decode_reply(answer.to_string_view());
    REQUIRE((got && *got));
    return std::get<api::error_reply>((*got)->body).why.code;
  };
  CHECK(ask("\xff\xff") == ec::malformed);
  CHECK(ask(std::string(limits::envelope_max + 1, 'x')) == ec::too_large);
  CHECK(f.counts("malformed", 1));
  CHECK(f.counts("too_large", 1));
  const auto good = api::encode(a_request(api::node_status{}));
  raw.send(zmq::buffer(good), zmq::send_flags::none);
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  CHECK(f.requests[0].route.starts_with(tcp_port::route_prefix));
  // Beyond that the connection is cut, and the port lives on.
  raw.send(zmq::buffer(std::string(3 * limits::envelope_max, 'x')),
           zmq::send_flags::none);
  auto other = cli::connection::open(f.address(alice));
  REQUIRE(other);
  (*other)->send(a_request(api::node_status{}));
  CHECK(f.wait([&] { return f.requests.size() >= 2; }));
}

TEST_CASE("a node that has not read its keys sends clients away, not off") {
  const auto node = *make_key_pair({}), alice = *make_key_pair("alice");
  auto keys = std::make_shared<key_table>();
  auto metrics = std::make_shared<metrics_table>("n1", "test", "none");
  auto port = tcp_port::open({"tcp://127.0.0.1:0", node}, keys, metrics);
  REQUIRE(port);
  (*port)->start([](api::request) {}, [](std::string) {});
  cli::node_address address{(*port)->address()};
  address.endpoints.front().server_key = node.public_key;
  address.key = alice;
  const auto early = cli::connection::open(address);
  REQUIRE_FALSE(early);
  CHECK(early.error().code == ec::unavailable); // so it is tried again
  keys->apply({key_record_of(alice.public_key),
               encode_key({alice.public_key, "alice", api::role::user, 1}), 1},
              false);
  CHECK(cli::connection::open(address));
  keys->loaded();
  address.key = *make_key_pair("eve");
  CHECK(cli::connection::open(address).error().code == ec::denied);
  (*port)->stop();
}

TEST_CASE("a client takes the next endpoint when one is down") {
  fixture f;
  const auto alice = *make_key_pair("alice");
  f.let_in(alice, api::role::user);
  auto address = f.address(alice);
  auto dead = address.endpoints.front();
  dead.where = "tcp://127.0.0.1:1";
  address.endpoints.insert(address.endpoints.begin(), dead);
  CHECK(cli::connection::open(address));
  cli::node_address alone{dead.where};
  alone.endpoints.front().server_key = f.node.public_key;
  alone.key = alice;
  const auto got = cli::connection::open(alone);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::unavailable);
  CHECK(got.error().message.find("refused") != std::string::npos);
  alone.endpoints.front().where = "tcp://no-such-host.invalid:7400";
  CHECK_FALSE(cli::connection::open(alone));
  alone.endpoints.front().where = "tcp://nonsense";
  CHECK(cli::connection::open(alone).error().code == ec::bad_request);
}

TEST_CASE("addresses to listen at are told from what is none") {
  for (const auto* good :
       {"tcp://10.0.0.1:7400", "tcp://[::1]:7400", "tcp://*:0"})
    CHECK(is_listen_endpoint(good));
  for (const auto* bad :
       {"", "10.0.0.1:7400", "tcp://10.0.0.1", "tcp://:7400", "tcp://a.b:7400",
        "tcp://10.0.0.1:", "tcp://10.0.0.1:65536", "tcp://10.0.0.1:-1",
        "tcp://::1:7400", "ipc:///a", "tcp://10.0.0.300:1"})
    CHECK_FALSE(is_listen_endpoint(bad));
}

TEST_CASE("a node keeps its keys, and nobody else may read them") {
  char name[] = "/tmp/caged-tcp-XXXXXX";
  const std::filesystem::path dir = ::mkdtemp(name);
  const auto first = open_node_key(dir);
  REQUIRE(first);
  CHECK(open_node_key(dir)->public_key == first->public_key);
  CHECK(read_public_key(dir / "node.key.pub")->public_key == first->public_key);
  ::chmod((dir / "node.key").c_str(), 0640);
  CHECK(open_node_key(dir).error().code == ec::denied);
  std::filesystem::remove(dir / "node.key");
  REQUIRE(write_key_pair(dir / "node.key",
                         {{}, first->public_key, make_key_pair({})->secret_key},
                         if_there::replace));
  CHECK(open_node_key(dir).error().code == ec::malformed);
  std::filesystem::remove_all(dir);
}
