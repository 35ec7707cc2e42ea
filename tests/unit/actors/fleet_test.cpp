#include <catch2/catch.hpp>

#include <algorithm>
#include <map>

#include "tests/unit/actors/fleet_fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::fleet;

namespace {

/// So many sandboxes through the first node.
std::vector<std::string> fill(fleet& f, std::size_t count) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back(f.make(0));
  return out;
}

/// One of them that is the second node's.
std::string elsewhere(fleet& f, const std::string& name = {}) {
  for (int i = 0; i < 8; ++i) {
    auto id = f.make(0, name.empty() ? name : name + std::to_string(i));
    if (f.owner_of(id) == 1)
      return id;
  }
  return {};
}

} // namespace

TEST_CASE("up goes to the node with most room, whoever is asked") {
  fleet f{3};
  std::map<std::size_t, int> count;
  for (const auto& id : fill(f, 9)) {
    REQUIRE_FALSE(id.empty());
    ++count[f.owner_of(id)];
  }
  CHECK(count == std::map<std::size_t, int>{{0, 3}, {1, 3}, {2, 3}});
}

TEST_CASE("a node that has not seen its own lease yet takes an up") {
  fleet f{1};
  REQUIRE(f.store->commit(
      {}, {{operation::kind::erase, node_key("node-1", "live"), {}}}));
  f.run();
  REQUIRE_FALSE(f.view(0).node("node-1")->live);
  CHECK_FALSE(f.make(0).empty());
}

TEST_CASE("one request makes one sandbox, whichever nodes it reaches") {
  fleet f{3};
  const auto request = make_uuid();
  f.follows = false; // no node has heard of what another books
  std::set<std::string> made;
  for (std::size_t i = 0; i < 3; ++i) {
    f.ask(i, api::up{}, "uid:0", request);
    const auto got = f[i].answers<api::up_reply>(request);
    REQUIRE_FALSE(got.empty()); // an owner answers another node, too
    for (const auto& each : got)
      made.insert(each.sandbox.id);
  }
  CHECK(made.size() == 1);
  std::size_t all = 0;
  for (std::size_t i = 0; i < 3; ++i)
    all += f[i].driver->running.size();
  CHECK(all == 1);
  // Its record stays for a while (why_copy_test.cpp).
  const auto key = request_key("uid:0", request);
  CHECK(f.store->records.at(key).value == *made.begin());
  f.follows = true;
  f.run();
  f.ask(2, api::destroy{*made.begin()});
  CHECK(decode_gone_request(f.store->records.at(key).value));
}

TEST_CASE("a node that has become full sends its up on to the next") {
  fleet f{2};
  f.follows = false;
  const auto first = elsewhere(f);
  REQUIRE_FALSE(first.empty());
  // 16 cpus each, by the view nothing is used: one by one until all is full.
  std::size_t running = 0;
  for (int i = 0; i < 20; ++i) {
    const auto id = f.ask(0, api::up{});
    running = f[0].driver->running.size() + f[1].driver->running.size();
    if (f[0].answers<api::up_reply>(id).empty())
      break;
  }
  CHECK(running == 16);
  f.follows = true;
  f.run();
  const auto why = f[0].error_of(f.ask(0, api::up{}));
  CHECK(why.code == ec::no_capacity);
  CAPTURE(why.message);
  CHECK(why.message.find("2 have") != std::string::npos);
}

TEST_CASE("a name is one sandbox's in the whole fleet") {
  fleet f{2};
  REQUIRE_FALSE(f.make(0, "web").empty());
  for (std::size_t i = 0; i < 2; ++i) {
    api::up again;
    again.spec.name = "web";
    CHECK(f[i].error_of(f.ask(i, again)).code == ec::conflict);
  }
}

TEST_CASE("verbs about another node's sandbox are that node's to answer") {
  fleet f{2};
  const auto id = elsewhere(f, "web");
  REQUIRE_FALSE(id.empty());
  const auto get = f.ask(0, api::get{id});
  REQUIRE(f[0].answers<api::get_reply>(get).size() == 1);
  CHECK(f[0].answers<api::get_reply>(get)[0].sandbox.node == "n2");
  const auto paused = f.ask(0, api::pause{id});
  CHECK(f[0].answers<api::state_reply>(paused).size() == 1);
  CHECK(f[1].state_of(id) == phase::paused);
  f.ask(0, api::resume{id});
  const auto ps = f.ask(0, api::ps{id});
  CHECK(f[0].answers<api::ps_reply>(ps).size() == 1);
  const auto why = f.ask(0, api::why{id});
  REQUIRE(f[0].answers<api::why_reply>(why).size() == 1);
  CHECK(f[0].answers<api::why_reply>(why)[0].causes.back().who == "uid:0");
  const auto destroy = f.ask(0, api::destroy{id});
  REQUIRE(f[0].answers<api::destroy_reply>(destroy).size() == 1);
  CHECK(f[1].driver->running.count(id) == 0);
  // And once more: the node that had it remembers.
  const auto again = f.ask(0, api::destroy{id});
  REQUIRE(f[0].answers<api::destroy_reply>(again).size() == 1);
  CHECK_FALSE(f[0].answers<api::destroy_reply>(again)[0].was_there);
  const auto history = f.ask(0, api::why{id});
  REQUIRE(f[0].answers<api::why_reply>(history).size() == 1);
  CHECK(f[0].answers<api::why_reply>(history)[0].causes.back().to
        == phase::destroyed);
  CHECK(f[0].error_of(f.ask(0, api::get{"cage-00000000"})).code
        == ec::not_found);
}

