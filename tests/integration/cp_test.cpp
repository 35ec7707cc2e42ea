#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/test_node.hpp"

// Files into and out of real sandboxes: caged cp and caged files.
using namespace caged::test;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string hash_of(const std::string& path) {
  auto got = run({"sha256sum", path}, within(60s));
  return got.out.substr(0, got.out.find_first_of(" \\"));
}

struct stat about(const std::string& path) {
  struct stat out {};
  ::lstat(path.c_str(), &out);
  return out;
}

/// Names, kinds, modes, times, links and contents of a tree, one a line.
std::string picture(const std::string& top) {
  auto got = run({"sh", "-c",
                  "cd \"$1\" && find . ! -type l -printf '%p %y %m %Ts %n\\n' "
                  "-o -printf '%p -> %l\\n' | sort; "
                  "find . -type f -print0 | sort -z | xargs -0 sha256sum",
                  "sh", top});
  return got.out;
}

/// A tree with everything that names and links can be.
void make_tree(const std::string& top) {
  auto made = run({"sh", "-c", R"(
set -e
mkdir -p "$1/sub dir/deep" "$1/empty" "$1/closed"
head -c 300000 /dev/urandom > "$1/sub dir/deep/blob"
echo plain > "$1/-rf"
printf 'x' > "$1/sub dir/new
line and \"quotes\""
: > "$1/nothing"
long=$(printf '%0150d' 7)
echo long > "$1/$long"
ln "$1/sub dir/deep/blob" "$1/hard"
ln -s "sub dir/deep/blob" "$1/soft"
ln -s ../.. "$1/sub dir/deep/up"
ln -s gone "$1/dangling"
chmod 0640 "$1/-rf"; chmod 0755 "$1/nothing"
chmod 0555 "$1/closed"; chmod 01777 "$1/empty"
find "$1" -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
)",
                   "sh", top});
  REQUIRE(made.exit == 0);
}

bool nothing_staged(const std::string& directory) {
  for (const auto& item : fs::directory_iterator(directory))
    if (has(item.path().filename().string(), ".caged"))
      return false;
  return true;
}

} // namespace

TEST_CASE("a tree comes back from a sandbox as it went in") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  temp_dir dir;
  make_tree(dir / "tree");
  auto in = node.caged({"cp", dir / "tree", id + ":"});
  INFO(in.err);
  REQUIRE(in.exit == 0);
  CHECK(in.out.empty());
  CHECK(in.err.empty());
  auto owner = node.caged({"exec", id, "--", "stat", "-c", "%u:%g %h", "--",
                           "/workspace/tree/hard"});
  CHECK(owner.out == "0:0 2\n");
  auto out = node.caged({"cp", id + ":tree", dir / "back"});
  INFO(out.err);
  REQUIRE(out.exit == 0);
  CHECK(picture(dir / "back") == picture(dir / "tree"));
  CHECK(about(dir / "back/hard").st_ino
        == about(dir / "back/sub dir/deep/blob").st_ino);
  CHECK(nothing_staged(dir.path()));

  // The rules of cp -r: into what is there, contents behind "/.", over files.
  CHECK(node.caged({"cp", id + ":tree", dir / "back"}).exit == 0);
  CHECK(fs::exists(dir / "back/tree/soft"));
  fs::create_directory(dir / "flat");
  CHECK(node.caged({"cp", id + ":tree/.", dir / "flat/"}).exit == 0);
  CHECK(hash_of(dir / "flat/hard") == hash_of(dir / "tree/hard"));
  CHECK(node.caged({"cp", id + ":tree/.", dir / "flat"}).exit == 0);
  CHECK(node.caged({"cp", dir / "tree/.", id + ":flat"}).exit == 0);
  auto listed = node.caged({"exec", id, "--", "ls", "-a", "flat"});
  CHECK(has(listed.out, "-rf\n"));

  // A name that is no text; kinds that do not fit.
  write_file(dir / "no\xfftext", "bytes");
  CHECK(node.caged({"cp", dir / "no\xfftext", id + ":flat"}).exit == 0);
  CHECK(node.caged({"cp", id + ":flat/.", dir / "flat"}).exit == 0);
  CHECK(read_file(dir / "flat/no\xfftext") == "bytes");
  auto no_text = node.caged({"cp", id + ":flat/no\xfftext", dir / "x"});
  CHECK(no_text.exit == 1);
  CHECK(has(no_text.err, "UTF-8"));
  fs::create_directories(dir / "odd/nothing");
  auto unfit = node.caged({"cp", dir / "odd/nothing", id + ":tree"});
  CHECK(unfit.exit == 1);
  CHECK(has(unfit.err, "no directory"));
  auto same = node.caged({"cp", id + ":tree/nothing", dir / "odd"});
  CHECK(same.exit == 1);
  CHECK(has(same.err, "directory"));

  // Several into a directory; a name with a dash.
  auto several =
      node.caged({"cp", "-q", "--", "-rf", "nothing", id + ":flat/empty"}, [&] {
        process_options options;
        options.cwd = dir / "tree";
        return options;
      }());
  INFO(several.err);
  CHECK(several.exit == 0);
  CHECK(node.caged({"files", "cat", id, "flat/empty/-rf"}).out == "plain\n");
  CHECK(node.caged({"cp", id + ":tree/-rf", id + ":tree/nothing", dir / "two"})
            .exit
        == 1); // no directory
  CHECK_FALSE(fs::exists(dir / "two"));
  fs::create_directory(dir / "two");
  CHECK(node.caged({"cp", id + ":tree/-rf", id + ":tree/nothing", dir / "two"})
            .exit
        == 0);
  CHECK(read_file(dir / "two/-rf") == "plain\n");
  CHECK((about(dir / "two/-rf").st_mode & 07777) == 0640);

  // A link to a file is written through, here and there.
  fs::create_symlink("-rf", dir / "two/link");
  CHECK(node.caged({"cp", id + ":tree/nothing", dir / "two/link"}).exit == 0);
  CHECK(fs::is_symlink(dir / "two/link"));
  CHECK(read_file(dir / "two/-rf").empty());
  CHECK(node.caged({"exec", id, "--", "ln", "-s", "target", "link"}).exit == 0);
  CHECK(node.caged({"exec", id, "--", "touch", "target"}).exit == 0);
  CHECK(node.caged({"cp", dir / "tree/-rf", id + ":link"}).exit == 0);
  CHECK(node.caged({"files", "cat", id, "target"}).out == "plain\n");
}

