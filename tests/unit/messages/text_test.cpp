#include "messages/text.hpp"

#include <set>

#include <catch2/catch.hpp>

using namespace caged;
using namespace std::chrono_literals;

TEST_CASE("escape_text keeps text and disarms what a terminal would obey") {
  CHECK(escape_text("plain text \xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\xb1")
        == "plain text \xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\xb1");
  CHECK(escape_text("a\x1b[2Jb\n\t\x7f") == "a\\x1B[2Jb\\x0A\\x09\\x7F");
  CHECK(escape_text(std::string_view{"\0", 1}) == "\\x00");
  CHECK(escape_text("\xc2\x9b") == "\\xC2\\x9B");          // C1: CSI
  CHECK(escape_text("\xe2\x80\xae") == "\\xE2\\x80\\xAE"); // right to left
  CHECK(escape_text("\xff\xfe") == "\\xFF\\xFE");
  CHECK(escape_text("\xc0\xaf") == "\\xC0\\xAF");          // overlong
  CHECK(escape_text("\xed\xa0\x80") == "\\xED\\xA0\\x80"); // surrogate
  CHECK(escape_text("\xe2\x82") == "\\xE2\\x82");          // cut off
}

TEST_CASE(
    "escape_text is never longer than asked and cuts between characters") {
  CHECK(escape_text("0123456789", 10) == "0123456789");
  CHECK(escape_text("0123456789", 9) == "012345...");
  CHECK(escape_text("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 8)
        == "\xe2\x82\xac...");
  CHECK(escape_text("\n\n\n", 9) == "\\x0A...");
  for (std::size_t max = 0; max < 40; ++max)
    CHECK(escape_text("some\x01text \xe2\x82\xac and more of it", max).size()
          <= max);
}

TEST_CASE("durations are read in their written forms and no other") {
  CHECK(parse_duration("5s").value() == 5s);
  CHECK(parse_duration("500ms").value() == 500ms);
  CHECK(parse_duration("1m").value() == 1min);
  CHECK(parse_duration("2h").value() == 2h);
  CHECK(parse_duration("0").value() == 0s);
  for (const auto* text :
       {"", "5", "s", "-1s", "+1s", "1.5s", " 1s", "1s ", "1S", "1d", "1e3s",
        "99999999999999999999s", "5sec", "ms"}) {
    CAPTURE(text);
    auto got = parse_duration(text);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::bad_request);
    CHECK(got.error().message.find("500ms") != std::string::npos);
  }
  CHECK(parse_duration("5\x1b[0ms").error().message.find('\x1b')
        == std::string::npos);
}

TEST_CASE("a formatted duration is read back as itself") {
  for (auto value : {0ms, 1ms, 999ms, 1000ms, 1500ms, 60000ms, 90000ms,
                     3600000ms, 86400000ms})
    CHECK(parse_duration(format_duration(value)).value() == value);
  CHECK(format_duration(5s) == "5s");
  CHECK(format_duration(1500ms) == "1500ms");
  CHECK(format_duration(2h) == "2h");
}

TEST_CASE("base64 is RFC 4648's, both ways") {
  // The RFC's own vectors, section 10.
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : vectors) {
    CHECK(base64_encode(plain) == coded);
    CHECK(base64_decode(coded).value() == plain);
  }
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    all += static_cast<char>(i * 37);
    CHECK(base64_decode(base64_encode(all)).value() == all);
  }
}

TEST_CASE("base64 that is not canonical is refused") {
  for (const auto* text :
       {"Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zm9v\n", "Zm 9v",
        "Zm9-", "Zm9_", "Zh==", "Zm9=", "Zg==Zg==", "Zm9v\xff\xff\xff\xff"}) {
    CAPTURE(text);
    auto got = base64_decode(text);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::bad_request);
  }
  CHECK_FALSE(base64_decode(std::string_view{"Zm9\0", 4}));
}

TEST_CASE("uuids and names are random and well formed") {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    auto uuid = make_uuid();
    REQUIRE(is_uuid(uuid));
    CHECK(uuid[14] == '4');
    CHECK(std::string_view{"89ab"}.find(uuid[19]) != std::string_view::npos);
    CHECK(seen.insert(uuid).second);
    auto name = random_name(8);
    CHECK(name.size() == 8);
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789")
          == std::string::npos);
  }
  CHECK(random_name(0).empty());
  CHECK(random_name(100).size() == 100);
  CHECK_FALSE(is_uuid(""));
  CHECK_FALSE(is_uuid("AFA37C92-51A0-4EB5-B419-B0470E91C7E7"));
  CHECK_FALSE(is_uuid("afa37c9251a0-4eb5-b419-b0470e91c7e7-"));
  CHECK_FALSE(is_uuid("afa37c92-51a0-4eb5-b419-b0470e91c7eg"));
}

TEST_CASE("bytes are shown as people say them") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(512.0 * 1024 * 1024) == "512 MB");
  CHECK(format_bytes(1.5 * 1024 * 1024 * 1024) == "1.5 GB");
}

TEST_CASE("quoted text cannot leave its quotes by a control character") {
  CHECK(quoted("a b") == "\"a b\"");
  CHECK(quoted("a\nb") == "\"a\\x0Ab\"");
  CHECK(quoted(std::string(1000, 'x')).size() == 130);
}

TEST_CASE("signals have numbers and names, with or without SIG") {
  CHECK(parse_signal("9").value() == 9);
  CHECK(parse_signal("KILL").value() == 9);
  CHECK(parse_signal("SIGTERM").value() == 15);
  CHECK(parse_signal("64").value() == 64);
  for (const char* bad : {"", "0", "65", "-1", "09", "term", "SIG", "SIG9"})
    CHECK_FALSE(parse_signal(bad));
}

TEST_CASE("the nearest word needs the fewest changes") {
  CHECK(nearest("memry", {"name", "memory", "env"}) == "memory");
  CHECK(nearest("", {"abc", "de"}) == "de");
  CHECK(nearest("", {"b", "a"}) == "b"); // the first of several
}