TEST_CASE(
    "a prefix never hits another sandbox while the name itself is one's") {
  fleet f{2};
  REQUIRE_FALSE(f.make(0, "web-2").empty());
  f.follows = false;
  // Made a moment ago, through the other node; ours has not heard of it.
  std::string web;
  for (std::size_t i = 0; web.empty() && i < 2; ++i)
    web = f.make(1, "web");
  REQUIRE_FALSE(web.empty());
  const auto gone = f.ask(0, api::destroy{"web"});
  REQUIRE(f[0].answers<api::destroy_reply>(gone).size() == 1);
  CHECK(f[0].answers<api::destroy_reply>(gone)[0].id == web);
  // And when its name is free again, whoever asks again means that one.
  f.follows = true;
  f.run();
  const auto again = f.ask(0, api::destroy{"web"});
  REQUIRE(f[0].answers<api::destroy_reply>(again).size() == 1);
  CHECK(f[0].answers<api::destroy_reply>(again)[0].id == web);
  const auto got = f.ask(0, api::get{"web"}); // a unique prefix
  REQUIRE(f[0].answers<api::get_reply>(got).size() == 1);
  CHECK(f[0].answers<api::get_reply>(got)[0].sandbox.spec.name == "web-2");
}

TEST_CASE("a prefix of sandboxes on two nodes is ambiguous") {
  fleet f{2};
  for (int i = 0; i < 4; ++i)
    REQUIRE_FALSE(f.make(0, "job-" + std::to_string(i)).empty());
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(f[i].error_of(f.ask(i, api::get{"job"})).code == ec::ambiguous);
}

TEST_CASE("who may not see a sandbox does not find it through any node") {
  fleet f{2};
  const auto id = elsewhere(f);
  REQUIRE_FALSE(id.empty());
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(f[i].error_of(f.ask(i, api::get{id}, "key:eve")).code
          == ec::not_found);
    CHECK(f[i].error_of(f.ask(i, api::destroy{id}, "key:eve")).code
          == ec::not_found);
  }
  // Counted where it was asked, and nowhere else.
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(f[i].metrics->refusals["owner"] == 2);
  CHECK(f[1].driver->running.count(id) == 1);
}

TEST_CASE("a list says that it may be old while the store is away") {
  fleet f{2};
  const auto said = [&] {
    const auto list = f.ask(0, api::list{});
    const auto nodes = f.ask(0, api::node_list{});
    const auto old = f[0].answers<api::list_reply>(list).at(0).notice;
    CHECK(f[0].answers<api::node_list_reply>(nodes).at(0).notice == old);
    return old;
  };
  CHECK(said().empty());
  f[0].context->store_away = [] {
    return std::optional{failure{ec::unavailable, "etcd is away", {}}};
  };
  CHECK(said() == "etcd is away: this is the fleet as n1 last saw it");
}

TEST_CASE("list and events are about all nodes") {
  fleet f{3};
  const auto made = fill(f, 6);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto list = f.ask(i, api::list{});
    REQUIRE(f[i].answers<api::list_reply>(list).size() == 1);
    CHECK(f[i].answers<api::list_reply>(list)[0].sandboxes.size() == 6);
    const auto events = f.ask(i, api::events{});
    std::set<std::string> seen;
    bool last = false;
    std::int64_t before = 0;
    for (const auto& part : f[i].answers<api::events_reply>(events)) {
      last = part.last;
      for (const auto& each : part.events) {
        CHECK(each.what.time_ms >= before);
        before = each.what.time_ms;
        seen.insert(each.sandbox);
      }
    }
    CHECK(last);
    CHECK(seen == std::set<std::string>(made.begin(), made.end()));
  }
}

