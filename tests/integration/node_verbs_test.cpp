#include <catch2/catch.hpp>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/support/fleet.hpp"
#include "tests/support/gateway_client.hpp"
#include "tests/support/self_signed.hpp"

// The verbs about nodes on one host, and where Prometheus finds it.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

json get(const test_node& node, const std::string& name) {
  const auto got = node.caged({"node", "get", name, "--format", "json"});
  INFO(got.err);
  REQUIRE(got.exit == 0);
  return json::parse(got.out);
}

http_response discover(std::uint16_t port, const std::string& method = "GET",
                       const std::string& host = "localhost") {
  web_client client{port};
  client.send(method + " /v1/sd/prometheus HTTP/1.1\r\nHost: " + host
              + "\r\nX-Prometheus-Refresh-Interval-Seconds: 60\r\n"
                "Connection: close\r\n\r\n");
  auto out = client.head();
  if (method != "HEAD" && out.headers.contains("content-length"))
    out.body = client.read(std::stoul(out.header("content-length")));
  return out;
}

} // namespace

TEST_CASE("a node alone is listed, cordoned over restarts, and never removed") {
  test_node node{{"--node-name", "solo", "--labels", "zone=a,disk=fast"}};
  REQUIRE(node.start());
  const auto id = node.up({"--name", "web", "--memory", "256"});
  REQUIRE_FALSE(id.empty());
  CHECK(eventually(10s, [&] { return get(node, "solo")["sandboxes"] == 1; }));
  const auto list = node.caged({"node", "list"});
  INFO(list.out);
  CHECK(has(list.out, "NAME  STATUS  VERSION"));
  CHECK(has(list.out, "solo  ready"));
  const auto one = get(node, "solo");
  CHECK(one["self"] == true);
  CHECK(one["memory_mb_reserved"] == 256);
  CHECK(one["labels"]["disk"] == "fast");
  CHECK(one["metrics"] == node.metrics_address());
  CHECK(node.caged({"node", "list", "-q"}).out
        == one["id"].get<std::string>() + "\n");
  CHECK(get(node, one["id"])["name"] == "solo");

  CHECK(node.caged({"node", "cordon", "solo"}).out == "solo is cordoned\n");
  CHECK(node.caged({"node", "cordon", "solo"}).out
        == "solo is cordoned (it was before)\n");
  CHECK(has(node.caged({"node", "list"}).out, "ready,cordoned"));
  for (int restarts = 0; restarts < 2; ++restarts) {
    auto refused = node.caged({"up", "--no-config"});
    CHECK(refused.exit == 1);
    INFO(refused.err);
    if (restarts == 0) // later perhaps the booking is the first to know
      CHECK(has(refused.err, "node \"solo\" is cordoned by uid:"));
    CHECK(has(refused.err, "it takes no new sandboxes"));
    CHECK(node.caged({"exec", "web", "--", "echo", "on"}).out == "on\n");
    node.kill();
    REQUIRE(node.start());
  }
  CHECK(eventually(10s, [&] { return get(node, "solo")["cordoned"] == true; }));
  CHECK(node.caged({"node", "uncordon", "solo"}).out
        == "solo is not cordoned\n");
  REQUIRE_FALSE(node.up().empty());

  auto refused = node.caged({"node", "rm", "--force", "solo"});
  CHECK(refused.exit == 1);
  CHECK(has(refused.err, "is alive"));
  refused = node.caged({"node", "get", "other"});
  CHECK(refused.exit == 1);
  CHECK(has(refused.err, "there is no node \"other\""));
  CHECK(node.clear() == "");
}

