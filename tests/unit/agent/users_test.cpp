#include "agent/users.hpp"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::agent;

namespace {

struct tables {
  test::temp_dir dir;
  tables(const std::string& passwd, const std::string& group) {
    ::mkdir((dir / "etc").c_str(), 0755);
    test::write_file(dir / "etc/passwd", passwd);
    test::write_file(dir / "etc/group", group);
  }
};

} // namespace

TEST_CASE("users are found by name, uid, and uid:gid") {
  tables etc{"root:x:0:0:root:/root:/bin/bash\n"
             "broken:line\n"
             "dev:x:1000:1001:Dev,,,:/home/dev:/bin/zsh\n"
             "bare:x:5:6:::\n",
             "root:x:0:\ndocker:x:99:other,dev\nwheel:x:10:dev\n"};
  auto dev = find_user("dev", etc.dir.path());
  REQUIRE(dev);
  CHECK(dev->uid == 1000);
  CHECK(dev->gid == 1001);
  CHECK(dev->home == "/home/dev");
  CHECK(dev->shell == "/bin/zsh");
  CHECK(dev->groups == std::vector<gid_t>{1001, 99, 10});
  CHECK(find_user("1000", etc.dir.path())->name == "dev");
  auto bare = find_user("bare", etc.dir.path());
  CHECK(bare->home == "/");
  CHECK(bare->shell == "/bin/sh");
  auto unknown = find_user("77", etc.dir.path());
  REQUIRE(unknown);
  CHECK(unknown->uid == 77);
  CHECK(unknown->gid == 77);
  CHECK(unknown->name == "77");
  auto both = find_user("1000:5", etc.dir.path());
  CHECK(both->uid == 1000);
  CHECK(both->gid == 5);
}

TEST_CASE("a user that cannot be is refused") {
  tables etc{"root:x:0:0::/root:/bin/sh\nevil:x:-1:0::/:/bin/sh\n", ""};
  for (const auto* name : {"nobody", "evil", "4294967295", "4294967296",
                           "1:", "1:x", ":1", "-1", "1:4294967295", "x:1"}) {
    CAPTURE(name);
    auto got = find_user(name, etc.dir.path());
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::bad_request);
  }
}

TEST_CASE("without passwd the agent's own user still works") {
  test::temp_dir empty;
  CHECK(find_user("", empty.path()));
}
