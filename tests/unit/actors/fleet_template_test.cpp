#include <catch2/catch.hpp>

#include "tests/unit/actors/fake_templates.hpp"
#include "tests/unit/actors/fleet_fakes.hpp"

using namespace caged;
using namespace std::chrono_literals;
using fakes::fleet;
using fakes::memory_templates;

namespace {

/// Five pieces and a half.
std::string some_archive() {
  std::string out;
  while (out.size() < 11 * limits::frame_max / 2)
    out += "line " + std::to_string(out.size()) + "\n";
  return out;
}

/// Nodes with templates, which say what they have.
struct with_templates : fleet {
  std::vector<std::shared_ptr<memory_templates>> disks;

  explicit with_templates(std::size_t count) : fleet{count} {
    for (std::size_t i = 0; i < count; ++i) {
      disks.push_back(std::make_shared<memory_templates>());
      auto& at = (*this)[i];
      at.halt();
      at.context->templates = disks.back();
      at.boot();
    }
    tell();
  }
  void tell() {
    for (std::size_t i = 0; i < disks.size(); ++i) {
      offers_record now;
      for (const auto& each : disks[i]->list())
        now.templates.insert(each);
      REQUIRE(store->commit(
          {},
          {{operation::kind::put,
            node_key((*this)[i].context->node_id, "offers"), encode(now)}}));
    }
    run();
  }
  std::string up(std::size_t through, const std::string& on = {},
                 const std::string& name = "web") {
    api::up what;
    what.spec.template_name = name;
    what.node = on;
    return ask(through, what);
  }
  /// All that it tries.
  void pass_rounds() {
    for (int i = 0; i < 10; ++i)
      pass(std::chrono::seconds(1));
  }
  /// Time goes by for all.
  void pass(std::chrono::milliseconds t) {
    for (std::size_t i = 0; i < disks.size(); ++i)
      (*this)[i].pass(t);
    run();
  }
};

} // namespace

TEST_CASE("a template that another node has comes with the first up") {
  with_templates f{3};
  f.disks[2]->there["web"] = some_archive();
  f.tell();
  const auto first = f.up(1, "n1");
  REQUIRE(f[1].answers<api::up_reply>(first).size() == 1);
  CHECK(f[1].answers<api::up_reply>(first)[0].sandbox.node == "n1");
  CHECK(f.disks[0]->there["web"] == some_archive());
  CHECK(f.disks[0]->partial.empty());
  CHECK(f.disks[2]->reads
        == std::vector<std::uint64_t>{
            0, limits::frame_max, 2 * limits::frame_max, 3 * limits::frame_max,
            4 * limits::frame_max, 5 * limits::frame_max});
  const auto news = f[1].answers<api::up_progress>(first);
  REQUIRE_FALSE(news.empty());
  CHECK(news[0].step == "template web comes from node n3: 0 of 1 MB");
  // The next finds it there, even before the others have heard of it.
  REQUIRE(f[1].answers<api::up_reply>(f.up(1, "n1")).size() == 1);
  CHECK(f.disks[2]->packed == 1);
  // Nobody who has it is asked for it.
  REQUIRE(f[2].answers<api::up_reply>(f.up(2, "n3")).size() == 1);
  CHECK(f.disks[2]->packed == 1);
}

TEST_CASE("an up goes to a node that has its template, while one has room") {
  with_templates f{3};
  f.disks[2]->there["web"] = some_archive();
  f.tell();
  for (int i = 0; i < 3; ++i) {
    const auto id = f.up(0);
    REQUIRE(f[0].answers<api::up_reply>(id).size() == 1);
    CHECK(f[0].answers<api::up_reply>(id)[0].sandbox.node == "n3");
  }
  CHECK(f.disks[2]->packed == 0);
}

TEST_CASE("all who want the same template wait for one fetch") {
  with_templates f{2};
  f.disks[1]->there["web"] = some_archive();
  f.tell();
  api::up what;
  what.spec.template_name = "web";
  what.node = "n1";
  std::vector<std::string> asked;
  for (int i = 0; i < 3; ++i) // nothing is carried over in between
    asked.push_back(f[0].ask(what));
  f.run();
  for (const auto& id : asked)
    CHECK(f[0].answers<api::up_reply>(id).size() == 1);
  CHECK(f.disks[1]->packed == 1);
  CHECK(f.disks[1]->reads.size() == 6);
}

