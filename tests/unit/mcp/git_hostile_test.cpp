#include <csignal>
#include <fstream>
#include <thread>

#include <fcntl.h>

#include "tests/unit/mcp/git_support.hpp"

using namespace caged;
using caged::test::git_box;
using caged::test::git_workers;
using caged::test::json;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::vector<json> reads{{{"op", "status"}, {"ignored", true}},
                              {{"op", "diff"}},
                              {{"op", "diff"}, {"staged", true}},
                              {{"op", "diff"}, {"range", "HEAD"}},
                              {{"op", "log"}}};

/// Every operation is refused with this sentence and lets nothing out, with
/// and without Landlock.
void check_refused(const git_box& box, const std::string& sentence,
                   const std::string& without_landlock) {
  for (const bool landlock : {true, false}) {
    git_workers workers{box, landlock};
    auto requests = reads;
    requests.push_back({{"op", "commit"},
                        {"message", "m"},
                        {"all", true},
                        {"author", "Ada <ada@example.org>"}});
    for (const auto& request : requests) {
      INFO(request.dump() << (landlock ? " landlock" : " no landlock"));
      const auto got = workers.all(request);
      CHECK(got[0] == '<');
      CHECK(has(got, landlock ? sentence : without_landlock));
      CHECK_FALSE(has(got, git_box::secret));
    }
  }
  CHECK_FALSE(fs::exists(box.base.path() + "/marker"));
}

/// Every operation answers something harmless, with and without Landlock, and
/// the worker lives.
void check_harmless_both(git_box& box) {
  box.try_everything();
  git_workers workers{box, false};
  for (const auto& request : reads) {
    INFO(request.dump());
    const auto got = workers.all(request);
    CHECK_FALSE(has(got, git_box::secret));
    CHECK_FALSE(has(got, "ended in the middle"));
  }
  CHECK_FALSE(fs::exists(box.base.path() + "/marker"));
}

} // namespace

TEST_CASE("hooks of a repository do not run") {
  git_box box;
  box.start_repository();
  for (const auto* hook :
       {"pre-commit", "prepare-commit-msg", "commit-msg", "post-commit",
        "reference-transaction", "post-index-change", "fsmonitor-watchman",
        "post-rewrite", "pre-auto-gc"})
    fs::copy_file(box.evil, box.ws + "/.git/hooks/" + hook);
  box.write("a.txt", "changed\n");
  auto got = box.try_everything();
  CHECK_FALSE(got["commit"].is_error);
}

TEST_CASE("no program that a configuration names runs") {
  git_box box;
  box.start_repository();
  box.git({"remote", "add", "origin", "ext::" + box.evil});
  const auto& evil = box.evil;
  box.append_config(
      "[core]\n fsmonitor = " + evil + "\n fsmonitorHookVersion = 2\n pager = "
      + evil + "\n editor = " + evil + "\n sshCommand = " + evil
      + "\n askPass = " + evil + "\n hooksPath = " + box.base.path()
      + "\n alternateRefsCommand = " + evil
      + "\n untrackedCache = true\n"
        "[diff]\n external = "
      + evil + "\n algorithm = evil\n[diff \"evil\"]\n textconv = " + evil
      + "\n command = " + evil
      + "\n cachetextconv = true\n[merge \"evil\"]\n"
        " driver = "
      + evil + "\n[gpg]\n program = " + evil + "\n[gpg \"ssh\"]\n program = "
      + evil + "\n[commit]\n gpgSign = true\n template = " + evil
      + "\n[log]\n showSignature = true\n[credential]\n helper = !" + evil
      + "\n[alias]\n status = !" + evil + "\n diff = !" + evil
      + "\n[uploadpack]\n packObjectsHook = " + evil
      + "\n[interactive]\n diffFilter = " + evil + "\n[sequence]\n editor = "
      + evil + "\n[trailer \"x\"]\n command = " + evil + "\n");
  box.write(".gitattributes", "* diff=evil merge=evil\n");
  box.write("a.txt", "changed\n");
  auto got = box.try_everything();
  CHECK(has(got["diff"].text, "+changed\n"));
  CHECK_FALSE(got["commit"].is_error);
  CHECK(has(got["commit"].text, "# not signed"));
}

