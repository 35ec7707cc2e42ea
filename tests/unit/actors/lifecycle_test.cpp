#include <catch2/catch.hpp>

#include "actors/lifecycle.hpp"

using namespace caged;

TEST_CASE("every state but destroyed can go on to be destroyed") {
  for (auto state : {phase::pending, phase::running, phase::unhealthy,
                     phase::paused, phase::failed, phase::lost})
    CHECK(may_change(state, phase::stopping));
  CHECK(may_change(phase::stopping, phase::destroyed));
  CHECK_FALSE(may_change(phase::destroyed, phase::running));
  CHECK_FALSE(may_change(phase::failed, phase::running));
  CHECK_FALSE(may_change(phase::pending, phase::destroyed));
}

TEST_CASE("an exec is refused with the state and what to do") {
  cause why;
  why.text = "out of memory";
  CHECK(allows_exec("cage-a", phase::running, why));
  auto failed = allows_exec("cage-a", phase::failed, why);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ec::wrong_state);
  CHECK(failed.error().message.find("out of memory") != std::string::npos);
  CHECK(failed.error().hint.find("caged why cage-a") != std::string::npos);
  CHECK(allows_exec("cage-a", phase::lost, why).error().code
        == ec::unavailable);
}

TEST_CASE("what does not fit is refused with everything that is missing") {
  capacity total{4, 2048, 20}, reserved{3, 1024, 0};
  sandbox_spec wanted;
  wanted.cpus = 2;
  wanted.memory_mb = 2048;
  wanted.disk_gb = 5;
  auto room = fits(total, reserved, wanted);
  REQUIRE_FALSE(room);
  CHECK(room.error().code == ec::no_capacity);
  CHECK(room.error().message
        == "the node is full: 2 cpus asked, 1 of 4 free, 2048 MB of memory "
           "asked, 1024 of 2048 free");
  wanted.cpus = 1;
  wanted.memory_mb = 1024;
  CHECK(fits(total, reserved, wanted));
}

TEST_CASE("a failed sandbox holds its disk and nothing else") {
  capacity reserved;
  sandbox_spec spec;
  reserve(reserved, spec, phase::running);
  CHECK(reserved.cpus == spec.cpus);
  unreserve(reserved, spec, phase::running);
  reserve(reserved, spec, phase::failed);
  CHECK(reserved.cpus == 0);
  CHECK(reserved.memory_mb == 0);
  CHECK(reserved.disk_gb == spec.disk_gb);
  unreserve(reserved, spec, phase::failed);
  CHECK(reserved.disk_gb == 0);
}

TEST_CASE("audit tells owned, orphaned and missing resources apart") {
  lease cgroup{"cgroup", "/c/a"}, loop{"loop", "/d/a"}, stray{"cgroup", "/c/b"};
  auto rows =
      audit({{"a", cgroup}, {"a", loop}}, {{cgroup, "a"}, {stray, "b"}}, {"a"});
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].verdict == "owned");
  CHECK(rows[1].verdict == "missing");
  CHECK(rows[1].kind == "loop");
  CHECK(rows[2].verdict == "orphan");
  CHECK(rows[2].name == "/c/b");
  // What a half-made sandbox has not reached yet is not missing.
  CHECK(audit({{"a", loop}}, {}, {}).empty());
}
