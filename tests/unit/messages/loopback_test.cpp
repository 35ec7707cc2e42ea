#include <catch2/catch.hpp>

#include "messages/loopback.hpp"

using namespace caged;

TEST_CASE("only this machine's own names and addresses are loopback") {
  for (const auto* ours :
       {"localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:1", "[::1]",
        "[::1]:7480", "[::ffff:127.0.0.1]:1"}) {
    INFO(ours);
    CHECK(is_loopback_authority(ours));
  }
  for (const auto* others :
       {"", "localhost.", "localhost.example", "127.1", "0x7f.0.0.1",
        "2130706433", "128.0.0.1", "[::2]", "[::1", "[::1]x", "localhost:",
        "localhost:80x", "0.0.0.0", "[::ffff:10.0.0.1]", "user@localhost"}) {
    INFO(others);
    CHECK_FALSE(is_loopback_authority(others));
  }
  CHECK(is_loopback_origin("http://localhost:3000"));
  CHECK(is_loopback_origin("HTTPS://127.0.0.1"));
  CHECK_FALSE(is_loopback_origin("null"));
  CHECK_FALSE(is_loopback_origin("localhost"));
  CHECK_FALSE(is_loopback_origin("http://localhost/path"));
  CHECK_FALSE(is_loopback_origin("ftp://localhost"));
}
