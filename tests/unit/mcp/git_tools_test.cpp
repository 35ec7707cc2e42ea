#include "tests/unit/mcp/git_support.hpp"

using namespace caged;
using caged::test::git_box;
using caged::test::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Changes of every common kind, staged and not.
void change_everything(const git_box& box) {
  box.start_repository();
  box.write("keep.sh", "#!/bin/sh\n");
  box.write("gone.txt", "gone\n");
  box.write("staged-gone.txt", "gone\n");
  box.write("noeol.txt", "a\nb");
  box.write("binary", std::string("\0\1\2", 3));
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "more"});
  box.write("a.txt", "one\n2\nthree\n");
  box.git({"add", "a.txt"});
  box.write("a.txt", "one\n2\nthree\nfour\n");
  box.write("noeol.txt", "a\nc");
  box.write("binary", std::string("\0\1\3", 3));
  box.git({"rm", "-q", "--cached", "staged-gone.txt"});
  std::filesystem::remove(box.ws + "/gone.txt");
  std::filesystem::permissions(box.ws + "/keep.sh",
                               std::filesystem::perms::owner_all);
  box.write("new staged.txt", "new\n");
  box.git({"add", "new staged.txt"});
  box.write("untracked/deep/file", "u\n");
  box.write("\xc3\xa4.txt", "umlaut\n");
  box.write("quote\"d\ttab", "q\n");
}

} // namespace

TEST_CASE("git_status says what git status --porcelain says") {
  git_box box;
  change_everything(box);
  auto got = box.call("git_status", json::object());
  REQUIRE_FALSE(got.is_error);
  CHECK(got.text == box.git({"status", "--porcelain", "--branch"}));
  CHECK(got.structured["branch"] == "main");
  CHECK(got.structured["clean"] == false);
  CHECK(got.structured["staged"] == 3);
  CHECK(got.structured["unstaged"] == 5);
  CHECK(got.structured["untracked"] == 4);
  got = box.call("git_status", {{"untracked", "all"}});
  CHECK(got.text == box.git({"status", "--porcelain", "--branch", "-uall"}));
  got = box.call("git_status", {{"untracked", "no"}});
  CHECK(got.text == box.git({"status", "--porcelain", "--branch", "-uno"}));
  got = box.call("git_status", {{"path", "untracked"}});
  CHECK(got.text == "## main\n?? untracked/\n");
}

TEST_CASE("git_status shows new, detached and tracking branches as git does") {
  git_box box;
  box.git({"init", "-q"});
  auto got = box.call("git_status", json::object());
  CHECK(got.text == "## No commits yet on main\n");
  CHECK(got.structured["clean"] == true);
  CHECK_FALSE(got.structured.contains("head"));
  box.start_repository();
  box.git({"clone", "-q", ".", "../upstream"});
  box.git({"remote", "add", "origin", "../upstream"});
  box.git({"fetch", "-q", "origin"});
  box.git({"branch", "-q", "-u", "origin/main"});
  box.git({"commit", "-q", "--allow-empty", "-m", "ahead"});
  got = box.call("git_status", json::object());
  CHECK(got.text == box.git({"status", "--porcelain", "--branch"}));
  CHECK(got.text == "## main...origin/main [ahead 1]\n");
  CHECK(got.structured["ahead"] == 1);
  box.git({"checkout", "-q", "HEAD~1"});
  got = box.call("git_status", json::object());
  CHECK(got.text == "## HEAD (no branch)\n");
  CHECK(got.structured["detached"] == true);
}

TEST_CASE("git_status lists ignored files and renames when asked") {
  git_box box;
  box.start_repository();
  box.write(".gitignore", "*.o\n");
  box.write("x.o", "o");
  box.git({"add", ".gitignore"});
  box.git({"mv", "a.txt", "moved.txt"});
  auto got = box.call("git_status", {{"ignored", true}, {"renames", true}});
  CHECK(got.text
        == box.git({"status", "--porcelain", "--branch", "--ignored"}));
  CHECK(has(got.text, "R  a.txt -> moved.txt\n"));
  got = box.call("git_status", json::object());
  CHECK(has(got.text, "D  a.txt\n"));
}