TEST_CASE("filters do not run, and files that want one are not committed raw") {
  git_box box;
  box.start_repository();
  box.append_config("[filter \"evil\"]\n clean = " + box.evil
                    + "\n smudge = " + box.evil + "\n process = " + box.evil
                    + "\n required = true\n");
  box.write(".gitattributes", "*.txt filter=evil\n");
  box.write("a.txt", "changed\n");
  auto got = box.try_everything();
  CHECK(got["commit"].is_error);
  CHECK(has(got["commit"].text, "has the filter \"evil\""));
  CHECK(box.git({"log", "--oneline"}).find('\n')
        == box.git({"log", "--oneline"}).size() - 1);
}

TEST_CASE("included files outside give nothing away") {
  git_box box;
  box.config.git_author.clear();
  box.start_repository();
  test::write_file(box.outside + "/config", std::string{"[user]\n name = "}
                                                + git_box::secret
                                                + "\n email = x@example.org\n");
  box.append_config("[include]\n path = " + box.outside
                    + "/config\n[includeIf \"gitdir:/**\"]\n path = "
                      "../../outside/config\n");
  box.write("a.txt", "changed\n");
  auto got = box.try_everything();
  CHECK(has(got["status"].text, "a setting of this repository leads"));
  // Nothing outside became the author.
  CHECK(got["commit"].is_error);
  git_workers workers{box, false};
  CHECK(has(workers.all({{"op", "status"}}), "[include"));
}

TEST_CASE("core.worktree elsewhere is refused") {
  git_box box;
  box.start_repository();
  for (const auto& where : {box.outside, std::string{"../../outside"}}) {
    box.write(".git/config", "[core]\n worktree = " + where + "\n");
    check_refused(box, "core.worktree is not the folder", "worktree");
  }
}

TEST_CASE("a .git file that names a repository outside is refused") {
  git_box box;
  const auto elsewhere = box.outside + "/repo";
  box.git({"init", "-q", elsewhere});
  test::write_file(elsewhere + "/s", git_box::secret);
  box.git({"-C", elsewhere, "add", "s"});
  box.git({"-C", elsewhere, "commit", "-qm", git_box::secret});
  for (const auto& line : {"gitdir: " + elsewhere + "/.git\n",
                           std::string{"gitdir: ../outside/repo/.git\n"},
                           "gitdir: " + box.ws + "/../outside/repo/.git"}) {
    INFO(line);
    box.write(".git", line);
    check_refused(box, ".git leads out of the workspace",
                  "refuses on a kernel without Landlock");
  }
}

TEST_CASE(".git as a link to outside is refused") {
  git_box box;
  box.git({"init", "-q", box.outside});
  box.git({"-C", box.outside, "add", "-A"});
  box.git({"-C", box.outside, "commit", "-qm", git_box::secret});
  box.link(box.outside + "/.git", ".git");
  check_refused(box, ".git leads out of the workspace",
                "refuses on a kernel without Landlock");
}

TEST_CASE("objects, references and files of .git as links to outside are "
          "refused") {
  for (const auto* name : {"objects", "refs", "HEAD", "index", "config",
                           "packed-refs", "info", "objects/pack"}) {
    INFO(name);
    git_box box;
    box.start_repository();
    box.git({"pack-refs", "--all"});
    const auto inside = box.ws + "/.git/" + name;
    const auto moved = box.outside + "/moved";
    fs::rename(inside, moved);
    fs::create_symlink(moved, inside);
    check_refused(box, "leads out of the workspace",
                  "refuses on a kernel without Landlock");
  }
}

