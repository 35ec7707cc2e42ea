#include <catch2/catch.hpp>

#include "actors/histories.hpp"
#include "tests/unit/actors/fleet_fakes.hpp"

// Why, when the node that had the sandbox cannot be asked; and the request that
// made it, when it comes once more.
using namespace caged;
using namespace std::chrono_literals;
using fakes::fleet;

namespace {

/// A sandbox of the second node.
std::string theirs(fleet& f, const std::string& name = {},
                   const std::string& caller = "uid:0") {
  api::up up;
  up.spec.name = name;
  up.node = "n2";
  const auto got = f[0].answers<api::up_reply>(f.ask(0, up, caller));
  return got.empty() ? std::string{} : got.back().sandbox.id;
}

std::vector<cause> why(fleet& f, const std::string& reference,
                       const std::string& caller = "uid:0",
                       std::size_t through = 0) {
  const auto got = f[through].answers<api::why_reply>(
      f.ask(through, api::why{reference}, caller));
  return got.size() == 1 ? got[0].causes : std::vector<cause>{};
}

failure refused(fleet& f, api::request_body what,
                const std::string& caller = "uid:0") {
  return f[0].error_of(f.ask(0, std::move(what), caller));
}

/// The second node is gone for good.
void remove(fleet& f, bool force) {
  f.silence(1);
  f[1].halt();
  const auto done = f.ask(0, api::node_remove{"n2", force});
  REQUIRE(f[0].answers<api::node_remove_reply>(done).size() == 1);
}

} // namespace

TEST_CASE("why of a lost sandbox is its history, and that its node is silent") {
  fleet f{3};
  const auto id = theirs(f, "web");
  REQUIRE_FALSE(id.empty());
  f.ask(0, api::pause{id});
  f.pass(5s);
  const auto before = why(f, id);
  REQUIRE(before.size() > 2);
  f.silence(1);
  for (const auto& each : {id, std::string{"web"}}) {
    const auto now = why(f, each, "uid:0", 2);
    REQUIRE(now.size() == before.size() + 1);
    for (std::size_t i = 0; i < before.size(); ++i)
      CHECK(now[i].text == before[i].text);
    CHECK(now.back().text == "node n2 is silent");
    CHECK(now.back().from == phase::paused);
    CHECK(now.back().to == phase::lost);
    CHECK(now.back().time_ms == f.view(2).node("n2")->silent_since_ms);
  }
  // Without a copy there is the one line.
  f.store->records.erase(history_key(id));
  REQUIRE(why(f, id).size() == 1);
  CHECK(why(f, id)[0].text == "node n2 is silent");
  f.store->records[history_key(id)] = {history_key(id), "{}", 1};
  CHECK(why(f, id).size() == 1);
  // And with a store that is away, that it is.
  f.store->away = true;
  REQUIRE(why(f, id).size() == 1);
  CHECK(why(f, id)[0].text
        == "node n2 is silent; what was before cannot be read: the store is "
           "away");
}

TEST_CASE("why of a destroyed sandbox is its copy when its node is gone") {
  fleet f{3};
  const auto id = theirs(f, "web", "key:alice");
  REQUIRE_FALSE(id.empty());
  f.ask(0, api::destroy{id});
  f.pass(5s);
  const auto before = why(f, id);
  REQUIRE(before.size() > 2);
  CHECK(before.back().to == phase::destroyed);
  const auto same = [&] {
    for (std::size_t through : {0U, 2U})
      for (const auto& reference : {id, std::string{"web"}})
        for (const char* caller : {"uid:0", "key:alice"}) {
          const auto now = why(f, reference, caller, through);
          REQUIRE(now.size() == before.size());
          for (std::size_t i = 0; i < before.size(); ++i)
            CHECK(now[i].text == before[i].text);
        }
    // Who may not see it learns nothing, and nothing else has a history.
    CHECK(refused(f, api::why{id}, "key:bob").code == ec::not_found);
    CHECK(refused(f, api::why{"web"}, "key:bob").code == ec::not_found);
    CHECK(refused(f, api::why{"cage-00000000"}).code == ec::not_found);
    CHECK(refused(f, api::get{id}).code == ec::not_found);
  };
  f.silence(1);
  same();
  remove(f, false);
  same();
  f.store->away = true;
  for (const bool known : {false, true}) {
    if (known)
      f[0].context->store_away = [] {
        return std::optional{failure{ec::unavailable, "etcd is away", {}}};
      };
    const auto away = refused(f, api::why{id});
    CHECK(away.code == ec::unavailable);
    CHECK(away.message
          == "no sandbox \"" + id
                 + "\" is there, and whether one was cannot be read: "
                 + (known ? "etcd is away" : "the store is away"));
  }
}

TEST_CASE("what a removed node had is lost for good, and why says since when") {
  fleet f{3};
  const auto id = theirs(f, "web");
  REQUIRE_FALSE(id.empty());
  f.pass(5s);
  const auto before = why(f, id);
  remove(f, true);
  for (const auto& each : {id, std::string{"web"}}) {
    const auto now = why(f, each);
    REQUIRE(now.size() == before.size() + 1);
    CHECK(now.back().text == "node n2 was removed from the fleet");
    CHECK(now.back().who == "uid:0");
    CHECK(now.back().to == phase::lost);
  }
  // Its daemon comes back after all, and has the last word.
  f.deaf.clear();
  f[1].boot();
  f.pass(10s);
  f.pass(1s);
  CHECK(why(f, id).back().to == phase::destroyed);
}

