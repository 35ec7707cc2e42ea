#include <catch2/catch.hpp>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

#include "messages/curve_pair.hpp"
#include "messages/text.hpp"
#include "nodes/metrics_table.hpp"
#include "nodes/tcp_port.hpp"
#include "nodes/zmq_peer_links.hpp"

using namespace caged;
using namespace std::chrono_literals;

namespace {

/// A node's port, and the links of another one to it.
struct fixture {
  fixture() {
    near = *make_key_pair({});
    far = *make_key_pair({});
    keys->loaded();
    open_port("tcp://127.0.0.1:0");
    auto opened = zmq_peer_links::open(
        near,
        [this](std::string node, api::reply what) {
          add([&] {
            from.insert(std::move(node));
            replies.push_back(std::move(what));
          });
        },
        [this](std::string node, std::uint64_t up_to, failure why) {
          add([&] {
            from.insert(std::move(node));
            lost.emplace_back(up_to, std::move(why));
          });
        });
    REQUIRE(opened);
    links = std::move(*opened);
  }
  ~fixture() {
    links->stop();
    if (port)
      port->stop();
    from.erase("far");
    CHECK(from.empty());
  }

  void open_port(const std::string& endpoint) {
    auto made = tcp_port::open({endpoint, far, fleet}, keys, metrics);
    INFO((made ? "" : made.error().message));
    REQUIRE(made);
    port = std::move(*made);
    address = port->address();
    port->start(
        [this](api::request r) {
          add([&] { requests.push_back(std::move(r)); });
        },
        [this](std::string route) {
          add([&] { gone.push_back(std::move(route)); });
        });
  }
  /// The port knows the near node.
  void introduce() {
    node_record info;
    info.id = "near";
    info.name = "near";
    info.public_key = near.public_key;
    info.address = "tcp://127.0.0.1:1";
    info.runtime = "oci";
    fleet->apply({"nodes/near/info", encode(info), 1}, false);
    fleet->loaded();
  }
  template <class Change>
  void add(Change change) {
    const std::lock_guard guard{mutex};
    change();
    changed.notify_all();
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock guard{mutex};
    return changed.wait_for(guard, 10s, condition);
  }
  std::uint64_t ask(api::request_body body, const std::string& caller,
                    bool admin = true) {
    api::request out;
    out.id = make_uuid();
    out.caller = caller;
    out.admin = admin;
    out.hop = ++hop;
    out.body = std::move(body);
    links->send({"far", address, far.public_key}, std::move(out));
    return hop;
  }

  key_pair near, far;
  std::shared_ptr<key_table> keys = std::make_shared<key_table>();
  std::shared_ptr<directory> fleet = std::make_shared<directory>();
  std::shared_ptr<metrics_table> metrics =
      std::make_shared<metrics_table>("far", "test", "none");
  std::unique_ptr<tcp_port> port;
  std::unique_ptr<zmq_peer_links> links;
  std::string address;
  std::uint64_t hop = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<api::request> requests;
  std::vector<std::string> gone;
  std::set<std::string> from; ///< nodes that anything came from
  std::vector<api::reply> replies;
  std::vector<std::pair<std::uint64_t, failure>> lost;
};

} // namespace

TEST_CASE("a node says for whom it asks, and has its answers by number") {
  fixture f;
  f.introduce();
  const auto first = f.ask(api::get{"a"}, "uid:1000");
  const auto second = f.ask(api::get{"b"}, "uid:1001", false);
  REQUIRE(f.wait([&] { return f.requests.size() == 2; }));
  CHECK(f.requests[0].caller == "uid:1000");
  CHECK(f.requests[0].admin);
  CHECK(f.requests[0].hop == first);
  CHECK_FALSE(f.requests[1].admin);
  CHECK(f.requests[0].route != f.requests[1].route);
  // In the other order.
  f.port->send({f.requests[1].route, f.requests[1].id, api::shutdown_reply{2}});
  f.port->send({f.requests[0].route, f.requests[0].id, api::shutdown_reply{1}});
  REQUIRE(f.wait([&] { return f.replies.size() == 2; }));
  CHECK(f.replies[0].hop == second);
  CHECK(f.replies[1].hop == first);
}

TEST_CASE("who has no key any more has none through a node either") {
  fixture f;
  f.introduce();
  const auto hop = f.ask(api::get{"a"}, "key:alice", false);
  REQUIRE(f.wait([&] { return !f.replies.empty(); }));
  CHECK(f.replies[0].hop == hop);
  const auto* error = std::get_if<api::error_reply>(&f.replies[0].body);
  REQUIRE(error);
  CHECK(error->why.code == ec::denied);
  CHECK(f.requests.empty());
}

