#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include "messages/curve_key.hpp"
#include "messages/key_file.hpp"
#include "messages/text.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

/// zmq_curve(7): the key of a server, 54FCBA24... in hexadecimal.
const std::string z85 = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

struct folder {
  fs::path dir;
  folder() {
    char name[] = "/tmp/caged-keys-XXXXXX";
    dir = ::mkdtemp(name);
  }
  ~folder() { fs::remove_all(dir); }
  fs::path operator/(const char* name) const { return dir / name; }
};

mode_t mode_of(const fs::path& path) {
  struct stat about {};
  ::stat(path.c_str(), &about);
  return about.st_mode & 07777U;
}

} // namespace

TEST_CASE("a key survives Z85 and its URL form") {
  const auto bytes = z85_decode(z85);
  REQUIRE(bytes);
  REQUIRE(bytes->size() == curve_key_bytes);
  CHECK(bytes->substr(0, 4) == "\x54\xfc\xba\x24");
  CHECK(z85_encode(*bytes) == z85);
  const auto url = url_form(z85);
  CHECK(url.size() == 43);
  CHECK(url.find_first_of("+/=$&#") == std::string::npos);
  CHECK(*parse_public_key(url) == z85);
  CHECK(*parse_public_key(z85) == z85);
  CHECK(z85_encode(std::string(32, '\0')) == std::string(40, '0'));
  CHECK(z85_encode(std::string(32, '\xff')).size() == 40);
}

TEST_CASE("text that is no key is refused") {
  for (const auto& bad :
       {std::string{}, z85.substr(1), z85 + "0", std::string(40, '"'),
        std::string(40, '#'), // more than 32 bits a group
        std::string(39, '0') + "\n", url_form(z85) + "=", std::string(43, '/'),
        // The last letter of the URL form has two bits to spare.
        std::string(42, 'A') + "B"}) {
    CAPTURE(bad);
    CHECK_FALSE(z85_decode(bad));
    CHECK_FALSE(parse_public_key(bad));
  }
}

TEST_CASE("a pair is written 0600 and 0644, and never over another") {
  folder in;
  const key_pair keys{"alice", z85, std::string(40, '1')};
  REQUIRE(write_key_pair(in / "alice", keys, if_there::refuse));
  CHECK(mode_of(in / "alice") == 0600);
  CHECK(mode_of(in / "alice.pub") == 0644);
  auto again = write_key_pair(in / "alice", keys, if_there::refuse);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == ec::conflict);
  CHECK(write_key_pair(in / "alice", keys, if_there::replace));
  const auto secret = read_secret_key(in / "alice");
  REQUIRE(secret);
  CHECK(secret->name == "alice");
  CHECK(secret->secret_key == keys.secret_key);
  const auto open = read_public_key(in / "alice.pub");
  REQUIRE(open);
  CHECK(open->public_key == z85);
  CHECK(open->secret_key.empty());
  // Nothing half-made is left beside them.
  CHECK(std::distance(fs::directory_iterator{in.dir}, fs::directory_iterator{})
        == 2);
}

TEST_CASE("a secret key that others could have read is refused") {
  folder in;
  REQUIRE(write_key_pair(in / "k", {"a", z85, z85}, if_there::refuse));
  for (const mode_t mode : {0640U, 0604U, 0400U, 0700U, 0644U, 04600U}) {
    CAPTURE(mode);
    ::chmod((in / "k").c_str(), mode);
    const auto got = read_secret_key(in / "k");
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::denied);
    CHECK(got.error().hint.find("chmod 600") != std::string::npos);
  }
}

TEST_CASE("files that hold no key, or the wrong one, are refused") {
  folder in;
  const auto put = [&](const char* name, const std::string& text) {
    std::ofstream{in / name} << text;
    ::chmod((in / name).c_str(), 0600);
    return in / name;
  };
  CHECK(read_secret_key(in / "absent").error().code == ec::not_found);
  CHECK(read_secret_key(in.dir).error().code == ec::bad_request);
  CHECK_FALSE(read_secret_key(put("a", "")));
  CHECK_FALSE(read_secret_key(put("b", "public-key: " + z85 + "\n")));
  CHECK_FALSE(read_secret_key(put("c", "secret-key: " + z85 + "\n")));
  CHECK_FALSE(read_secret_key(put("d", std::string(10000, 'x'))));
  CHECK_FALSE(read_public_key(put("e", "hello\n")));
  CHECK_FALSE(
      read_public_key(put("f", "name: No Good\npublic-key: " + z85 + "\n")));
  // The secret file in place of the public one is told by its name.
  const auto secret = read_public_key(
      put("g", "public-key: " + z85 + "\nsecret-key: " + z85 + "\n"));
  REQUIRE_FALSE(secret);
  CHECK(secret.error().message.find("secret") != std::string::npos);
  CHECK(read_public_key(put("h", z85 + "\n"))->public_key == z85);
  CHECK(read_public_key(put("i", url_form(z85) + "\n"))->public_key == z85);
}