TEST_CASE("git_status shows unmerged files, and git_commit refuses them") {
  git_box box;
  box.start_repository();
  box.git({"checkout", "-qb", "side"});
  box.write("a.txt", "side\n");
  box.write("both", "side\n");
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "side"});
  box.git({"checkout", "-q", "main"});
  box.git({"rm", "-q", "a.txt"});
  box.write("both", "main\n");
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "main"});
  box.git({"merge", "side"});
  auto got = box.call("git_status", json::object());
  CHECK(has(got.text, "# merge in progress\n"));
  CHECK(has(got.text, "DU a.txt\n"));
  CHECK(has(got.text, "AA both\n"));
  CHECK(got.structured["state"] == "merge");
  CHECK(got.structured["conflicted"] == 2);
  got = box.call("git_diff", json::object());
  CHECK(has(got.text, "* Unmerged path both\n"));
  got = box.call("git_commit", {{"message", "m"}, {"all", true}});
  CHECK(got.is_error);
  CHECK(has(got.text, "a merge is in progress"));
  CHECK(has(got.text, "git merge --continue"));
}

TEST_CASE("git_status cuts long lists and says how many paths are left out") {
  git_box box;
  box.git({"init", "-q"});
  for (int i = 0; i < 300; ++i)
    box.write("f" + std::to_string(i), "");
  auto got = box.call("git_status", {{"limit", 100}});
  CHECK(got.structured["entries"].size() == 100);
  CHECK(got.structured["left_out"] == 200);
  CHECK(has(got.text, "# 200 more paths not shown"));
  CHECK(got.structured["untracked"] == 300);
}

TEST_CASE("git_diff says what git diff says") {
  git_box box;
  change_everything(box);
  auto got = box.call("git_diff", json::object());
  REQUIRE_FALSE(got.is_error);
  CHECK(got.text == box.git({"diff"}));
  CHECK(got.text_member == "diff");
  CHECK(got.structured["files_changed"] == 5);
  CHECK(got.structured["truncated"] == false);
  got = box.call("git_diff", {{"staged", true}});
  CHECK(got.text == box.git({"diff", "--staged"}));
  got = box.call("git_diff", {{"range", "HEAD"}});
  CHECK(got.text == box.git({"diff", "HEAD"}));
  got = box.call("git_diff", {{"range", "HEAD~1..HEAD"}});
  CHECK(got.text == box.git({"diff", "HEAD~1..HEAD"}));
  got = box.call("git_diff", {{"context", 0}, {"path", "a.txt"}});
  CHECK(got.text == box.git({"diff", "-U0", "--", "a.txt"}));
  got = box.call("git_diff", {{"path", {"a.txt", "noeol.txt"}}});
  CHECK(got.text == box.git({"diff", "--", "a.txt", "noeol.txt"}));
  got = box.call("git_diff", {{"path", box.ws + "/a.txt"}});
  CHECK(got.text == box.git({"diff", "--", "a.txt"}));
  got = box.call("git_diff", {{"path", "no*"}});
  CHECK(got.text == box.git({"diff", "--", "no*"}));
}

TEST_CASE("git_diff finds renames as git does, and what forked off") {
  git_box box;
  box.start_repository();
  box.git({"mv", "a.txt", "moved.txt"});
  box.write("moved.txt", "one\ntwo\nthree\nfour\n");
  box.git({"add", "-A"});
  auto got = box.call("git_diff", {{"staged", true}});
  // All but the degree of similarity, which each counts in its own way.
  const auto tail = [](const std::string& text) {
    return text.substr(text.find("rename from"));
  };
  CHECK(tail(got.text) == tail(box.git({"diff", "--staged"})));
  CHECK(got.structured["files"][0]["from"] == "a.txt");
  box.git({"commit", "-qm", "moved"});
  box.git({"checkout", "-qb", "side", "HEAD~1"});
  box.write("side", "s\n");
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "side"});
  got = box.call("git_diff", {{"range", "main...side"}});
  CHECK(got.text == box.git({"diff", "main...side"}));
  CHECK(got.structured["files_changed"] == 1);
}

