#include "tests/unit/mcp/git_support.hpp"

// Changes that are found by looking at each file of the index (git/changed.cpp)
// must be those that git finds.

using namespace caged::test;
using caged::mcp::json;

namespace {

/// Forty files, all older than the index: only what is done to them later can
/// make git look into one.
void start_aged(const git_box& box) {
  box.git({"init", "-q"});
  for (int folder = 0; folder < 4; ++folder)
    for (int file = 0; file < 10; ++file)
      box.write("d" + std::to_string(folder) + "/in/f" + std::to_string(file),
                "text of " + std::to_string(folder * 10 + file) + "\n");
  box.write("top.txt", "top\n");
  run({"find", box.ws, "-path", "*/.git", "-prune", "-o", "-type", "f", "-exec",
       "touch", "-d", "1 hour ago", "{}", "+"});
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "aged"});
}

void same_as_git(git_box& box) {
  const auto wanted = box.git({"diff"});
  const auto got = box.call("git_diff", json::object());
  REQUIRE_FALSE(got.is_error);
  if (wanted.empty())
    CHECK(got.structured["files_changed"] == 0);
  else
    CHECK(got.text == wanted);
}

} // namespace

TEST_CASE("each way to change a file shows up in git_diff") {
  git_box box;
  start_aged(box);
  same_as_git(box);
  const auto at = [&](const char* name) { return box.ws + "/" + name; };
  SECTION("the same size") {
    box.write("d0/in/f3", "text OF 3\n");
  }
  SECTION("only its permission") {
    ::chmod(at("d1/in/f1").c_str(), 0755);
  }
  SECTION("only its time: no change") {
    run({"touch", at("d1/in/f1")});
  }
  SECTION("gone, and another one with its name elsewhere") {
    ::unlink(at("d1/in/f1").c_str());
    box.write("f1", "text of 11\n");
  }
  SECTION("a folder moved away, with a link to it in its place") {
    REQUIRE(::rename(at("d2/in").c_str(), at("d2/out").c_str()) == 0);
    REQUIRE(::symlink("out", at("d2/in").c_str()) == 0);
  }
  SECTION("a file became a folder, another one a link") {
    ::unlink(at("top.txt").c_str());
    box.write("top.txt/inner", "x\n");
    ::unlink(at("d3/in/f0").c_str());
    REQUIRE(::symlink("f1", at("d3/in/f0").c_str()) == 0);
  }
  SECTION("taken as unchanged, and outside of a sparse checkout") {
    box.write("top.txt", "other\n");
    box.git({"update-index", "--assume-unchanged", "top.txt"});
    box.git({"update-index", "--skip-worktree", "d0/in/f0"});
    ::unlink(at("d0/in/f0").c_str());
  }
  SECTION("names that look like patterns") {
    box.write("d0/[x]*?", "a\n");
    box.git({"add", "-A"});
    box.write("d0/[x]*?", "b\n");
  }
  same_as_git(box);
}

// Git for Debian looks at whole seconds of a file's times, and misses this one
// when it is quick.
TEST_CASE("a file with the size and time that it had shows up in git_diff") {
  git_box box;
  start_aged(box);
  box.write("d0/in/f3", "text OF 3\n");
  run({"touch", "-r", box.ws + "/d0/in/f4", box.ws + "/d0/in/f3"});
  const auto got = box.call("git_diff", json::object());
  CHECK(got.text.find("+text OF 3\n") != std::string::npos);
}

TEST_CASE("a change of everything shows up in git_diff") {
  git_box box;
  start_aged(box);
  for (int i = 0; i < 1100; ++i)
    box.write("many/" + std::to_string(i), "x\n");
  box.git({"add", "-A"});
  for (int i = 0; i < 1100; ++i)
    box.write("many/" + std::to_string(i), "y\n");
  const auto got = box.call("git_diff", {{"stat_only", true}});
  CHECK(got.structured["files_changed"] == 1100);
}

TEST_CASE("a file written as soon as it was added shows up in git_diff") {
  git_box box;
  box.git({"init", "-q"});
  for (int turn = 0; turn < 20; ++turn) {
    const auto name = "f" + std::to_string(turn);
    box.write(name, "old\n");
    box.git({"add", name});
    box.write(name, "new\n"); // often within the clock's tick
    same_as_git(box);
  }
}
