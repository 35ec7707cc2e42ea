#include <catch2/catch.hpp>

#include "actors/histories.hpp"
#include "tests/unit/actors/fleet_fakes.hpp"

// The owner's copy of a history in the store: when it is written, and when it
// goes.
using namespace caged;
using namespace std::chrono_literals;
using fakes::fleet;

namespace {

/// Nothing: there is none, or it cannot be read.
std::optional<history_record> copy_of(fleet& f, const std::string& id) {
  const auto got = read_history(*f.store, id);
  return got ? *got : std::nullopt;
}

/// Counts the commits that write this copy.
struct writes {
  writes(fleet& f, const std::string& id) : of{f} {
    f.store->told = [this, key = history_key(id)](const record& what, bool) {
      count += what.key == key ? 1 : 0;
    };
  }
  ~writes() { of.store->told = nullptr; }
  fleet& of;
  int count = 0;
};

std::size_t journalled(fleet& f, const std::string& id) {
  return f[f.owner_of(id)].journal->history[id].size();
}

} // namespace

TEST_CASE("what happens to a sandbox in quick succession is one write, later") {
  fleet f{2};
  f.pass(5s);
  const auto id = f.make(0, "web");
  REQUIRE_FALSE(id.empty());
  CHECK_FALSE(copy_of(f, id)); // up was not kept waiting
  writes counted{f, id};
  f.ask(0, api::pause{id});
  f.ask(0, api::resume{id});
  CHECK(counted.count == 0);
  f.pass(500ms);
  CHECK(counted.count == 1);
  const auto copy = copy_of(f, id);
  REQUIRE(copy);
  CHECK(copy->state == phase::running);
  CHECK(copy->causes.size() == journalled(f, id));
  CHECK(copy->name == "web");
  CHECK(copy->owner == "uid:0");
  CHECK(copy->node == f[f.owner_of(id)].context->node_id);
  f.ask(0, api::destroy{id});
  f.pass(500ms);
  CHECK(counted.count == 2);
  REQUIRE(copy_of(f, id));
  CHECK(copy_of(f, id)->state == phase::destroyed);
  CHECK(copy_of(f, id)->causes.size() == journalled(f, id));
  f.pass(10s);
  CHECK(counted.count == 2);
}

TEST_CASE("a copy that cannot be written while the store is away comes late") {
  fleet f{2};
  const auto id = f.make(0);
  REQUIRE_FALSE(id.empty());
  f.pass(5s);
  const auto before = copy_of(f, id)->causes.size();
  f.store->away = true;
  const auto paused = f.ask(0, api::pause{id});
  CHECK(f[0].answers<api::state_reply>(paused).size() == 1);
  f.pass(1min);
  f.store->away = false;
  CHECK(copy_of(f, id)->causes.size() == before);
  f.pass(2s);
  CHECK(copy_of(f, id)->state == phase::paused);
  CHECK(copy_of(f, id)->causes.size() == journalled(f, id));
}

TEST_CASE("an answer that is lost makes a copy be written again") {
  fleet f{2};
  const auto id = f.make(0);
  f.pass(5s);
  f.ask(0, api::pause{id});
  f.store->lose_answers = 1;
  writes counted{f, id};
  f.pass(500ms);
  f.pass(2s);
  CHECK(counted.count == 2);
  CHECK(copy_of(f, id)->state == phase::paused);
}

TEST_CASE("a node that dies before it has written a copy writes it when it is "
          "back") {
  fleet f{2};
  const auto id = f.make(0);
  const auto owner = f.owner_of(id);
  f.pass(5s);
  f.ask(owner, api::destroy{id});
  REQUIRE(copy_of(f, id));
  CHECK(copy_of(f, id)->state == phase::running);
  f[owner].halt();
  f.pass(1min);
  CHECK(copy_of(f, id)->state == phase::running);
  f[owner].boot();
  f.pass(2s);
  f.pass(500ms);
  CHECK(copy_of(f, id)->state == phase::destroyed);
  CHECK(copy_of(f, id)->causes.size() == journalled(f, id));
  // What is there already is not written again.
  f[owner].halt();
  f[owner].boot();
  writes counted{f, id};
  f.pass(1min);
  CHECK(counted.count == 0);
}

TEST_CASE("a daemon that is stopped writes what it has not yet written") {
  fleet f{2};
  const auto id = f.make(0);
  const auto owner = f.owner_of(id);
  f.ask(owner, api::destroy{id});
  CHECK_FALSE(copy_of(f, id));
  caf::anon_send(f[owner].publisher_handle, atom::stop::value);
  f.run();
  REQUIRE(copy_of(f, id));
  CHECK(copy_of(f, id)->state == phase::destroyed);
}

TEST_CASE("a copy goes seven days after its sandbox, and comes never again") {
  fleet f{2};
  const auto kept = f.make(0, "kept");
  const auto id = f.make(0, "web");
  f.ask(0, api::destroy{id});
  f.pass(5s);
  REQUIRE(copy_of(f, id));
  CHECK(f.store->records.contains(past_key("uid:0", "web")));
  for (int hours = 1; hours < 7 * 24; ++hours)
    f.pass(1h);
  CHECK(copy_of(f, id));
  writes counted{f, id};
  f.pass(1h);
  f.pass(1h);
  CHECK_FALSE(copy_of(f, id));
  CHECK_FALSE(f.store->records.contains(past_key("uid:0", "web")));
  CHECK(counted.count == 1); // it was erased
  CHECK(copy_of(f, kept));
}

TEST_CASE("a copy that is lost from the store is written again within an "
          "hour") {
  fleet f{2};
  const auto id = f.make(0);
  f.pass(5s);
  REQUIRE(f.store->commit({}, {{operation::kind::erase, history_key(id), {}}}));
  f.pass(1h);
  f.pass(500ms);
  CHECK(copy_of(f, id));
  f.store->records["history/x"] = {"history/x", "{", 1};
  f.pass(1h);
  CHECK(f.view(0).unreadable() == 1);
}

TEST_CASE("many copies are written by and by") {
  fleet f{1};
  for (unsigned i = 0; i < 3 * histories_a_commit; ++i) {
    sandbox_record old;
    old.id = "cage-" + std::to_string(10'000'000 + i);
    old.owner = "uid:0";
    old.state = phase::destroyed;
    old.changed_ms = wall_clock_ms();
    f[0].journal->records[old.id] = old;
  }
  const auto copies = [&] { return f.store->list("history/").value().size(); };
  f.pass(2s);
  f.pass(500ms);
  CHECK(copies() == histories_a_commit);
  f.pass(500ms);
  f.pass(500ms);
  CHECK(copies() == 3 * histories_a_commit);
}
