#include <catch2/catch.hpp>

#include "messages/join_token.hpp"
#include "messages/text.hpp"

using namespace caged;
using namespace std::chrono_literals;

namespace {

join_token sample() {
  join_token out;
  out.cluster = make_uuid();
  out.server_key = std::string(40, '1');
  out.key.public_key = std::string(40, '2');
  out.key.secret_key = std::string(40, '3');
  out.expires_ms = 1'800'000'000'000;
  return out;
}

ec error_of(const std::string& text) {
  const auto got = decode_join_token(text);
  REQUIRE_FALSE(got);
  CHECK_FALSE(got.error().message.empty());
  // What is refused may be nearly a token: none of it is repeated.
  if (text.size() > 40)
    CHECK(got.error().message.find(text.substr(20, 20)) == std::string::npos);
  return got.error().code;
}

} // namespace

TEST_CASE("a join token is one line that is read back, with blanks around it") {
  const auto token = sample();
  const auto text = encode(token);
  CHECK(text.starts_with("caged-join-1."));
  CHECK(text.find_first_of(" \t\r\n+/=\"'$&") == std::string::npos);
  CHECK(text.size() < 512);
  for (const auto& given : {text, text + "\n", "  " + text + "\r\n\n"}) {
    const auto back = decode_join_token(given);
    REQUIRE(back);
    CHECK(back->cluster == token.cluster);
    CHECK(back->server_key == token.server_key);
    CHECK(back->key.public_key == token.key.public_key);
    CHECK(back->key.secret_key == token.key.secret_key);
    CHECK(back->expires_ms == token.expires_ms);
  }
}

TEST_CASE("a join token that is cut or changed anywhere is refused") {
  const auto text = encode(sample());
  for (std::size_t size = 0; size < text.size(); ++size) {
    CAPTURE(size);
    CHECK(error_of(text.substr(0, size)) == ec::malformed);
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    CAPTURE(at);
    auto changed = text;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    CHECK(error_of(changed) == ec::malformed);
    changed[at] = '\0';
    CHECK(error_of(changed) == ec::malformed);
  }
  CHECK(error_of(text + "A") == ec::malformed);
  CHECK(error_of(text + "\n" + text) == ec::malformed);
  CHECK(error_of(text + std::string(100'000, 'A')) == ec::malformed);
  CHECK(error_of("caged-secret") == ec::malformed);
}

TEST_CASE("a join token of a later version is told apart from a damaged one") {
  auto text = encode(sample());
  text.replace(std::string{"caged-join-"}.size(), 1, "2");
  const auto got = decode_join_token(text);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::unsupported);
}

TEST_CASE("a join token whose cluster is no id is refused, its sum or not") {
  auto token = sample();
  token.cluster = "../../etc";
  CHECK_FALSE(decode_join_token(encode(token)));
  token = sample();
  token.server_key = "short";
  CHECK_FALSE(decode_join_token(encode(token)));
}

TEST_CASE("a join token lives from a second to seven days") {
  CHECK(check_join_ttl(1s));
  CHECK(check_join_ttl(24h * 7));
  for (std::chrono::milliseconds bad : {-1ms, 0ms, 999ms, 24h * 7 + 1ms}) {
    const auto got = check_join_ttl(bad);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::bad_request);
  }
}

TEST_CASE("a time is told in UTC") {
  CHECK(utc_text(0) == "1970-01-01 00:00:00 UTC");
  CHECK(utc_text(1'767'225'599'999) == "2025-12-31 23:59:59 UTC");
}