TEST_CASE("a node with a client's key may ask for nobody") {
  fixture f;
  f.fleet->loaded();
  f.keys->apply({key_record_of(f.near.public_key),
                 encode_key({f.near.public_key, "alice", api::role::admin, 1}),
                 1},
                false);
  const auto hop = f.ask(api::get{"a"}, "uid:0");
  // Told under hop 0, because none of its hops is believed.
  REQUIRE(f.wait([&] { return !f.replies.empty(); }));
  CHECK(hop == 1);
  CHECK(f.replies[0].hop == 0);
  const auto* error = std::get_if<api::error_reply>(&f.replies[0].body);
  REQUIRE(error);
  CHECK(error->why.code == ec::denied);
  CHECK(f.requests.empty());
}

TEST_CASE("a node that is not known is refused, and fails at once") {
  fixture f;
  f.fleet->loaded();
  const auto hop = f.ask(api::get{"a"}, "uid:0");
  REQUIRE(f.wait([&] { return !f.lost.empty(); }));
  CHECK(f.lost[0].first == hop);
  CHECK(f.lost[0].second.message.find("does not know this node's key")
        != std::string::npos);
  // Again within the moment: told at once, nobody is dialled.
  const auto next = f.ask(api::get{"a"}, "uid:0");
  REQUIRE(f.wait([&] { return f.lost.size() == 2; }));
  CHECK(f.lost[1].first == next);
  CHECK(f.requests.empty());
}

TEST_CASE(
    "a link that ends says up to where, and the next request makes another") {
  fixture f;
  f.introduce();
  f.ask(api::get{"a"}, "uid:0");
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  f.port->stop();
  f.port.reset();
  REQUIRE(f.wait([&] { return !f.lost.empty(); }));
  CHECK(f.lost[0].first == 1);
  CHECK(f.lost[0].second.code == ec::unavailable);
  f.open_port(f.address);
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (std::chrono::steady_clock::now() < until) {
    const auto failures = f.lost.size();
    f.ask(api::get{"b"}, "uid:0");
    REQUIRE(f.wait(
        [&] { return f.requests.size() == 2 || f.lost.size() > failures; }));
    if (f.requests.size() == 2)
      break;
  }
  CHECK(f.requests.size() == 2);
}

TEST_CASE("what is watched is told gone when its node is, one by one") {
  fixture f;
  f.introduce();
  f.ask(api::get{"a"}, "uid:0");
  f.ask(api::get{"b"}, "uid:0");
  REQUIRE(f.wait([&] { return f.requests.size() == 2; }));
  for (const auto& each : f.requests)
    f.port->watch(each.route);
  f.links->stop();
  REQUIRE(f.wait([&] { return f.gone.size() == 2; }));
  CHECK(f.lost.empty()); // nobody is there to be told
}

TEST_CASE("a node whose record is gone hears nothing more") {
  fixture f;
  f.introduce();
  f.ask(api::get{"a"}, "uid:0");
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  f.port->watch(f.requests[0].route);
  f.fleet->apply({"nodes/near/info", {}, 2}, true);
  f.port->keys_changed();
  REQUIRE(f.wait([&] { return !f.gone.empty() && !f.lost.empty(); }));
  CHECK(f.lost[0].second.message.find("refuses this node")
        != std::string::npos);
}

TEST_CASE("what is watched is asked after, and a client that is gone is not") {
  fixture f;
  f.introduce();
  const auto hop = f.ask(api::get{"a"}, "uid:0");
  REQUIRE(f.wait([&] { return f.requests.size() == 1; }));
  f.port->watch(f.requests[0].route);
  REQUIRE(f.wait([&] { return !f.replies.empty(); }));
  CHECK(std::holds_alternative<api::probe>(f.replies[0].body));
  CHECK(f.replies[0].hop == hop);
  api::request gone;
  gone.id = make_uuid();
  gone.caller = "uid:0";
  gone.hop = hop;
  gone.body = api::client_gone{};
  f.links->send({"far", f.address, f.far.public_key}, gone);
  REQUIRE(f.wait([&] { return f.requests.size() == 2; }));
  CHECK(f.requests[1].route == f.requests[0].route);
  // Nobody is asked after any more: the next answer is another request's.
  const auto before = f.replies.size();
  f.ask(api::get{"b"}, "uid:0");
  REQUIRE(f.wait([&] { return f.requests.size() == 3; }));
  const auto other = f.requests[2];
  f.port->watch(other.route);
  REQUIRE(f.wait([&] { return f.replies.size() > before; }));
  CHECK(f.replies.back().hop == other.hop);
}
