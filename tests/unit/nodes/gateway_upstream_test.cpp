#include <catch2/catch.hpp>

#include <vector>

#include "nodes/gateway/upstream.hpp"

using namespace caged;
using namespace caged::gateway_parts;

namespace {

/// A node that says what a test has it say.
struct scripted_node {
  node_link link;
  std::vector<api::request> asked;
  std::vector<std::string> gone;
  int changes = 0;

  scripted_node() {
    link.send = [this](api::request one) { asked.push_back(std::move(one)); };
    link.gone = [this](std::string route) { gone.push_back(std::move(route)); };
  }
  std::shared_ptr<upstream> dial() {
    auto out = std::make_shared<upstream>(link, [this] { ++changes; });
    api::dial what;
    what.sandbox = "cage-abc12345";
    what.mcp = api::mcp_target{"k1", false, false};
    out->ask(std::move(what), "uid:0", true);
    return out;
  }
  /// To the request that was asked last first.
  void say(api::reply_body body) {
    api::reply out{asked.front().route, asked.front().id, std::move(body)};
    link.deliver(out);
  }
  template <class Body>
  std::vector<Body> all() const {
    std::vector<Body> out;
    for (const auto& each : asked)
      if (const auto* one = std::get_if<Body>(&each.body))
        out.push_back(*one);
    return out;
  }
};

} // namespace

TEST_CASE("a stream sends what there is credit for, in frames, by offset") {
  scripted_node node;
  const auto up = node.dial();
  CHECK(node.asked.front().admin);
  CHECK(node.asked.front().route.rfind("gateway/", 0) == 0);
  std::string bytes(100'000, 'x');
  up->write(bytes);
  CHECK(bytes.size() == 100'000); // it is not there yet
  node.say(api::exec_started{"cage-abc12345", 0, true});
  CHECK(up->open());
  up->write(bytes);
  CHECK(bytes.size() == 100'000); // and nobody said how much
  node.say(api::stream_credit{api::channel::in, 70'000});
  up->write(bytes);
  CHECK(bytes.size() == 30'000);
  const auto sent = node.all<api::stream_data>();
  REQUIRE(sent.size() == 2);
  CHECK(sent[0].bytes.size() == limits::frame_max);
  CHECK(sent[1].offset == limits::frame_max);
  // Credit that is not more than before changes nothing.
  node.say(api::stream_credit{api::channel::in, 60'000});
  up->write(bytes);
  CHECK(bytes.size() == 30'000);
  CHECK(up->credit_left() == 0);
}

TEST_CASE("what a client has had is acknowledged, and room is given in steps") {
  scripted_node node;
  const auto up = node.dial();
  node.say(api::exec_started{"cage-abc12345", 0, true});
  node.say(api::stream_data{api::channel::out, 0, std::string(60'000, 'a')});
  // A gap or a repeat is not believed.
  node.say(api::stream_data{api::channel::out, 5, "again"});
  node.say(api::stream_data{api::channel::err, 0, "other"});
  CHECK(up->in.size() == 60'000);
  up->consumed(10'000);
  CHECK(node.all<api::stream_ack>().empty());
  up->consumed(60'000);
  REQUIRE(node.all<api::stream_ack>().size() == 1);
  CHECK(node.all<api::stream_ack>()[0].offset == 70'000);
  CHECK(node.all<api::stream_credit>()[0].limit
        == 70'000 + limits::window_default);
}

TEST_CASE("either side ends a stream, once") {
  scripted_node node;
  const auto exits = [&] {
    std::size_t n = 0;
    for (const auto& each : node.all<api::stream_ack>())
      n += each.on == api::channel::exit ? 1 : 0;
    return n;
  };
  auto up = node.dial();
  node.say(api::exec_started{"cage-abc12345", 0, true});
  node.say(api::stream_eof{api::channel::out, 0});
  CHECK(up->ended());
  CHECK_FALSE(up->error());
  CHECK(exits() == 1);
  up->close();
  up.reset();
  CHECK(exits() == 1);
  CHECK(node.gone.empty());

  node.asked.clear();
  up = node.dial();
  node.say(api::exec_started{"cage-abc12345", 0, true});
  up.reset(); // its connection is gone
  CHECK(exits() == 1);

  // Before it is decided the node is told that nobody waits any more, and a
  // late answer finds nobody.
  node.asked.clear();
  const auto before = node.changes;
  up = node.dial();
  up->close();
  REQUIRE(node.gone.size() == 1);
  CHECK(node.gone[0] == node.asked[0].route);
  node.say(api::exec_started{"cage-abc12345", 0, true});
  CHECK(node.changes == before);
}

TEST_CASE("a question has one answer or one error") {
  scripted_node node;
  auto up = std::make_shared<upstream>(node.link, [&] { ++node.changes; });
  up->ask(api::get{"web"}, "uid:7", false);
  CHECK_FALSE(node.asked.front().admin);
  node.say(api::up_progress{"starting"});
  CHECK_FALSE(up->ended());
  node.say(api::get_reply{});
  REQUIRE(up->answer());
  CHECK(std::holds_alternative<api::get_reply>(*up->answer()));

  node.asked.clear();
  up = std::make_shared<upstream>(node.link, [&] { ++node.changes; });
  up->ask(api::get{"web"}, "uid:7", false);
  node.say(api::error_reply{{ec::not_found, "no such sandbox", {}}, {}, {}});
  CHECK(up->ended());
  REQUIRE(up->error());
  CHECK(up->error()->why.code == ec::not_found);
  CHECK_FALSE(up->answer());
}