TEST_CASE("numeric owners are kept with --archive alone") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  temp_dir dir;
  write_file(dir / "f", "x");
  REQUIRE(::chown((dir / "f").c_str(), 1234, 4321) == 0);
  auto owner = [&](const char* name) {
    return node.caged({"exec", id, "--", "stat", "-c", "%u:%g", name}).out;
  };
  REQUIRE(node.caged({"cp", dir / "f", id + ":plain"}).exit == 0);
  CHECK(owner("plain") == "0:0\n");
  REQUIRE(node.caged({"cp", "-a", dir / "f", id + ":kept"}).exit == 0);
  CHECK(owner("kept") == "1234:4321\n");
  REQUIRE(node.caged({"cp", "-a", id + ":kept", dir / "kept"}).exit == 0);
  CHECK(about(dir / "kept").st_uid == 1234);
  REQUIRE(node.caged({"cp", id + ":kept", dir / "ours"}).exit == 0);
  CHECK(about(dir / "ours").st_uid == ::getuid());
}

TEST_CASE("stdin and stdout are ends of a copy") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  const std::string bytes{"a\0b\nc", 5};
  auto in = node.caged({"cp", "-", id + ":/tmp/a b"}, with_input(bytes));
  INFO(in.err);
  CHECK(in.exit == 0);
  CHECK(node.caged({"cp", id + ":/tmp/a b", "-"}).out == bytes);
  // A device takes the bytes, it is not replaced.
  CHECK(node.caged({"cp", id + ":/tmp/a b", "/dev/null"}).exit == 0);
  CHECK(S_ISCHR(about("/dev/null").st_mode));
  auto refused = node.caged({"cp", id + ":/tmp", "-"});
  CHECK(refused.exit == 1);
  CHECK(has(refused.err, "directory"));
  CHECK(node.caged({"cp", "-", id + ":/tmp"}, with_input("x")).exit == 1);
  auto gone = node.caged({"cp", id + ":none", "-"});
  CHECK(gone.exit == 1);
  CHECK(has(gone.err, "No such file"));
  auto unknown = node.caged({"cp", "no-such-cage:none", "x"});
  CHECK(unknown.exit == 1);
  CHECK(has(unknown.err, "no sandbox"));
}

TEST_CASE("files are listed, printed, written and removed") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  auto files = [&](std::vector<std::string> args, std::string in = {}) {
    args.insert(args.begin(), "files");
    return node.caged(args, with_input(std::move(in)));
  };
  const std::string odd = "-a \"b\"\n\x1b[31mc";
  CHECK(files({"write", id, "--mode", "0600", "--", odd}, "one").exit == 0);
  CHECK(files({"cat", id, "--", odd}).out == "one");
  CHECK(files({"write", id, "--", odd}, "two").exit == 0); // the mode stays
  CHECK(node.caged({"exec", id, "--", "ln", "-s", "--", odd, "link"}).exit
        == 0);
  auto table = files({"ls", id});
  CHECK(has(table.out, "-a \"b\"\\x0A\\x1B[31mc"));
  CHECK_FALSE(has(table.out, "\x1b[31m"));
  auto parsed = nlohmann::json::parse(files({"ls", id, "--format", "json"}).out,
                                      nullptr, false);
  REQUIRE(parsed.is_array());
  REQUIRE(parsed.size() == 2);
  CHECK(parsed[0]["name"] == odd);
  CHECK(parsed[0]["mode"] == "0600");
  CHECK(parsed[0]["size"] == 3);
  CHECK(parsed[1]["type"] == "link");
  CHECK(parsed[1]["target"] == odd);
  CHECK(files({"write", id, "link"}, "three").exit == 0);
  CHECK(files({"cat", id, "--", odd}).out == "three");
  auto one = nlohmann::json::parse(
      files({"ls", id, "link", "--format", "json"}).out, nullptr, false);
  REQUIRE(one.size() == 1);
  CHECK(one[0]["target"] == odd);

  CHECK(files({"rm", id, "--", odd, "link"}).exit == 0);
  CHECK(node.caged({"exec", id, "--", "ls", "-A"}).out.empty());
  CHECK(node.caged({"exec", id, "--", "mkdir", "-p", "-m", "700", "d/e"}).exit
        == 0);
  auto refused = [&](std::vector<std::string> args, const char* why) {
    auto got = files(args, "x");
    INFO(got.err);
    CHECK(got.exit == 1);
    CHECK(has(got.err, why));
  };
  refused({"rm", id, "d"}, "is a directory");
  refused({"cat", id, "d"}, "directory");
  refused({"write", id, "d"}, "is a directory");
  refused({"cat", id, "none"}, "No such file");
  refused({"ls", id, "none"}, "No such file");
  refused({"rm", id, "none"}, "No such file");
  refused({"write", id, "none/f"}, "does not exist");
  refused({"write", id, "/proc/uptime"}, "");
  refused({"ls", "no-such-cage"}, "no sandbox");
  CHECK(files({"write", id, "f", "--mode", "u+x"}, "x").exit == 2);
  CHECK(files({"rm", "-r", id, "d"}).exit == 0);
  CHECK(files({"ls", id}).exit == 0);
}