TEST_CASE("a source that dies is followed by another, which goes on") {
  with_templates f{3};
  for (const std::size_t i : {1U, 2U})
    f.disks[i]->there["web"] = some_archive();
  f.tell();
  // What had come when the daemon was killed.
  f.disks[0]->partial["web@" + memory_templates::digest(some_archive())] =
      some_archive().substr(0, 2 * limits::frame_max);
  f.deaf.insert(f[1].context->node_id); // nothing reaches it, nobody knows yet
  const auto id = f.up(0, "n1");
  CHECK(f[0].answers<api::up_reply>(id).empty());
  f.cut(0, 1);
  REQUIRE(f[0].answers<api::up_reply>(id).size() == 1);
  REQUIRE(f.disks[2]->reads.size() == 4);
  CHECK(f.disks[2]->reads[0] == 2 * limits::frame_max);
  CHECK(f.disks[0]->there["web"] == some_archive());
}

TEST_CASE("a source that comes back within some seconds goes on") {
  with_templates f{2};
  f.disks[1]->there["web"] = some_archive();
  f.tell();
  f.deaf.insert(f[1].context->node_id);
  const auto id = f.up(0, "n1");
  f.cut(0, 1);
  CHECK(f[0].answers<api::up_reply>(id).empty());
  CHECK(f[0].answers<api::error_reply>(id).empty());
  f.deaf.clear();
  f.pass(1s);
  CHECK(f[0].answers<api::up_reply>(id).size() == 1);
}

TEST_CASE("a template that no source gives whole is refused, with the node") {
  with_templates f{2};
  f.disks[1]->there["web"] = some_archive();
  f.tell();
  SECTION("each piece is damaged") {
    f.disks[1]->damages = true;
    const auto id = f.up(0, "n1");
    f.pass_rounds();
    const auto why = f[0].error_of(id);
    CHECK(why.code == ec::unavailable);
    CHECK(why.message
          == "template \"web\" could not be fetched from node \"n2\": a piece "
             "came damaged");
  }
  SECTION("the whole is not what it was said to be") {
    f.disks[1]->lies = true;
    const auto id = f.up(0, "n1");
    f.pass(1s);
    const auto why = f[0].error_of(id);
    CHECK(why.code == ec::unavailable);
    CHECK(why.message
          == "template \"web\" could not be fetched from node \"n2\": the "
             "whole came damaged");
    CHECK(f.disks[1]->reads.size() == 12); // tried once more
  }
  SECTION("the source stays away") {
    f.deaf.insert(f[1].context->node_id);
    const auto id = f.up(0, "n1");
    for (int i = 0; i < 10; ++i) {
      CHECK(f[0].answers<api::error_reply>(id).empty());
      f.cut(0, 1);
      f.pass(1s);
    }
    const auto why = f[0].error_of(id);
    CHECK(why.code == ec::unavailable);
    CHECK(why.message.starts_with(
        "template \"web\" could not be fetched from node \"n2\": "));
  }
  SECTION("it has lost it meanwhile") {
    f.disks[1]->there.clear();
    const auto id = f.up(0, "n1");
    f.pass_rounds();
    CHECK(f[0].error_of(id).code == ec::unavailable);
  }
  CHECK(f.disks[0]->there.empty());
  CHECK(f[0].driver->running.empty());
}

TEST_CASE("a node without room for a template leaves it to another") {
  with_templates f{3};
  f.disks[2]->there["web"] = some_archive();
  f.tell();
  f.disks[0]->no_room = failure{ec::resource, "there is no room", "free it"};
  const auto refused = f.up(1, "n1");
  CHECK(f[1].error_of(refused).code == ec::no_capacity);
  CHECK(f[1].error_of(refused).message == "there is no room");
  f.ask(1, api::node_cordon{"n3", true});
  for (int i = 0; i < 4; ++i)
    CHECK(f[1].answers<api::up_reply>(f.up(1)).size() == 1);
  CHECK(f[1].driver->running.size() == 4);
}

TEST_CASE("a template that no node has is refused by whoever is asked") {
  with_templates f{3};
  f.disks[2]->there["web"] = some_archive();
  f.tell();
  const auto id = f.up(0, {}, "wep");
  CHECK(f[0].error_of(id).code == ec::not_found);
  CHECK(f[0].error_of(id).message
        == "there is no template \"wep\" on any node of the fleet");
  CHECK(f[0].error_of(id).hint == "there are: minimal, web");
  f.silence(2);
  const auto lost = f.up(0);
  CHECK(f[0].error_of(lost).code == ec::lost);
  CHECK(f[0].error_of(lost).message
        == "template \"web\" is on no node but on \"n3\", which is silent");
}

TEST_CASE("templates are given to nodes and admins alone") {
  with_templates f{2};
  f.disks[1]->there["web"] = some_archive();
  const auto asked = f.ask(1, api::template_read{"web", {}, 0}, "key:alice");
  CHECK(f[1].error_of(asked).code == ec::denied);
  const auto told = f.ask(1, api::template_read{"web", {}, 0});
  REQUIRE(f[1].answers<api::template_chunk>(told).size() == 1);
  CHECK(f[1].answers<api::template_chunk>(told)[0].size
        == some_archive().size());
}