TEST_CASE("alternates outside are refused") {
  git_box box;
  box.start_repository();
  box.git({"clone", "-q", ".", box.outside + "/repo"});
  for (const auto& line : {box.outside + "/repo/.git/objects\n",
                           std::string{"../../../outside/repo/.git/objects"},
                           "\n#x\n" + box.outside + "\n"}) {
    box.write(".git/objects/info/alternates", line);
    check_refused(box, "alternates leads out of the workspace",
                  "refuses on a kernel without Landlock");
  }
}

TEST_CASE("commondir outside is refused") {
  git_box box;
  box.start_repository();
  box.git({"clone", "-q", ".", box.outside + "/repo"});
  box.write(".git/commondir", box.outside + "/repo/.git\n");
  check_refused(box, "commondir leads out of the workspace",
                "refuses on a kernel without Landlock");
}

TEST_CASE("a linked worktree inside the workspace works under Landlock") {
  git_box box;
  box.start_repository();
  box.git({"worktree", "add", "-q", box.ws + "/tree"});
  auto got = box.call("git_status", {{"repository", "tree"}});
  CHECK(got.text == "## tree\n");
  box.write("tree/a.txt", "changed\n");
  got = box.call(
      "git_commit",
      {{"message", "in the tree"}, {"all", true}, {"repository", "tree"}});
  INFO(got.text);
  CHECK_FALSE(got.is_error);
}

TEST_CASE("ignore and attribute files that are links to outside tell nothing") {
  git_box box;
  box.start_repository();
  box.write(git_box::secret, "x");
  for (const auto* name :
       {".gitignore", ".gitattributes", ".gitmodules", "dir/.gitignore"}) {
    fs::remove(box.ws + "/" + name);
    box.link(box.outside + "/secret.txt", name);
  }
  // The file whose name is the outside file's line is still untracked: its
  // pattern was not read.
  git_workers workers{box, true};
  const auto got = workers.all({{"op", "status"}, {"untracked", "all"}});
  if (got[0] != '<')
    CHECK(has(got, std::string{"?? "} + git_box::secret));
  git_workers plain{box, false};
  CHECK(has(plain.all({{"op", "status"}}), "a link or special file"));
}

TEST_CASE("core.excludesFile and attributesFile outside tell nothing") {
  git_box box;
  box.start_repository();
  box.write(git_box::secret, "x");
  box.append_config("[core]\n excludesFile = " + box.outside
                    + "/secret.txt\n attributesFile = " + box.outside
                    + "/secret.txt\n");
  git_workers workers{box, true};
  const auto got = workers.all({{"op", "status"}, {"untracked", "all"}});
  if (got[0] != '<')
    CHECK(has(got, std::string{"?? "} + git_box::secret));
  git_workers plain{box, false};
  CHECK(has(plain.all({{"op", "status"}}), "refuses on a kernel"));
}

TEST_CASE("a tracked folder or file replaced by a link to outside is a change, "
          "not a way out") {
  git_box box;
  box.start_repository();
  box.write("secret.txt", "tracked\n");
  box.write("dir/secret.txt", "tracked\n");
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "two secrets"});
  fs::remove(box.ws + "/secret.txt");
  box.link(box.outside + "/secret.txt", "secret.txt");
  fs::remove_all(box.ws + "/dir");
  box.link(box.outside, "dir");
  check_harmless_both(box);
  CHECK(box.git({"show", "--format=", "HEAD:secret.txt"})
        == box.outside + "/secret.txt");
}

