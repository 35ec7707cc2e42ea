#include <catch2/catch.hpp>

#include "nodes/gateway/rules.hpp"

using namespace caged;
using namespace caged::gateway_rules;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

head plain() {
  head out;
  out.method = "POST";
  out.target = "/v1/mcp";
  out.host = "localhost:7480";
  out.has_host = true;
  return out;
}

} // namespace

TEST_CASE("the gateway listens beyond loopback with TLS alone") {
  CHECK(make_policy("127.0.0.1:7480", false, {})->loopback);
  CHECK(make_policy("[::1]:0", false, {})->host == "::1");
  CHECK(make_policy("0.0.0.0:443", true, {})->port == 443);
  const auto open = make_policy("0.0.0.0:7480", false, {});
  REQUIRE_FALSE(open);
  CHECK(has(open.error().message, "TLS"));
  CHECK(has(open.error().hint, "--gateway-cert"));
}

TEST_CASE("a gateway address that is none is refused with the form") {
  for (const auto* bad : {"", "7480", "localhost:7480", "127.0.0.1", ":7480",
                          "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:7480x",
                          "0x7f000001:1", "[::1]", "http://127.0.0.1:1"}) {
    INFO(bad);
    const auto got = make_policy(bad, false, {});
    REQUIRE_FALSE(got);
    CHECK(has(got.error().hint, "127.0.0.1:7480"));
  }
}

TEST_CASE("the gateway has three places, and nothing is decoded on the way") {
  CHECK(parse_target("/v1/mcp")->sandbox.empty());
  CHECK(parse_target("/v1/mcp?session=a&received=2")->query
        == "?session=a&received=2");
  CHECK_FALSE(parse_target("/v1/mcp")->targets);
  CHECK(parse_target("/v1/sd/prometheus")->targets);
  CHECK(parse_target("/v1/sd/prometheus?x")->targets);
  const auto one = parse_target("/v1/sandboxes/cage-abc12345/mcp?x=1");
  REQUIRE(one);
  CHECK(one->sandbox == "cage-abc12345");
  CHECK(one->query == "?x=1");
  for (const auto* bad : {"",
                          "/",
                          "/mcp",
                          "/v1/mcp/",
                          "/v1/sandboxes//mcp",
                          "/v1/sandboxes/mcp",
                          "/v1/sandboxes/a/b/mcp",
                          "/v1/sandboxes/../mcp",
                          "/v1/sandboxes/%2e%2e/mcp",
                          "/v1/sandboxes/A/mcp",
                          "//v1/mcp",
                          "/v1/sandboxes/a/mcp/",
                          "/v1/./mcp",
                          "http://x/v1/mcp",
                          "/v1/mcp#x",
                          "/v1/sandboxes/a mcp",
                          "/v1/sd/prometheus/",
                          "/v1/sd",
                          "/v1/sd/",
                          "/v1/sd//prometheus"}) {
    INFO(bad);
    CHECK_FALSE(parse_target(bad));
  }
}

TEST_CASE("a web page of elsewhere does not reach a gateway on loopback") {
  const auto here = *make_policy("127.0.0.1:0", false, {"https://app.example"});
  CHECK_FALSE(check(here, plain()));
  auto page = plain();
  page.has_origin = true;
  page.origin = "http://localhost:3000";
  CHECK_FALSE(check(here, page));
  page.origin = "https://APP.example";
  CHECK_FALSE(check(here, page));
  for (const auto* bad :
       {"null", "https://evil.example", "http://localhost.evil.example", "",
        "https://app.example.evil.example", "file://", "http://127.0.0.1.x"}) {
    INFO(bad);
    page.origin = bad;
    REQUIRE(check(here, page));
    CHECK(check(here, page)->status == 403);
  }
  auto rebound = plain();
  rebound.host = "evil.example:7480";
  CHECK(check(here, rebound)->status == 403);
  rebound.has_host = false;
  CHECK(check(here, rebound)->status == 400);
  auto twice = plain();
  twice.repeated = true;
  CHECK(check(here, twice)->status == 400);
  // Elsewhere names are the certificate's business.
  const auto open = *make_policy("0.0.0.0:0", true, {});
  rebound.has_host = true;
  CHECK_FALSE(check(open, rebound));
}

TEST_CASE("a bearer token is read whatever its scheme's case, nothing else") {
  CHECK(bearer_of("Bearer abc") == "abc");
  CHECK(bearer_of("bearer  abc ") == "abc");
  CHECK(bearer_of("").empty());
  CHECK(bearer_of("Basic abc").empty());
  CHECK(bearer_of("Bearer").empty());
  CHECK(bearer_of("abc").empty());
}

TEST_CASE("a token opens its own place and says which that is") {
  api::token_info sandbox;
  sandbox.sandbox = "cage-abc12345";
  api::token_info fresh;
  fresh.template_name = "minimal";
  CHECK_FALSE(check_token(sandbox, {"cage-abc12345", ""}));
  CHECK_FALSE(check_token(fresh, {"", ""}));
  CHECK(has(check_token(sandbox, {"", ""})->text, "/v1/sandboxes/"));
  CHECK(has(check_token(fresh, {"cage-abc12345", ""})->text, "/v1/mcp"));
  const auto other = check_token(sandbox, {"cage-zzz12345", ""});
  REQUIRE(other);
  CHECK(other->status == 403);
  CHECK(has(other->text, "cage-abc12345"));
}

TEST_CASE("session ids of /v1/mcp carry the sandbox and come apart again") {
  const auto id = join_session("cage-abc12345", "3f.0-a");
  const auto parts = split_session(id);
  REQUIRE(parts);
  CHECK(parts->first == "cage-abc12345");
  CHECK(parts->second == "3f.0-a");
  for (const auto* bad : {"", "cage-abc12345", "cage-abc12345.", ".x",
                          "cage-ABC12345.x", "../x.y", "cage-abc1234.x"}) {
    INFO(bad);
    CHECK_FALSE(split_session(bad));
  }
}

TEST_CASE("a parameter of a query is found by its whole name") {
  CHECK(parameter("?session=a&received=2", "received") == "2");
  CHECK(parameter("?xsession=a&session=b", "session") == "b");
  CHECK(parameter("?session", "session").empty());
  CHECK(parameter("", "session").empty());
  CHECK(parameter("?&&=&session=", "session").empty());
}

TEST_CASE("who reads the targets of Prometheus needs a token beyond loopback") {
  const auto here = *make_policy("127.0.0.1:0", false, {});
  const auto open = *make_policy("0.0.0.0:0", true, {});
  api::token_info read, full;
  read.scope = api::token_scope::read;
  auto status = [](const std::optional<refusal>& why) {
    return why ? why->status : 200;
  };
  CHECK(status(check_targets(here, "GET", std::nullopt)) == 200);
  CHECK(status(check_targets(here, "HEAD", full)) == 200);
  CHECK(status(check_targets(here, "POST", read)) == 405);
  CHECK(status(check_targets(open, "GET", std::nullopt)) == 401);
  CHECK(status(check_targets(open, "POST", std::nullopt)) == 401);
  CHECK(status(check_targets(open, "GET", full)) == 403);
  CHECK(status(check_targets(open, "GET", read)) == 200);
  CHECK(status(check_targets(open, "DELETE", read)) == 405);
}