TEST_CASE("a copy of 200 MB outlives the daemon, both ways") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up();
  REQUIRE_FALSE(id.empty());
  temp_dir dir;
  REQUIRE(run({"sh", "-c", "head -c 200M /dev/urandom > " + dir / "blob"},
              within(120s))
              .exit
          == 0);
  auto want = hash_of(dir / "blob");
  // How far it is says the file that grows.
  auto in = node.start_caged({"cp", dir / "blob", id + ":/tmp/blob"});
  auto size_inside = [&] {
    auto got = node.caged({"exec", id, "--", "stat", "-c", "%s", "/tmp/blob"});
    return got.exit == 0 ? std::stoll(got.out) : 0LL;
  };
  REQUIRE(eventually(60s, [&] { return size_inside() > 1'000'000; }));
  REQUIRE(in->alive());
  node.kill();
  REQUIRE(node.start());
  CHECK(size_inside() < 200 * 1024 * 1024); // it was in the middle
  REQUIRE(in->wait(240s));
  INFO(in->err());
  CHECK(in->exit() == 0);
  auto there =
      node.caged({"exec", id, "--", "sha256sum", "/tmp/blob"}, within(60s));
  CHECK(has(there.out, want));

  auto out = node.start_caged({"cp", id + ":/tmp/blob", dir / "back"});
  auto staged = [&]() -> std::uintmax_t {
    std::error_code none;
    for (const auto& item : fs::directory_iterator(dir.path()))
      if (has(item.path().filename().string(), ".caged-cp-")) {
        auto size = fs::file_size(item.path() / "copy", none);
        return none ? 0 : size;
      }
    return 0;
  };
  REQUIRE(eventually(60s, [&] { return staged() > 1'000'000; }));
  node.kill();
  CHECK(out->alive());
  CHECK_FALSE(fs::exists(dir / "back"));
  REQUIRE(node.start());
  REQUIRE(out->wait(240s));
  INFO(out->err());
  CHECK(out->exit() == 0);
  CHECK(hash_of(dir / "back") == want);
  CHECK(nothing_staged(dir.path()));
}

TEST_CASE("a full disk inside is told, and a file keeps its old content") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--disk", "1"});
  REQUIRE_FALSE(id.empty());
  REQUIRE(node.caged({"files", "write", id, "keep"}, with_input("old")).exit
          == 0);
  // All but some megabytes, without writing them.
  auto filled = node.caged(
      {"exec", id, "--", "sh", "-c",
       "i=0; for s in 512 256 128 64 32 16 8 4 2 1; do for n in 1 2; do "
       "i=$((i+1)); "
       "fallocate -l ${s}m fill$i 2>/dev/null || rm -f fill$i; done; done; "
       "df -m ."},
      within(60s));
  INFO(filled.out);
  temp_dir dir;
  REQUIRE(run({"sh", "-c", "head -c 40M /dev/urandom > " + dir / "blob"}).exit
          == 0);
  auto in = node.caged({"cp", dir / "blob", id + ":"}, within(60s));
  INFO(in.err);
  CHECK(in.exit == 1);
  CHECK(has(in.err, "No space left"));
  node.caged({"files", "rm", id, "blob"});
  auto wrote =
      run({"sh", "-c",
           "CAGED_ENDPOINT=" + node.endpoint() + " " + bin_dir()
               + "/caged files write " + id + " keep < " + dir / "blob"},
          within(60s));
  INFO(wrote.err);
  CHECK(wrote.exit == 1);
  CHECK(has(wrote.err, "No space left"));
  CHECK(node.caged({"files", "cat", id, "keep"}).out == "old");
  auto left = node.caged({"exec", id, "--", "ls", "-A"});
  CHECK_FALSE(has(left.out, ".caged-write"));
}