TEST_CASE("a broken index is an error, not a crash") {
  git_box box;
  box.start_repository();
  const auto good = test::read_file(box.ws + "/.git/index");
  std::string bytes = "DIRC";
  bytes.append("\0\0\0\2\xff\xff\xff\xff", 8);
  std::string flipped = good;
  flipped[40] = static_cast<char>(flipped[40] ^ 0x55);
  auto huge = good;
  huge[8] = '\x7f';
  for (const auto& bad :
       {good.substr(0, 20), good.substr(0, good.size() / 2), bytes, flipped,
        huge, std::string{"no index at all, but long enough to be read"},
        std::string(100'000, '\0')}) {
    box.write(".git/index", bad);
    auto got = box.try_everything();
    CHECK(got["status"].is_error);
    CHECK(got["commit"].is_error);
    CHECK(has(got["status"].text, "Hint: "));
  }
}

TEST_CASE("truncated and damaged packs are errors, not crashes") {
  git_box box;
  box.start_repository();
  box.git({"gc", "-q"});
  for (const auto& entry :
       fs::directory_iterator{box.ws + "/.git/objects/pack"})
    fs::permissions(entry.path(), fs::perms::owner_all);
  std::vector<fs::path> files;
  for (const auto& entry :
       fs::directory_iterator{box.ws + "/.git/objects/pack"})
    files.push_back(entry.path());
  REQUIRE(files.size() >= 2);
  for (const auto& path : files) {
    const auto good = test::read_file(path);
    auto noise = good;
    for (std::size_t i = 8; i < noise.size(); i += 7)
      noise[i] = static_cast<char>(noise[i] ^ 0xa5);
    for (const auto& bad : {good.substr(0, good.size() / 2), good.substr(0, 4),
                            std::string{}, noise}) {
      INFO(path << " " << bad.size());
      test::write_file(path, bad);
      auto got = box.try_everything();
      if (path.extension() != ".rev")
        CHECK(got["log"].is_error);
    }
    test::write_file(path, good);
  }
}

TEST_CASE("a pack that is truncated while a worker has it mapped costs no "
          "call") {
  git_box box;
  box.start_repository();
  box.git({"gc", "-q"});
  git_workers workers{box};
  CHECK(has(workers.all({{"op", "log"}}), "first commit"));
  const auto folder = box.ws + "/.git/objects/pack";
  for (const auto& entry : fs::directory_iterator{folder}) {
    fs::permissions(entry.path(), fs::perms::owner_all);
    REQUIRE(::truncate(entry.path().c_str(), 0) == 0);
  }
  const auto got = workers.all({{"op", "log"}});
  CHECK(got[0] == '<');
  CHECK_FALSE(has(got, "ended in the middle"));
}

TEST_CASE("objects that claim or unpack to gigabytes do not take them") {
  git_box box;
  box.start_repository();
  // zlib streams by a tool that is there where git is: 100 MB of zeros as an
  // object of the right size, and one that claims another.
  const auto make = [&](const std::string& header, const std::string& id) {
    const auto path =
        box.ws + "/.git/objects/" + id.substr(0, 2) + "/" + id.substr(2);
    fs::create_directories(fs::path{path}.parent_path());
    auto done = test::run(
        {"python3", "-c",
         "import zlib,sys\nz=zlib.compressobj(1)\nf=open(sys.argv[2],'wb')\n"
         "f.write(z.compress(sys.argv[1].encode()+b'\\0'))\n"
         "for i in range(100):f.write(z.compress(bytes(1000000)))\n"
         "f.write(z.flush())",
         header, path});
    return done.exit == 0;
  };
  const std::string id(40, 'a'), other(40, 'b');
  if (!make("blob 100000000", id) || !make("commit 4000000000", other)) {
    WARN("SKIPPED: no python3 to make zlib bombs");
    return;
  }
  box.git({"update-index", "--add", "--cacheinfo", "100644," + id + ",a.txt"});
  box.write("bomb-ref", "");
  box.write(".git/refs/heads/bomb", other + "\n");
  git_workers workers{box};
  for (const auto& request :
       std::vector<json>{{{"op", "status"}},
                         {{"op", "diff"}},
                         {{"op", "diff"}, {"staged", true}},
                         {{"op", "log"}, {"ref", "bomb"}},
                         {{"op", "diff"}, {"range", "bomb"}}}) {
    INFO(request.dump());
    const auto got = workers.all(request);
    CHECK_FALSE(has(got, "ended in the middle"));
    for (const auto pid : workers.pool->idle())
      if (caged::test::memory_counts())
        CHECK(test::status_kb(pid, "VmHWM") < 64 * 1024);
  }
}

TEST_CASE("huge diffs are cut early and take little memory") {
  git_box box;
  box.start_repository();
  std::string line(99, 'x');
  line += '\n';
  {
    std::ofstream big{box.ws + "/a.txt"};
    for (int i = 0; i < 1'200'000; ++i)
      big << line; // 120 MB
  }
  std::string some;
  for (int i = 0; i < 10'000; ++i)
    some += std::to_string(i) + line;
  for (int i = 0; i < 12; ++i)
    box.write("n" + std::to_string(i), some); // 1 MB each
  box.git({"add", "--intent-to-add", "."});
  git_workers workers{box};
  const auto got = workers.ask({{"op", "diff"}});
  REQUIRE(got);
  CHECK(got->text.size() <= (1U << 20U));
  CHECK(has(got->text, "files above 4 MiB are not compared by line"));
  CHECK(has(got->text, "more changed files not shown"));
  CHECK(got->structured["truncated"] == true);
  const auto stat = workers.ask({{"op", "diff"}, {"stat_only", true}});
  REQUIRE(stat);
  CHECK(stat->structured["files_changed"] == 13);
  CHECK(stat->structured["insertions"] == 120'000);
  // One endless line.
  box.write("a.txt", std::string(3'000'000, 'y'));
  const auto line_got = workers.ask({{"op", "diff"}, {"paths", {"a.txt"}}});
  REQUIRE(line_got);
  CHECK(line_got->text.size() <= (1U << 20U));
  CHECK(line_got->structured["truncated"] == true);
  // Every line changed, as short as lines get: more than it may use.
  std::string lines;
  for (int i = 0; i < 1'900'000; ++i)
    lines += "z\n";
  box.write("a.txt", lines);
  const auto many = workers.ask({{"op", "diff"}, {"paths", {"a.txt"}}});
  REQUIRE(many);
  CHECK(many->structured["truncated"].is_boolean());
  for (const auto pid : workers.pool->idle())
    if (caged::test::memory_counts())
      CHECK(test::status_kb(pid, "VmHWM") < 64 * 1024);
}

TEST_CASE("very deep trees are served or refused, within memory") {
  git_box box;
  box.start_repository();
  std::string path;
  for (int i = 0; i < 600; ++i) // git's own limit is 2048
    path += "d/";
  box.git({"fast-import", "--quiet"},
          "commit refs/heads/deep\ncommitter A <a> 1 +0000\ndata 4\ndeep\n"
          "M 100644 inline "
              + path + "f\ndata 2\nx\n");
  REQUIRE(box.last_exit == 0);
  auto got = box.call("git_diff", {{"range", "HEAD..deep"}});
  box.check_harmless(got);
  CHECK_FALSE(has(got.text, "ended in the middle"));
  got = box.call("git_log", {{"ref", "deep"}});
  CHECK_FALSE(got.is_error);
  int folder = ::open(box.ws.c_str(), O_PATH | O_DIRECTORY);
  for (int i = 0; i < 2500; ++i) {
    ::mkdirat(folder, "d", 0755);
    const int next = ::openat(folder, "d", O_PATH | O_DIRECTORY);
    ::close(folder);
    folder = next;
  }
  ::close(folder);
  got = box.call("git_status", json::object());
  box.check_harmless(got);
  CHECK_FALSE(has(got.text, "ended in the middle"));
  test::run({"rm", "-rf", box.ws + "/d"});
}

TEST_CASE("references that point at each other are an error") {
  git_box box;
  box.start_repository();
  box.write(".git/refs/heads/x", "ref: refs/heads/y\n");
  box.write(".git/refs/heads/y", "ref: refs/heads/x\n");
  box.write(".git/refs/heads/self", "ref: refs/heads/self\n");
  for (const auto* ref : {"x", "self"}) {
    auto got = box.call("git_log", {{"ref", ref}});
    CHECK(got.is_error);
  }
  box.write(".git/HEAD", "ref: refs/heads/x\n");
  auto got = box.try_everything();
  CHECK(got["status"].is_error);
  for (const auto* head :
       {"ref: ../../../outside/secret.txt\n", "ref: refs/heads/../../config\n",
        "ref: /etc/passwd\n", "garbage\n", "", "ref: \n"}) {
    INFO(head);
    box.write(".git/HEAD", head);
    box.try_everything();
  }
}

TEST_CASE("names with newlines, control characters and other bytes are "
          "escaped") {
  git_box box;
  box.start_repository();
  for (const auto* name : {"new\nline", "esc\x1b[31m", "\xff\xfe", "tab\t",
                           "back\\slash", " lead", "\x7f",
                           "\xe2\x80\xae"
                           "x"})
    box.write(name, "x\n");
  auto got = box.call("git_status", json::object());
  CHECK_FALSE(got.is_error);
  CHECK(has(got.text, "?? \"new\\nline\"\n"));
  CHECK(has(got.text, "?? \"esc\\033[31m\"\n"));
  CHECK(has(got.text, "?? \"\\377\\376\"\n"));
  CHECK(has(got.text, "?? \"back\\\\slash\"\n"));
  CHECK_FALSE(has(got.text, "\x1b"));
  CHECK_NOTHROW(got.structured.dump());
  got = box.call("git_commit", {{"message", "names"}, {"all", true}});
  CHECK_FALSE(got.is_error);
  got = box.call("git_diff", {{"range", "HEAD~1..HEAD"}});
  CHECK_FALSE(has(got.text, "\x1b"));
  CHECK(got.structured["files"].size() == 8);
  CHECK_NOTHROW(got.structured.dump());
  CHECK(box.git({"status", "--porcelain"}).empty());
}

TEST_CASE("an index.lock of somebody else is named") {
  git_box box;
  box.start_repository();
  box.write("a.txt", "changed\n");
  box.write(".git/index.lock", "");
  auto got = box.try_everything();
  CHECK_FALSE(got["status"].is_error);
  CHECK(got["commit"].is_error);
  CHECK(has(got["commit"].text, "index.lock"));
  CHECK(fs::exists(box.ws + "/.git/index.lock"));
}

TEST_CASE("a sparse checkout's absent files are no deletions") {
  git_box box;
  box.start_repository();
  box.git({"sparse-checkout", "set", "--no-cone", "/a.txt"});
  REQUIRE_FALSE(fs::exists(box.ws + "/dir/b.txt"));
  auto got = box.call("git_status", json::object());
  CHECK(got.text == box.git({"status", "--porcelain", "--branch"}));
  box.write("a.txt", "changed\n");
  got = box.call("git_commit", {{"message", "m"}, {"all", true}});
  CHECK_FALSE(got.is_error);
  CHECK(box.git({"ls-tree", "--name-only", "-r", "HEAD"})
        == "a.txt\ndir/b.txt\n");
}

TEST_CASE("submodules are shown, and hostile ones lead nowhere") {
  git_box box;
  box.start_repository();
  box.git({"init", "-q", box.outside + "/repo"});
  test::write_file(box.outside + "/repo/s", git_box::secret);
  box.git({"-C", box.outside + "/repo", "add", "-A"});
  box.git({"-C", box.outside + "/repo", "commit", "-qm", git_box::secret});
  box.git({"submodule", "add", "-q", box.outside + "/repo", "sub"});
  REQUIRE(box.last_exit == 0);
  box.git({"commit", "-qm", "sub"});
  auto got = box.call("git_status", json::object());
  CHECK(got.text == "## main\n");
  box.write("sub/new", "n\n");
  box.try_everything();
  test::write_file(box.ws + "/sub/.git",
                   "gitdir: " + box.outside + "/repo/.git\n");
  box.try_everything();
  box.write(".gitmodules", "[submodule \"sub\"]\n path = sub\n url = ext::"
                               + box.evil + "\n update = !" + box.evil
                               + "\n ignore = none\n[submodule \"../../x\"]\n"
                                 " path = ../outside\n url = -x\n");
  check_harmless_both(box);
}

TEST_CASE("FIFOs and devices in a repository do not hang the server") {
  git_box box;
  box.start_repository();
  REQUIRE(::mkfifo((box.ws + "/fifo").c_str(), 0644) == 0);
  auto got = box.call("git_status", json::object());
  CHECK(got.text == "## main\n");
  for (const auto* name : {"HEAD", "config", "index", "packed-refs"}) {
    INFO(name);
    const auto path = box.ws + "/.git/" + name;
    const auto kept = test::read_file(path);
    fs::remove(path);
    REQUIRE(::mkfifo(path.c_str(), 0644) == 0);
    got = box.call("git_status", json::object());
    CHECK(got.is_error);
    CHECK(has(got.text, "is no regular file"));
    fs::remove(path);
    if (!kept.empty())
      test::write_file(path, kept);
  }
}

TEST_CASE("a git call that hangs ends by its timeout, or when it is "
          "cancelled") {
  git_box box;
  box.start_repository();
  // libgit2 opens it and waits for a writer that never comes.
  REQUIRE(::mkfifo((box.ws + "/.gitignore").c_str(), 0644) == 0);
  git_workers workers{box};
  // Longer than a worker takes to start, also on a machine that is full.
  workers.options.timeout = std::chrono::seconds{3};
  const auto got = workers.all({{"op", "status"}});
  CHECK(has(got, "<timeout>"));
  CHECK(workers.pool->idle().empty());

  git_workers others{box};
  const auto start = std::chrono::steady_clock::now();
  std::thread stop{[&] {
    test::eventually(std::chrono::seconds{5}, [&] {
      return std::chrono::steady_clock::now() - start
             > std::chrono::milliseconds{100};
    });
    others.cancel.cancel();
  }};
  const auto cancelled = others.all({{"op", "status"}});
  stop.join();
  CHECK(has(cancelled, "cancelled"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds{20});
  fs::remove(box.ws + "/.gitignore");
  CHECK(has(workers.all({{"op", "log"}}), "first commit"));
}

TEST_CASE("a worker that was killed is replaced") {
  git_box box;
  box.start_repository();
  git_workers workers{box};
  CHECK(has(workers.all({{"op", "status"}}), "## main"));
  const auto first = workers.pool->idle();
  REQUIRE(first.size() == 1);
  CHECK(has(workers.all({{"op", "log"}}), "first commit"));
  CHECK(workers.pool->idle() == first); // the same one serves the next call
  REQUIRE(::kill(first[0], SIGKILL) == 0);
  REQUIRE(test::eventually(std::chrono::seconds{5},
                           [&] { return !test::is_alive(first[0]); }));
  CHECK(has(workers.all({{"op", "status"}}), "## main"));
  const auto second = workers.pool->idle();
  REQUIRE(second.size() == 1);
  CHECK(second != first);
  workers.pool.reset();
  CHECK_FALSE(test::is_alive(second[0]));
}

TEST_CASE("many git calls at once are all answered by at most four workers") {
  git_box box;
  box.start_repository();
  git_workers workers{box};
  workers.all({{"op", "log"}});
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 5; ++k)
        if (has(workers.all({{"op", (i + k) % 2 == 0 ? "log" : "status"}}),
                "main")
            || has(workers.all({{"op", "log"}}), "first commit"))
          ++good;
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(good == 80);
  CHECK(workers.pool->idle().size() <= 4);
}

TEST_CASE("a worker inherits neither environment nor descriptors") {
  git_box box;
  box.start_repository();
  ::setenv("GIT_DIR", (box.outside + "/.git").c_str(), 1);
  ::setenv("CAGED_TEST_KEY", git_box::secret, 1);
  git_workers workers{box};
  CHECK(has(workers.all({{"op", "log"}}), "first commit"));
  ::unsetenv("GIT_DIR");
  ::unsetenv("CAGED_TEST_KEY");
  const auto pid = std::to_string(workers.pool->idle().at(0));
  const auto environment = test::read_file("/proc/" + pid + "/environ");
  CHECK_FALSE(has(environment, "CAGED"));
  CHECK_FALSE(has(environment, "GIT"));
  CHECK_FALSE(has(environment, "HOME"));
  std::size_t open = 0;
  for ([[maybe_unused]] const auto& fd :
       fs::directory_iterator{"/proc/" + pid + "/fd"})
    ++open;
  CHECK(open <= 8); // 0 to 4, and what libgit2 keeps open
  std::size_t threads = 0;
  for (const auto& task : fs::directory_iterator{"/proc/" + pid + "/task"}) {
    const auto status = test::read_file(task.path() / "status");
    CHECK(has(status, "NoNewPrivs:\t1"));
    CHECK(has(status, "Seccomp:\t2"));
    ++threads;
  }
  CHECK(threads >= 2); // its helper is no less confined
}

TEST_CASE("configurations that are broken or strange are errors or harmless") {
  git_box box;
  box.start_repository();
  const auto good = test::read_file(box.ws + "/.git/config");
  for (const auto& text :
       {std::string{"[core\n"}, std::string{"[core]\n\tbare = true\n"},
        std::string("[core]\n x = \0y\n", 15), std::string(3'000'000, '['),
        std::string{"[core]\n repositoryformatversion = 99\n"},
        std::string{"[core]\n repositoryformatversion = 1\n[extensions]\n "
                    "objectformat = sha256\n"},
        std::string{"[core]\n abbrev = 100000000000000000000\n"},
        std::string{"[include]\n path = config\n"},
        std::string{"[extensions]\n worktreeConfig = true\n"}}) {
    INFO(text.substr(0, 60));
    box.write(".git/config", text);
    check_harmless_both(box);
  }
  box.write(".git/config", good);
  CHECK_FALSE(box.call("git_status", json::object()).is_error);
}

TEST_CASE("a folder of the repository that is swapped for a link during calls "
          "never leads out") {
  git_box box;
  box.start_repository();
  box.write("dir/secret.txt", "inside\n");
  box.git({"add", "-A"});
  box.git({"commit", "-qm", "more"});
  std::atomic<bool> stop = false;
  std::thread swapper{[&] {
    const auto real = box.ws + "/dir", kept = box.ws + "/.kept";
    while (!stop) {
      fs::rename(real, kept);
      fs::create_directory_symlink(box.outside, real);
      fs::remove(real);
      fs::rename(kept, real);
    }
  }};
  for (int i = 0; i < 200; ++i) {
    box.check_harmless(box.call("git_diff", json::object()));
    box.check_harmless(box.call("git_diff", {{"range", "HEAD"}}));
  }
  stop = true;
  swapper.join();
}

TEST_CASE("history with hostile authors, dates and messages is shown as text") {
  git_box box;
  box.start_repository();
  const auto tree = box.git({"rev-parse", "HEAD^{tree}"}).substr(0, 40);
  for (const auto& text :
       {"tree " + tree
            + "\nauthor A <a> 99999999999999999999 +9999\ncommitter B <b> "
              "-5 -99999\n\nodd dates\n",
        "tree " + tree
            + "\nauthor \x1b[31m\xff <\xfe> 0 +0000\ncommitter B <b> 0 "
              "+0000\nencoding nonsense\n\n\xff\xfe message\n",
        "tree " + tree + "\nauthor A <a> 1 +0000\ncommitter B <b> 1 +0000\n\n"
            + std::string(2'000'000, 'm'),
        "tree " + tree + "\nauthor A <a> 1 +0000\ncommitter B <b> 1 +0000\n"}) {
    auto id = box.git(
        {"hash-object", "-t", "commit", "-w", "--literally", "--stdin"}, text);
    REQUIRE(id.size() == 41);
    box.write(".git/refs/heads/odd", id);
    auto got = box.call("git_log", {{"ref", "odd"}});
    CHECK_FALSE(has(got.text, "ended in the middle"));
    CHECK(got.text.size() < 200'000);
    got = box.call("git_log", {{"ref", "odd"}, {"oneline", true}});
    CHECK(got.text.size() < 200'000);
  }
}
