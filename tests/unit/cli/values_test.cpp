#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "cli/table.hpp"
#include "cli/values.hpp"
#include "cli/views.hpp"

using namespace caged;
using namespace caged::cli;

TEST_CASE("sizes of memory are MB, with units in any case") {
  CHECK(parse_memory_mb("512") == 512u);
  CHECK(parse_memory_mb("512m") == 512u);
  CHECK(parse_memory_mb("512MB") == 512u);
  CHECK(parse_memory_mb("1g") == 1024u);
  for (const char* bad : {"lots", "", "-1", "1.5g", "1t", "m",
                          "99999999999999999999", "9999999999g"}) {
    auto got = parse_memory_mb(bad);
    REQUIRE_FALSE(got.has_value());
    CHECK(got.error().message.find("memory") != std::string::npos);
    CHECK_FALSE(got.error().hint.empty());
  }
}

TEST_CASE("sizes of disk are GB") {
  CHECK(parse_disk_gb("5") == 5u);
  CHECK(parse_disk_gb("5G") == 5u);
  CHECK_FALSE(parse_disk_gb("512m").has_value());
}

TEST_CASE("single variables win over files, and a bare key is our own") {
  char name[] = "/tmp/caged-env-XXXXXX";
  auto fd = ::mkstemp(name);
  REQUIRE(fd >= 0);
  ::close(fd);
  std::ofstream{name} << "# comment\n\nA=file\nB=x=y\r\n";
  ::setenv("CAGED_TEST_OWN", "mine", 1);
  auto got =
      collect_env({name}, {"A=flag", "CAGED_TEST_OWN", "CAGED_TEST_NOT_SET"});
  REQUIRE(got.has_value());
  CHECK(*got
        == std::map<std::string, std::string>{
            {"A", "flag"}, {"B", "x=y"}, {"CAGED_TEST_OWN", "mine"}});
  std::ofstream{name} << "A=1\n=bad\n";
  auto bad = collect_env({name}, {});
  REQUIRE_FALSE(bad.has_value());
  CHECK(bad.error().message.find("line 2") != std::string::npos);
  std::filesystem::remove(name);
  CHECK_FALSE(collect_env({name}, {}).has_value());
  CHECK_FALSE(collect_env({}, {"=x"}).has_value());
}

TEST_CASE("labels need a key and a value") {
  CHECK(parse_labels({"a=b"})->at("a") == "b");
  CHECK_FALSE(parse_labels({"a"}).has_value());
  CHECK_FALSE(parse_labels({"=b"}).has_value());
}

TEST_CASE("tables align their columns and escape control characters") {
  table t{{"A", "LONG"}};
  t.add({"wide cell", "x"});
  t.add({"\x1b[31m", ""});
  auto text = t.str();
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.rfind("A          LONG\nwide cell  x\n", 0) == 0);
}

TEST_CASE("views show no control character of a sandbox") {
  api::why_reply why{"cage-abcdefgh",
                     {{0, phase::running, phase::failed, "agent", "\x1b[2J"}}};
  CHECK(show(why, format::table).find('\x1b') == std::string::npos);
  CHECK(show(why, format::json).find('\x1b') == std::string::npos);
  CHECK(show(why, format::yaml).find('\x1b') == std::string::npos);
}
