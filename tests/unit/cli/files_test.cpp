#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>

#include "cli/files.hpp"

using namespace caged;
using namespace caged::cli;
using namespace std::string_literals;

TEST_CASE("a listing keeps names with newlines and links with their targets") {
  auto rows = parse_listing("81a4 12 1700000000 ./a\nb c//\n"
                            "a1ff 3 1700000001 ./-l//\n"
                            "41ed 4096 -1 ./d//\n"
                            "\n./-l\0x//\ny\0"s);
  REQUIRE(rows.has_value());
  REQUIRE(rows->size() == 3);
  CHECK((*rows)[0].name == "-l");
  CHECK((*rows)[0].target == "x//\ny");
  CHECK((*rows)[1].name == "a\nb c");
  CHECK((*rows)[1].size == 12);
  CHECK((*rows)[2].mtime_s == -1);

  auto table = show(*rows, format::table);
  CHECK(table.find("a\\x0Ab c") != std::string::npos);
  CHECK(table.find("directory  0755") != std::string::npos);
  auto parsed = nlohmann::json::parse(show(*rows, format::json));
  CHECK(parsed[0]["type"] == "link");
  CHECK(parsed[0]["target"] == "x//\ny");
  CHECK(parsed[1]["mode"] == "0644");
  CHECK(parsed[1]["target"].is_null());
}

TEST_CASE("a listing that a sandbox made up is refused") {
  for (const auto& text :
       {""s, "hello\n"s, "81a4 1 1 ./a\n\n"s, "81a4 1 1 ./a//\n"s,
        "81a4 -1 1 ./a//\n\n"s, "zz 1 1 ./a//\n\n"s, "\nlink\0target"s,
        "81a4 99999999999999999999 1 ./a//\n\n"s})
    CHECK_FALSE(parse_listing(text).has_value());
  CHECK(parse_listing("\n")->empty());
}
