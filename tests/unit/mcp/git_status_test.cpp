#include <fstream>

#include "tests/support/chance.hpp"
#include "tests/unit/mcp/git_support.hpp"

// git_status asks libgit2 only about paths that may differ (git/narrow.cpp);
// what it says must be what libgit2 says of everything, and git.

using namespace caged::test;
using caged::mcp::json;
namespace fs = std::filesystem;

namespace {

/// By a pattern, which is not narrowed down.
std::string of_everything(git_box& box, json how) {
  how["path"] = "*";
  return box.call("git_status", how).text;
}

void all_agree(git_box& box) {
  for (const auto& [mode, flag] :
       {std::pair{"normal", "-unormal"}, {"all", "-uall"}, {"no", "-uno"}}) {
    const auto got = box.call("git_status", {{"untracked", mode}});
    REQUIRE_FALSE(got.is_error);
    CHECK(got.text == of_everything(box, {{"untracked", mode}}));
    CHECK(got.text == box.git({"status", "--porcelain", "--branch", flag}));
  }
  const json ignored{{"ignored", true}};
  CHECK(box.call("git_status", ignored).text == of_everything(box, ignored));
}

/// Something happens to a worktree, its index or its HEAD.
class mischief {
public:
  mischief(git_box& box, chance& by) : box_{box}, by_{by} {}

  std::string once() {
    const auto a = some(), b = some();
    switch (by_.below(14)) {
    case 0:
      return write(a, "new " + std::to_string(by_.below(9)) + "\n");
    case 1:
      return write(a + ".o", "object\n");
    case 2:
      remove(a);
      return "rm -r " + a;
    case 3: {
      std::error_code none;
      fs::create_directories(at(fs::path{b}.parent_path()), none);
      fs::rename(at(a), at(b), none);
      return "mv " + a + " " + b;
    }
    case 4:
      remove(a);
      return ::symlink("top.txt", at(a).c_str()) == 0 ? "ln -s " + a : "";
    case 5:
      ::chmod(at(a).c_str(), by_.below(2) == 0 ? 0755 : 0644);
      return "chmod " + a;
    case 6:
      return git({"add", "-A", a});
    case 7:
      return git({"add", "-A"});
    case 8:
      return git({"rm", "-rq", "--cached", "--ignore-unmatch", a});
    case 9:
      return git({"commit", "-qm", "more"});
    case 10:
      return git({"reset", "-q", "HEAD", "--", a});
    case 11: {
      std::error_code none;
      fs::create_directories(at(a + "/empty"), none);
      return "mkdir " + a + "/empty";
    }
    case 12:
      return write(".gitignore", by_.below(2) == 0 ? "*.o\nd1/\n" : "*.o\n");
    default:
      return git({"checkout", "-q", "HEAD", "--", a});
    }
  }

private:
  std::string at(const std::string& name) const { return box_.ws + "/" + name; }
  std::string some() {
    static const char* const names[] = {"top.txt", "d0", "d1", "d.x", "d0.txt"};
    std::string out = names[by_.below(5)];
    for (unsigned depth = by_.below(3); depth > 0; --depth)
      out += std::string{"/"} + "fghij"[by_.below(5)];
    return out;
  }
  void remove(const std::string& name) const {
    std::error_code none;
    fs::remove_all(at(name), none);
  }
  std::string write(const std::string& name, const std::string& text) {
    std::error_code none;
    fs::create_directories(fs::path{at(name)}.parent_path(), none);
    std::ofstream{at(name)} << text; // not where a file is in the way
    return "write " + name + ": " + text;
  }
  std::string git(const std::vector<std::string>& argv) {
    box_.git(argv);
    std::string out = "git";
    for (const auto& each : argv)
      out += " " + each;
    return out;
  }

  git_box& box_;
  chance& by_;
};

} // namespace

TEST_CASE("git_status says the same of what may differ as of everything") {
  INFO("CAGED_SEED=" << seed());
  chance by;
  for (int round = 0; round < 4; ++round) {
    git_box box;
    box.git({"init", "-q"});
    box.write("top.txt", "top\n");
    box.write(".gitignore", "*.o\n");
    mischief some{box, by};
    std::string done;
    for (int step = 0; step < 40; ++step) {
      done += some.once() + "\n";
      if (step % 3 != 0)
        continue;
      INFO(done);
      all_agree(box);
    }
  }
}

TEST_CASE("git_status minds the new HEAD of an old index, and the reverse") {
  git_box box;
  box.start_repository();
  CHECK(box.call("git_status", json::object()).structured["clean"] == true);
  box.git({"commit", "-q", "--allow-empty", "-m", "same tree"});
  CHECK(box.call("git_status", json::object()).structured["clean"] == true);
  box.write("new.txt", "n\n");
  box.git({"add", "new.txt"});
  all_agree(box);
  box.git({"commit", "-qm", "new"});
  all_agree(box);
  box.git({"reset", "-q", "--soft", "HEAD~1"});
  const auto got = box.call("git_status", json::object());
  CHECK(got.text == "## main\nA  new.txt\n");
  box.git({"reset", "-q"});
  all_agree(box);
}

TEST_CASE("git_status knows repositories and too much in a worktree") {
  git_box box;
  box.start_repository();
  SECTION("another repository") {
    box.git({"init", "-q", "other"});
    box.write("other/x", "x\n");
    all_agree(box);
  }
  SECTION("a repository where files of this one are") {
    box.git({"init", "-q", "dir"});
    const auto got = box.call("git_status", json::object());
    CHECK(got.text == of_everything(box, json::object()));
  }
  SECTION("more untracked files than are looked at one by one") {
    for (int i = 0; i < 1100; ++i)
      box.write("many" + std::to_string(i), "x\n");
    const auto got = box.call("git_status", {{"limit", 2000}});
    CHECK(got.structured["untracked"] == 1100);
  }
  SECTION("an index without a checksum of its own") {
    box.git({"config", "index.skipHash", "true"});
    box.write("b.txt", "b\n");
    box.git({"add", "b.txt"});
    all_agree(box);
    box.git({"rm", "-q", "--cached", "b.txt"});
    all_agree(box);
  }
}