TEST_CASE("git_diff with stat_only gives numbers, as git diff --stat") {
  git_box box;
  box.start_repository();
  box.write("a.txt", "one\n2\nthree\nfour\n");
  auto got = box.call("git_diff", {{"stat_only", true}});
  CHECK(got.text == box.git({"diff", "--stat"}));
  CHECK(got.structured["insertions"] == 2);
  CHECK(got.structured["deletions"] == 1);
}

TEST_CASE("git_diff without changes says so in words") {
  git_box box;
  box.start_repository();
  auto got = box.call("git_diff", json::object());
  CHECK(has(got.text, "no unstaged changes"));
  CHECK(got.structured["diff"] == "");
  got = box.call("git_diff", {{"staged", true}});
  CHECK(got.text == "no changes\n");
}

TEST_CASE("git_diff refuses what is no revision, with how to go on") {
  git_box box;
  box.start_repository();
  for (const auto* range : {"nothing", "-x", "--output=x", "HEAD~99", "a..b..c",
                            "HEAD:", ":/nothing-like-it"}) {
    INFO(range);
    auto got = box.call("git_diff", {{"range", range}});
    if (std::string_view{range} != "HEAD:") {
      CHECK(got.is_error);
      CHECK(has(got.text, "Hint: "));
    }
  }
  auto got = box.call("git_diff", {{"range", "HEAD..HEAD"}, {"staged", true}});
  CHECK(got.is_error);
}

TEST_CASE("git_log says what git log says, and pages") {
  git_box box;
  box.start_repository();
  for (int i = 0; i < 30; ++i)
    box.git({"commit", "-q", "--allow-empty", "-m",
             "commit " + std::to_string(i) + "\n\nbody of it\n\nmore"});
  box.git({"checkout", "-qb", "side", "HEAD~3"});
  box.write("dir/c.txt", "c\n");
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "side"});
  box.git({"checkout", "-q", "main"});
  box.git({"merge", "-q", "--no-ff", "-m", "merge it", "side"});
  auto got = box.call("git_log", {{"count", 1000}});
  REQUIRE_FALSE(got.is_error);
  CHECK(got.text == box.git({"log"}));
  CHECK(got.structured["commits"].size() == 33);
  CHECK(got.structured["more"] == false);
  got = box.call("git_log", {{"count", 1000}, {"oneline", true}});
  CHECK(got.text == box.git({"log", "--oneline"}));
  got = box.call("git_log", {{"path", "dir"}});
  CHECK(got.text == box.git({"log", "--", "dir"}));
  CHECK(got.structured["commits"].size() == 2);
  got = box.call("git_log", {{"ref", "side"}, {"count", 2}, {"oneline", true}});
  CHECK(has(got.text, "# more: skip=2\n"));
  CHECK(got.structured["next_skip"] == 2);
  got = box.call("git_log", {{"ref", "main..side"}});
  CHECK(got.text == "no commits\n");
  got = box.call("git_log", {{"ref", "HEAD~1..HEAD"}, {"oneline", true}});
  CHECK(got.text == box.git({"log", "--oneline", "HEAD~1..HEAD"}));
  got = box.call("git_log", json::object());
  CHECK(got.structured["commits"].size() == 10);
  CHECK(got.structured["commits"][0]["parents"].size() == 2);
}

TEST_CASE("git_log of a branch without commits says so") {
  git_box box;
  box.git({"init", "-q"});
  auto got = box.call("git_log", json::object());
  CHECK(got.is_error);
  CHECK(has(got.text, "no commits yet"));
}