TEST_CASE("an up that comes once more after a destroy makes nothing, through "
          "any node") {
  fleet f{3};
  api::up up;
  up.node = "n2";
  const auto request = make_uuid();
  f.ask(0, up, "key:alice", request);
  REQUIRE(f[0].answers<api::up_reply>(request).size() == 1);
  const auto id = f[0].answers<api::up_reply>(request)[0].sandbox.id;
  f.ask(0, api::destroy{id}, "key:alice");
  std::vector<api::error_reply> said;
  const auto repeat = [&](std::size_t through) {
    const auto before = f[through].answers<api::error_reply>(request).size();
    f.ask(through, up, "key:alice", request);
    const auto now = f[through].answers<api::error_reply>(request);
    REQUIRE(now.size() == before + 1);
    said.push_back(now.back());
  };
  // The owner from its memory, and then as others that never had it.
  f[1].ask(up, "key:alice", "r1", request);
  repeat(1);
  repeat(0);
  repeat(2);
  remove(f, false);
  repeat(0);
  repeat(2);
  for (const auto& each : said) {
    CHECK(each.why.code == ec::wrong_state);
    CHECK(each.why.message
          == id
                 + " was made by this request and is destroyed: everything is "
                   "freed");
    CHECK(each.why.hint == "caged why " + id + " shows its history");
    CHECK(each.sandbox == id);
    CHECK(each.node == "n2");
  }
  CHECK(f[0].journal->records.empty());
  CHECK(f[2].journal->records.empty());
}

TEST_CASE("a node whose view is behind finds in the store that a request was "
          "answered") {
  fleet f{2};
  const bool pooled = GENERATE(false, true);
  CAPTURE(pooled);
  if (pooled) {
    f[0].halt();
    f[0].context->pools = {{"minimal", 1}};
    f[0].boot();
    f.run();
    REQUIRE(f[0].metrics->pool_ready["minimal"] == 1);
  }
  api::up up;
  up.node = "n2";
  const auto request = make_uuid();
  f.ask(0, up, "key:alice", request);
  const auto id = f[0].answers<api::up_reply>(request).at(0).sandbox.id;
  f.ask(1, api::destroy{id}, "key:alice");
  f.silence(1);
  f.view(0).apply({request_key("key:alice", request), {}, 0}, true);
  up.node.clear();
  f.ask(0, up, "key:alice", request);
  const auto got = f[0].answers<api::error_reply>(request);
  REQUIRE(got.size() == 1);
  CHECK(got[0].why.code == ec::wrong_state);
  CHECK(got[0].sandbox == id);
  CHECK(got[0].node == "n2");
  CHECK(f[0].placed() == 0);
  CHECK(f[0].booked() == capacity{});
}

TEST_CASE("the request of a destroyed sandbox is known for ten minutes") {
  fleet f{3};
  const auto request = make_uuid();
  f.ask(0, api::up{}, "uid:0", request);
  const auto id = f[0].answers<api::up_reply>(request).at(0).sandbox.id;
  const auto owner = f.owner_of(id);
  const auto key = request_key("uid:0", request);
  f.ask(0, api::destroy{id});
  const auto kept = decode_gone_request(f.store->records.at(key).value);
  REQUIRE(kept);
  CHECK(kept->sandbox == id);
  CHECK(kept->node_name == f[owner].context->node);
  for (int minutes = 0; minutes < 9; ++minutes)
    f.pass(1min);
  CHECK(f.store->records.contains(key));
  f.pass(2min);
  CHECK_FALSE(f.store->records.contains(key));
  CHECK(f.view(0).gone_requests().empty());
  // Then it is a new one; the node that had it knows better for longer.
  const auto other = (owner + 1) % 3;
  api::up up;
  up.node = f[other].context->node;
  f.ask(other, up, "uid:0", request);
  CHECK(f[other].answers<api::up_reply>(request).size() == 1 + (other == 0));
}

TEST_CASE("requests of a node that is no more are swept by another") {
  fleet f{3};
  api::up up;
  up.node = "n2";
  const auto request = make_uuid();
  f.ask(0, up, "uid:0", request);
  const auto id = f[0].answers<api::up_reply>(request).at(0).sandbox.id;
  f.ask(0, api::destroy{id});
  remove(f, false);
  f.pass(5min);
  CHECK(f.store->records.contains(request_key("uid:0", request)));
  f.pass(6min);
  f.pass(1min);
  CHECK_FALSE(f.store->records.contains(request_key("uid:0", request)));
}

TEST_CASE("the same request with another body is a conflict after a destroy, "
          "too") {
  fleet f{2};
  api::up up;
  up.node = "n2";
  const auto request = make_uuid();
  f.ask(0, up, "uid:0", request);
  const auto id = f[0].answers<api::up_reply>(request).at(0).sandbox.id;
  f.ask(0, api::destroy{id});
  std::vector<failure> said;
  for (std::size_t i = 0; i < 2; ++i) {
    f[i].ask(api::up{}, "uid:0", "r1", request, 2);
    f.run();
    said.push_back(f[i].error_of(request));
  }
  CHECK(said[0].code == ec::conflict);
  CHECK(said[0].message == said[1].message);
  CHECK(said[0].message
        == "request id " + request + " was used before with another body");
}

TEST_CASE("of a sandbox that could never be made no request is kept") {
  fleet f{1};
  f[0].driver->refuse_start = true;
  const auto request = f.ask(0, api::up{});
  CHECK(f[0].error_of(request).code == ec::internal);
  f.run();
  CHECK_FALSE(f.store->records.contains(request_key("uid:0", request)));
}

TEST_CASE("a request that cannot be read is counted, and nobody's") {
  fleet f{1};
  f.store->records["requests/uid:0/x"] = {"requests/uid:0/x", "{", 77};
  f.run();
  CHECK(f.view(0).unreadable() == 1);
  CHECK(f.view(0).gone_requests().empty());
  f.store->records.erase("requests/uid:0/x");
  f.run();
  CHECK(f.view(0).unreadable() == 0);
}
