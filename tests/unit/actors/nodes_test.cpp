#include <catch2/catch.hpp>

#include "fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::node;

// The verbs about nodes, and `up` where a node or labels are asked for.

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Another node's, in the store alone.
void place(node& n, const std::string& sandbox, const std::string& on) {
  placement_record what;
  what.sandbox = sandbox;
  what.node = on;
  what.owner = "uid:0";
  what.name = "web-" + sandbox;
  n.store->commit(
      {}, {{operation::kind::put, placement_key(sandbox), encode(what)},
           {operation::kind::put, name_key(what.owner, what.name), sandbox}});
}

api::node_info row(node& n, const std::string& of) {
  const auto got = n.answers<api::node_reply>(n.ask(api::node_get{of}));
  REQUIRE(got.size() == 1);
  return got.front().node;
}

} // namespace

TEST_CASE("nodes are listed with what they are, have and hold") {
  node n;
  n.join("node-1", "n1", false, {{"zone", "a"}}); // alone: without a lease
  n.join("node-2", "a2", true);
  n.join("node-3", "z3", false);
  place(n, "cage-theirs01", "node-2");
  place(n, "cage-theirs02", "node-2");
  n.boot();
  REQUIRE_FALSE(n.make_sandbox("web").empty());
  // Whoever may see the node's status may see these.
  const auto got =
      n.answers<api::node_list_reply>(n.ask(api::node_list{}, "key:alice"));
  REQUIRE(got.size() == 1);
  const auto& all = got.front().nodes;
  REQUIRE(all.size() == 3);
  CHECK(all[0].name == "a2");
  CHECK(all[0].sandboxes == 2);
  CHECK(all[0].live);
  CHECK_FALSE(all[0].self);
  CHECK(all[1].name == "n1");
  CHECK(all[1].id == "node-1");
  CHECK(all[1].self);
  CHECK(all[1].live);
  CHECK(all[1].sandboxes == 1);
  CHECK(all[1].labels.at("zone") == "a");
  CHECK(all[1].networks == std::vector<std::string>{"none"});
  CHECK(all[1].cpus_total == 16);
  CHECK(all[1].cpus_reserved == limits::cpus_default);
  CHECK(all[1].memory_mb_reserved == limits::memory_mb_default);
  CHECK(all[1].disk_gb_reserved == limits::disk_gb_default);
  CHECK_FALSE(all[2].live);
  CHECK(row(n, "node-3").name == "z3");
  CHECK(row(n, "z3").id == "node-3");
  CHECK(n.error_of(n.ask(api::node_get{"z4"})).code == ec::not_found);
}

TEST_CASE("a cordon is an admin's, says who, and ends with the next word") {
  node n;
  n.join("node-1", "n1", true);
  n.boot();
  CHECK(n.error_of(n.ask(api::node_cordon{"n1", true}, "key:alice")).code
        == ec::denied);
  auto cordon = [&](bool on) {
    const auto got =
        n.answers<api::node_reply>(n.ask(api::node_cordon{"n1", on}));
    REQUIRE(got.size() == 1);
    CHECK(got.front().node.cordoned == on);
    CHECK(got.front().node.cordoned_by == (on ? "uid:0" : ""));
    return got.front().changed;
  };
  CHECK(cordon(true));
  CHECK_FALSE(cordon(true));
  CHECK(n.store->records.at("nodes/node-1/cordon").value == "uid:0");
  const auto refused = n.error_of(n.ask(api::up{}));
  CHECK(refused.code == ec::no_capacity);
  CHECK(refused.message
        == "node \"n1\" is cordoned by uid:0: it takes no new sandboxes");
  CHECK(n.placed() == 0);
  CHECK(cordon(false));
  CHECK_FALSE(cordon(false));
  CHECK_FALSE(n.make_sandbox().empty());
  CHECK(n.error_of(n.ask(api::node_cordon{"n9", true})).code == ec::not_found);
  n.store->away = true;
  CHECK(n.error_of(n.ask(api::node_cordon{"n1", true})).code
        == ec::unavailable);
}

TEST_CASE("a cordon that this node has not heard of still keeps an up away") {
  node n;
  n.join("node-1", "n1", true);
  n.boot();
  n.store->told = nullptr;
  n.store->commit(
      {}, {{operation::kind::put, node_key("node-1", "cordon"), "key:bob"}});
  const auto refused = n.error_of(n.ask(api::up{}));
  CHECK(refused.code == ec::no_capacity);
  CHECK(has(refused.message, "is cordoned: it takes no new sandboxes"));
  CHECK(n.booked() == capacity{});
}