TEST_CASE("git_commit commits what is staged, named files, or everything") {
  git_box box;
  box.git({"init", "-q"});
  box.write("a.txt", "a\n");
  auto got = box.call("git_commit", {{"message", "m"}});
  CHECK(got.is_error);
  CHECK(has(got.text, "nothing is staged, 1 path changed"));
  CHECK(has(got.text, "all: true"));
  got = box.call("git_commit",
                 {{"message", "\nfirst \n\n\n\nbody\n\n"}, {"files", "a.txt"}});
  REQUIRE_FALSE(got.is_error);
  const auto id = got.structured["id"].get<std::string>();
  CHECK(box.git({"rev-parse", "HEAD"}) == id + "\n");
  CHECK(got.text
        == "[main (root-commit) " + id.substr(0, 7)
               + "] first\n 1 file changed, 1 insertion(+)\n");
  CHECK(box.git({"log", "-1", "--format=%an <%ae>|%cn|%B"})
        == "Ada Test <ada@example.org>|Ada Test|first\n\nbody\n\n");
  CHECK(has(box.git({"reflog", "-1"}), "commit (initial): "));

  box.write("b.txt", "b\n");
  box.git({"add", "b.txt"});
  box.write("c.txt", "c\n");
  got = box.call("git_commit",
                 {{"message", "second"}, {"author", "Eve <eve@example.org>"}});
  REQUIRE_FALSE(got.is_error);
  CHECK(box.git({"log", "-1", "--format=%an|%cn", "--name-only"})
        == "Eve|Ada Test\n\nb.txt\n");
  std::filesystem::remove(box.ws + "/a.txt");
  box.write("d/e", "e\n");
  got =
      box.call("git_commit", {{"message", "third"}, {"files", {"a.txt", "d"}}});
  REQUIRE_FALSE(got.is_error);
  CHECK(box.git({"log", "-1", "--format=", "--name-status"})
        == "D\ta.txt\nA\td/e\n");
  got = box.call("git_commit", {{"message", "fourth"}, {"all", true}});
  REQUIRE_FALSE(got.is_error);
  CHECK(box.git({"status", "--porcelain"}).empty());
  box.git({"fsck", "--strict"});
  CHECK(box.last_exit == 0);
  got = box.call("git_commit", {{"message", "m"}, {"all", true}});
  CHECK(has(got.text, "there is nothing to commit"));
}

TEST_CASE("git_commit refuses files that are ignored, absent or elsewhere") {
  git_box box;
  box.start_repository();
  box.write(".gitignore", "*.o\n");
  box.write("x.o", "o");
  box.write("y", "y");
  const auto head = box.git({"rev-parse", "HEAD"});
  for (const json& files :
       {json{"x.o"}, json{"nothing"}, json{"../outside/secret.txt"},
        json{"y", "nothing"}, json{box.outside + "/secret.txt"},
        json{".git/config"}, json{"dir/../../outside"}}) {
    INFO(files.dump());
    auto got = box.call("git_commit", {{"message", "m"}, {"files", files}});
    CHECK(got.is_error);
    CHECK(has(got.text, "Hint: "));
    box.check_harmless(got);
  }
  CHECK(box.git({"rev-parse", "HEAD"}) == head);
  CHECK(box.git({"diff", "--staged"}).empty());
}

TEST_CASE("git_commit wants an author and a message") {
  git_box box;
  box.config.git_author.clear();
  box.start_repository();
  box.write("a.txt", "changed\n");
  auto got = box.call("git_commit", {{"message", "m"}, {"all", true}});
  CHECK(got.is_error);
  CHECK(has(got.text, "nobody is named as the author"));
  CHECK(has(got.text, "--git-author"));
  for (const auto* author :
       {"Eve", "<eve@x>", "Eve <>", "Eve <a> x", "Eve <a\nb>", "Eve\n<a@b>"}) {
    INFO(author);
    got = box.call("git_commit", {{"message", "m"}, {"author", author}});
    CHECK(got.is_error);
    CHECK(has(got.text, "Name <mail>"));
  }
  for (const auto* message : {"", "  \n\n "}) {
    got = box.call("git_commit",
                   {{"message", message}, {"author", "Eve <eve@example.org>"}});
    CHECK(got.is_error);
    CHECK(has(got.text, "the commit message is empty"));
  }
  box.append_config("[user]\n name = Cid\n email = cid@example.org\n");
  got = box.call("git_commit", {{"message", "m"}, {"all", true}});
  REQUIRE_FALSE(got.is_error);
  CHECK(box.git({"log", "-1", "--format=%an <%ae>"})
        == "Cid <cid@example.org>\n");
}