TEST_CASE("who follows events hears of all nodes until it goes away") {
  fleet f{2};
  api::events what;
  what.follow = true;
  const auto id = f.ask(0, what);
  const auto before = f[0].answers<api::events_reply>(id).size();
  const auto made = elsewhere(f);
  REQUIRE_FALSE(made.empty());
  std::set<std::string> seen;
  for (const auto& part : f[0].answers<api::events_reply>(id))
    for (const auto& each : part.events)
      seen.insert(each.sandbox);
  CHECK(seen.contains(made));
  CHECK(f[0].clients->watched.count("r1") == 1);
  caf::anon_send(f[0].entry, atom::gone::value, std::string{"r1"});
  f.run();
  const auto after = f[0].answers<api::events_reply>(id).size();
  CHECK(after > before);
  f.ask(0, api::pause{made});
  CHECK(f[0].answers<api::events_reply>(id).size() == after);
}

TEST_CASE("a silent node's sandboxes are lost, and said to be at once") {
  fleet f{2};
  const auto id = elsewhere(f);
  REQUIRE_FALSE(id.empty());
  f.silence(1);
  const auto list = f.ask(0, api::list{});
  REQUIRE(f[0].answers<api::list_reply>(list).size() == 1);
  bool lost = false;
  const auto listed = f[0].answers<api::list_reply>(list)[0].sandboxes;
  for (const auto& each : listed)
    if (each.id == id) {
      lost = each.state == phase::lost;
      CHECK(each.last_cause.text == "node n2 is silent");
    }
  CHECK(lost);
  const auto get = f.ask(0, api::get{id});
  REQUIRE(f[0].answers<api::get_reply>(get).size() == 1);
  CHECK(f[0].answers<api::get_reply>(get)[0].sandbox.state == phase::lost);
  const auto refused = f[0].error_of(f.ask(0, api::destroy{id}));
  CHECK(refused.code == ec::lost);
  CHECK(refused.message.find("n2") != std::string::npos);
  CHECK(refused.message.find(id) != std::string::npos);
  // Others are unharmed, and new ones go where somebody is.
  const auto other = f.make(0);
  CHECK(f.owner_of(other) == 0);
}

TEST_CASE("what is under way over a link that is lost fails at once") {
  fleet f{2};
  const auto id = elsewhere(f);
  REQUIRE_FALSE(id.empty());
  f.deaf.insert("node-2");
  const auto get = f.ask(0, api::pause{id});
  CHECK(f[0].error_of(get).message.empty()); // nobody has answered yet
  f.cut(0, 1);
  CHECK(f[0].error_of(get).code == ec::unavailable);
  CHECK(f[0].error_of(get).message.find("hung up") != std::string::npos);
  // A node that does not answer keeps a list waiting for a second, no longer.
  const auto list = f.ask(0, api::list{});
  CHECK(f[0].answers<api::list_reply>(list).empty());
  f[0].pass(1s);
  f.run();
  REQUIRE(f[0].answers<api::list_reply>(list).size() == 1);
  CHECK_FALSE(f[0].answers<api::list_reply>(list)[0].sandboxes.empty());
}

TEST_CASE(
    "an exec on another node streams both ways, and ends with its client") {
  fleet f{2};
  const auto id = elsewhere(f);
  REQUIRE_FALSE(id.empty());
  api::exec what;
  what.sandbox = id;
  what.argv = {"cat"};
  what.wants_stdin = true;
  const auto exec = f.ask(0, what);
  REQUIRE(f[0].answers<api::exec_started>(exec).size() == 1);
  CHECK(f[0].clients->watched.count("r1") == 1);
  f[1].agents->last().say(
      "credit", std::nullopt,
      {{"stream", exec}, {"channel", "stdin"}, {"limit", 100}});
  f.run();
  CHECK(f[0].answers<api::stream_credit>(exec).size() == 1);
  f.ask(0, api::stream_data{api::channel::in, 0, "abc"}, "uid:0", exec);
  CHECK(f[1].agents->last().count("data") == 1);
  f[1].agents->last().data(exec, "stdout", 0, "abc");
  f.run();
  REQUIRE(f[0].answers<api::stream_data>(exec).size() == 1);
  CHECK(f[0].answers<api::stream_data>(exec)[0].bytes == "abc");
  // The client goes away: the node that has the sandbox is told, and again
  // when it asks after it.
  const auto peers = [&] { return f.links(0).gone; };
  caf::anon_send(f[0].entry, atom::gone::value, std::string{"r1"});
  f.run();
  CHECK(peers() == 1);
  CHECK(f[0].clients->watched.empty());
  const auto ps = f.ask(1, api::ps{id});
  REQUIRE(f[1].answers<api::ps_reply>(ps).size() == 1);
  CHECK_FALSE(f[1].answers<api::ps_reply>(ps)[0].execs.at(0).attached);
  caf::anon_send(f[0].entry,
                 peer_answer{"node-2", {{}, {}, api::probe{}, 12345}});
  f.run();
  CHECK(peers() == 2);
}

TEST_CASE("a client that calls itself gone for another is refused") {
  fleet f{2};
  CHECK(f[0].error_of(f.ask(0, api::client_gone{}, "key:eve")).code
        == ec::denied);
}