TEST_CASE("a node alone is asked for by name and labels") {
  test_node node{{"--node-name", "solo", "--labels", "zone=a,disk=fast"}};
  REQUIRE(node.start());
  CHECK_FALSE(node.up({"--node", "solo", "--require", "zone=a", "--require",
                       "disk=fast"})
                  .empty());
  struct bad {
    std::vector<std::string> flags;
    const char* says;
  };
  for (const auto& each : std::vector<bad>{
           {{"--node", "other"}, "there is no node \"other\""},
           {{"--require", "zone=b"}, "lacks the label zone=b"},
           {{"--node", "solo", "--require", "gpu=1"},
            "node \"solo\" has no room: it lacks the label gpu=1"},
           {{"--require", "zone"}, "KEY=VALUE"},
           {{"--require", "=a"}, "KEY=VALUE"},
           {{"--require", "a b=c"}, "of what is required of a node"},
           {{"--node", std::string(300, 'x')}, "300 bytes"},
       }) {
    auto args = each.flags;
    args.insert(args.begin(), {"up", "--no-config"});
    const auto got = node.caged(args);
    INFO(each.says << " in " << got.err);
    CHECK(got.exit == 1);
    CHECK(has(got.err, each.says));
  }
  CHECK(node.clear() == "");
}

TEST_CASE("the gateway tells Prometheus where the metrics are") {
  test_node node{{"--node-name", "solo", "--labels", "zone=a,disk-kind=fast"}};
  REQUIRE(node.start());
  auto got = discover(port_of(node));
  CHECK(got.status == 200);
  CHECK(got.header("content-type") == "application/json");
  INFO(got.body);
  const auto all = json::parse(got.body);
  REQUIRE(all.size() == 1);
  CHECK(all[0]["targets"] == json::array({node.metrics_address()}));
  CHECK(all[0]["labels"]["node"] == "solo");
  CHECK(all[0]["labels"]["label_zone"] == "a");
  CHECK(all[0]["labels"]["label_disk_kind"] == "fast");
  CHECK_FALSE(all[0]["labels"]["version"].get<std::string>().empty());
  auto head = discover(port_of(node), "HEAD");
  CHECK(head.status == 200);
  CHECK(head.header("content-length") == std::to_string(got.body.size()));
  auto post = discover(port_of(node), "POST");
  CHECK(post.status == 405);
  CHECK(post.header("allow") == "GET, HEAD");
  // A page that was made to resolve to this machine does not read it.
  CHECK(discover(port_of(node), "GET", "evil.example").status == 403);
  CHECK(node.series("caged_gateway_requests_total{status=\"405\"") == 1);
  CHECK(node.clear() == "");
}

TEST_CASE("beyond loopback the targets want a token that may read") {
  const self_signed own;
  const auto &cert = own.cert, &key = own.key;
  test_node node{{"--gateway-address", "0.0.0.0:0", "--gateway-cert", cert,
                  "--gateway-key", key}};
  REQUIRE(node.start());
  const auto read =
      make_token(node, {"--template", "minimal", "--scope", "read"});
  const auto full = make_token(node, {"--template", "minimal"});
  auto status = [&](const std::string& secret) {
    process_options with;
    with.in = "GET /v1/sd/prometheus HTTP/1.1\r\nHost: localhost\r\n"
              "Connection: close\r\n"
              + (secret.empty() ? std::string{}
                                : "Authorization: Bearer " + secret + "\r\n")
              + "\r\n";
    const auto got =
        run({"openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile",
             cert, "-servername", "localhost", "-connect",
             "127.0.0.1:" + std::to_string(port_of(node))},
            with);
    INFO(got.out << got.err);
    REQUIRE(got.out.size() > 12);
    CHECK(has(got.out, "\"targets\"") == has(got.out, "HTTP/1.1 200"));
    return got.out.substr(9, 3);
  };
  CHECK(status({}) == "401");
  CHECK(status("caged-nothing") == "401");
  CHECK(status(full.secret) == "403");
  CHECK(status(read.secret) == "200");
  REQUIRE(node.caged({"token", "revoke", read.id}).exit == 0);
  CHECK(status(read.secret) == "401");
  CHECK(node.clear() == "");
}