TEST_CASE("a cordoned node keeps what it has, and hands out no pool member") {
  node n;
  n.join("node-1", "n1", true);
  n.context->pools = {{"minimal", 2}};
  n.boot();
  const auto id = n.make_sandbox("web");
  CHECK(n.metrics->pool_ready["minimal"] == 1);
  n.ask(api::node_cordon{"n1", true});
  CHECK(n.error_of(n.ask(api::up{})).code == ec::no_capacity);
  CHECK(n.metrics->pool_ready["minimal"] == 1);
  CHECK(n.state_of(id) == phase::running);
  api::exec run;
  run.sandbox = "web";
  run.argv = {"true"};
  CHECK(n.answers<api::exec_started>(n.ask(run)).size() == 1);
}

TEST_CASE("a node is forgotten when it is silent and empty, or by force") {
  node n;
  n.join("node-1", "n1", false);
  n.join("node-2", "n2", true);
  n.boot();
  const auto mine = n.make_sandbox("mine");
  auto remove = [&](const std::string& which, bool force = false) {
    return n.ask(api::node_remove{which, force});
  };
  CHECK(n.error_of(n.ask(api::node_remove{"n2", true}, "key:alice")).code
        == ec::denied);
  // Itself it never is, lease or no lease.
  CHECK(n.error_of(remove("n1", true)).code == ec::wrong_state);
  CHECK(n.error_of(remove("n2")).code == ec::wrong_state);
  n.join("node-2", "n2", false);
  place(n, "cage-theirs01", "node-2");
  place(n, "cage-theirs02", "node-2");
  const auto refused = n.error_of(remove("n2"));
  CHECK(refused.code == ec::wrong_state);
  CHECK(refused.message == "2 sandboxes are placed on node \"n2\"");
  CHECK(has(refused.hint, "--force"));
  const auto done = n.answers<api::node_remove_reply>(remove("n2", true));
  REQUIRE(done.size() == 1);
  CHECK(done.front().id == "node-2");
  CHECK(done.front().sandboxes == 2);
  CHECK(n.error_of(n.ask(api::node_get{"n2"})).code == ec::not_found);
  CHECK(n.placed() == 2); // its own and its name
  CHECK(n.state_of(mine) == phase::running);
  CHECK(n.error_of(remove("n2")).code == ec::not_found);
}

TEST_CASE("what this node did is in its view before the store tells it") {
  node n;
  n.join("node-1", "n1", true);
  n.join("node-2", "n2", false);
  n.boot();
  n.store->told = nullptr;
  n.ask(api::node_cordon{"n1", true});
  CHECK(row(n, "n1").cordoned);
  // Older news do not undo it.
  n.context->fleet->apply({node_key("node-1", "cordon"), {}, 1}, true);
  CHECK(row(n, "n1").cordoned);
  n.ask(api::node_remove{"n2"});
  CHECK(n.error_of(n.ask(api::node_get{"n2"})).code == ec::not_found);
}

TEST_CASE("a node alone honours the node and the labels that are asked for") {
  node n;
  n.join("node-1", "n1", true, {{"zone", "a"}, {"disk", "fast"}});
  n.boot();
  auto up = [&](std::string on, std::map<std::string, std::string> require) {
    api::up what;
    what.node = std::move(on);
    what.require = std::move(require);
    return n.ask(what);
  };
  for (const auto& asked : {up("n1", {}), up("node-1", {{"zone", "a"}}),
                            up("", {{"zone", "a"}, {"disk", "fast"}})})
    CHECK(n.answers<api::up_reply>(asked).size() == 1);
  const auto other = n.error_of(up("n2", {}));
  CHECK(other.code == ec::not_found);
  CHECK(other.message == "there is no node \"n2\"");
  n.join("node-2", "n2", true);
  const auto away = n.error_of(up("n2", {}));
  CHECK(away.code == ec::unsupported);
  CHECK(away.message
        == "node \"n2\" is another node, and this one has no way to it");
  const auto lacks = n.error_of(up("", {{"zone", "b"}}));
  CHECK(lacks.code == ec::no_capacity);
  CHECK(lacks.message == "no node has room: 1 lacks the label zone=b");
  CHECK(n.error_of(up("n1", {{"gpu", "1"}})).message
        == "node \"n1\" has no room: it lacks the label gpu=1");
  n.ask(api::node_cordon{"n1", true});
  CHECK(n.error_of(up("n1", {})).message
        == "node \"n1\" has no room: it is cordoned");
  // A repeat is no new sandbox: it is answered whatever has changed.
  n.ask(api::node_cordon{"n1", false});
  api::up what;
  what.require = {{"zone", "a"}};
  const auto first = n.ask(what);
  n.ask(api::node_cordon{"n1", true});
  n.ask(what, "uid:0", "r2", first);
  CHECK(n.answers<api::up_reply>(first).size() == 2);
}