TEST_CASE("git_commit runs hooks only when the server allows them") {
  git_box box;
  box.start_repository();
  box.write(".git/hooks/pre-commit",
            "#!/bin/sh\necho pre >>hooked\necho \"$SECRET_KEY\" >>hooked\n",
            0755);
  box.write(".git/hooks/commit-msg",
            "#!/bin/sh\necho 'From the hook' >>\"$1\"\n", 0755);
  box.write("a.txt", "changed\n");
  ::setenv("SECRET_KEY", git_box::secret, 1);
  SECTION("allowed") {
    box.config.allow_hooks = true;
    auto got = box.call("git_commit", {{"message", "m"}, {"files", "a.txt"}});
    REQUIRE_FALSE(got.is_error);
    CHECK(test::read_file(box.ws + "/hooked") == "pre\n\n");
    CHECK(box.git({"log", "-1", "--format=%B"}) == "m\nFrom the hook\n\n");
    box.write(".git/hooks/pre-commit", "#!/bin/sh\necho no way\nexit 1\n",
              0755);
    box.write("a.txt", "again\n");
    got = box.call("git_commit", {{"message", "m"}, {"files", "a.txt"}});
    CHECK(got.is_error);
    CHECK(has(got.text, "the hook pre-commit refused the commit:\nno way"));
    // Elsewhere: not even then.
    box.append_config("[core]\n hooksPath = " + box.outside + "\n");
    test::write_file(box.outside + "/pre-commit",
                     "#!/bin/sh\n" + box.evil + " </dev/null\n", 0755);
    got = box.call("git_commit", {{"message", "m"}, {"files", "a.txt"}});
    CHECK(got.is_error);
    box.check_harmless(got);
  }
  SECTION("not allowed") {
    auto got = box.call("git_commit", {{"message", "m"}, {"files", "a.txt"}});
    REQUIRE_FALSE(got.is_error);
    CHECK_FALSE(std::filesystem::exists(box.ws + "/hooked"));
    CHECK(box.git({"log", "-1", "--format=%B"}) == "m\n\n");
  }
  ::unsetenv("SECRET_KEY");
}

TEST_CASE("a read-only server has no git_commit and writes nothing") {
  git_box box;
  box.config.read_only = true;
  box.start_repository();
  const auto index = test::read_file(box.ws + "/.git/index");
  std::filesystem::last_write_time(box.ws + "/a.txt",
                                   std::filesystem::file_time_type::clock::now()
                                       - std::chrono::hours{1});
  auto got = box.call("git_status", json::object());
  CHECK(got.text == "## main\n");
  CHECK(box.tools.find("git_commit") == nullptr);
  CHECK(test::read_file(box.ws + "/.git/index") == index);
  // The worker itself refuses, whatever asks it.
  test::git_workers workers{box, true, false};
  CHECK(has(workers.all({{"op", "commit"}, {"message", "m"}}), "read-only"));
}

TEST_CASE("git_status refreshes the index of a writable server, so that the "
          "next one need not read the files again") {
  git_box box;
  box.start_repository();
  const auto index = test::read_file(box.ws + "/.git/index");
  std::filesystem::last_write_time(box.ws + "/a.txt",
                                   std::filesystem::file_time_type::clock::now()
                                       - std::chrono::hours{1});
  auto got = box.call("git_status", json::object());
  CHECK(got.text == "## main\n");
  CHECK(test::read_file(box.ws + "/.git/index") != index);
}

TEST_CASE("git tools serve a repository below the workspace") {
  git_box box;
  std::filesystem::create_directories(box.ws + "/sub/project");
  box.git({"init", "-q"}, {}, box.ws + "/sub/project");
  box.write("sub/project/x", "x\n");
  auto got = box.call("git_status", json::object());
  CHECK(got.is_error);
  CHECK(has(got.text, "there is no git repository in"));
  got = box.call("git_status", {{"repository", "sub/project"}});
  CHECK(has(got.text, "?? x\n"));
  got = box.call("git_commit", {{"message", "m"},
                                {"files", box.ws + "/sub/project/x"},
                                {"repository", box.ws + "/sub/project"}});
  CHECK_FALSE(got.is_error);
  got = box.call("git_status", {{"repository", "../outside"}});
  CHECK(got.is_error);
}

TEST_CASE("git tools do not use a repository above the workspace") {
  git_box box;
  box.git({"init", "-q"}, {}, box.base.path());
  auto all = box.try_everything();
  for (const auto& [name, got] : all) {
    INFO(name);
    CHECK(got.is_error);
    CHECK(has(got.text, "there is no git repository in"));
  }
}
