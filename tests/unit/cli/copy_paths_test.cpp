#include <catch2/catch.hpp>

#include "cli/copy_paths.hpp"

using namespace caged;
using namespace caged::cli;
using place = copy_end::place;

TEST_CASE("a colon before any slash makes a sandbox of an end") {
  auto web = parse_copy_end("web:/etc/x:y");
  CHECK(web.where == place::inside);
  CHECK(web.sandbox == "web");
  CHECK(web.path == "/etc/x:y");
  CHECK(parse_copy_end("web:").path == ".");
  for (const char* local : {"a", "./a:b", "/a:b", ":a", "d/a:b", "--x"})
    CHECK(parse_copy_end(local).where == place::local);
  CHECK(parse_copy_end("-").where == place::stream);
  CHECK(parse_copy_end("./-").where == place::local);
  CHECK(to_text(web) == "web:/etc/x:y");
}

TEST_CASE("no path is taken for an option") {
  CHECK(safe_path("-rf") == "./-rf");
  CHECK(safe_path("-") == "./-");
  CHECK(safe_path("a b") == "./a b");
  CHECK(safe_path("/-") == "/-");
  CHECK(safe_path("../a") == "../a");
  CHECK(safe_path("..a") == "./..a");
  CHECK(safe_path("") == ".");
}

TEST_CASE("paths fall apart into parent and name") {
  CHECK(last_name("a/b//") == "b");
  CHECK(last_name("b") == "b");
  CHECK(last_name("/").empty());
  CHECK(last_name("a/.").empty());
  CHECK(last_name("a/../").empty());
  CHECK(last_name("a/...") == "...");
  CHECK(parent_of("a/b/") == "a");
  CHECK(parent_of("b") == ".");
  CHECK(parent_of("/b") == "/");
  CHECK(parent_of("//b") == "/");
  CHECK(names_directory("a/"));
  CHECK(names_directory("a/.."));
  CHECK_FALSE(names_directory("a"));
}

TEST_CASE("a destination is chosen as cp -r does") {
  auto to = [](const char* path, there dst, const char* name, bool dir,
               bool several = false) {
    auto got = choose_target(path, path, dst, name, dir, several);
    return got ? got->directory + "|" + got->name : got.error().message;
  };
  CHECK(to("d", there::directory, "f", false) == "d|f");
  CHECK(to("d/", there::directory, "f", true, true) == "d|f");
  CHECK(to("d", there::directory, "", true) == "d|"); // src/.
  CHECK(to("x/new", there::missing, "f", false) == "x|new");
  CHECK(to("new/", there::missing, "t", true) == ".|new");
  CHECK(to("new", there::missing, "", true) == ".|new");
  CHECK(to("f", there::file, "g", false) == ".|f");
  // refused
  CHECK(to("new/", there::missing, "f", false).find("no directory")
        != std::string::npos);
  CHECK(to("f/", there::file, "g", false).find("no directory")
        != std::string::npos);
  CHECK(to("f", there::file, "t", true).find("cannot overwrite")
        != std::string::npos);
  CHECK(to("new", there::missing, "f", false, true).find("several")
        != std::string::npos);
  CHECK(to("a/b", there::nowhere, "f", false).find("does not exist")
        != std::string::npos);
  CHECK(to("null", there::other, "f", false).find("neither")
        != std::string::npos);
  CHECK(to("l", there::dangling, "f", false).find("nothing")
        != std::string::npos);
}

TEST_CASE("names of a hostile archive stay below what was asked") {
  CHECK(name_below("./a//b/.").value() == "a/b");
  CHECK(name_below("./").value() == ".");
  CHECK(name_below("a/...").value() == "a/...");
  for (const char* bad : {"/etc/passwd", "../a", "a/../../b", "..", "", "a/.."})
    CHECK_FALSE(name_below(bad));
}

TEST_CASE("links of a hostile archive stay below what was asked") {
  CHECK(link_stays_below("l", "f"));
  CHECK(link_stays_below("a/b/l", "../../f"));
  CHECK(link_stays_below("a/l", "./../f"));
  CHECK(link_stays_below("a/l", ".."));
  CHECK_FALSE(link_stays_below("l", "/f"));
  CHECK_FALSE(link_stays_below("l", ".."));
  CHECK_FALSE(link_stays_below("a/l", "../../f"));
  // Lexically inside, but "x/l" may itself lead up.
  CHECK_FALSE(link_stays_below("l", "x/l/../f"));
  CHECK_FALSE(link_stays_below("l", ""));
}
