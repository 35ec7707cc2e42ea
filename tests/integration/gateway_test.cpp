#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/support/fleet.hpp"
#include "tests/support/gateway_client.hpp"
#include "tests/support/self_signed.hpp"

// The MCP gateway: tokens, HTTP and WebSocket into real sandboxes, over the
// death of the daemon.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::size_t sandboxes(const test_node& node) {
  const auto all = node.caged({"list", "-q"}).out;
  return static_cast<std::size_t>(std::count(all.begin(), all.end(), '\n'));
}

} // namespace

TEST_CASE("an MCP client works in a sandbox over HTTP with a token") {
  test_node node;
  REQUIRE(node.start());
  // What a tenant sets for servers of its own does not disturb this one.
  const auto id = node.up({"--name", "web", "-e", "CAGED_MCP_PORT=9090", "-e",
                           "CAGED_MCP_TOKEN_FILE=/nowhere"});
  REQUIRE_FALSE(id.empty());
  const auto full = make_token(node, {"--sandbox", "web"});
  CHECK(full.path == "/v1/sandboxes/" + id + "/mcp");
  session mcp{port_of(node), full};
  const auto hello = mcp.initialize();
  INFO(hello.dump());
  REQUIRE(hello["result"]["serverInfo"]["name"] == "caged-mcp-server");
  CHECK(mcp.ask("tools/list")["result"]["tools"].size() == 13);
  CHECK(has(mcp.call("file_write", {{"path", "a.txt"}, {"content", "hello"}}),
            "a.txt"));
  CHECK(node.caged({"exec", "web", "--", "cat", "a.txt"}).out == "hello");
  CHECK(has(mcp.call("terminal_exec", {{"command", "echo $((6*7))"}}), "42"));
  // A large answer and a large request, through every window on the way.
  const std::string long_text(1'500'000, 'x');
  CHECK(has(
      mcp.call("file_write", {{"path", "long.txt"}, {"content", long_text}}),
      "long.txt"));
  CHECK(node.caged({"exec", "web", "--", "wc", "-c", "long.txt"}).out
        == "1500000 long.txt\n");
  CHECK(has(mcp.call("file_read", {{"path", "long.txt"}}),
            long_text.substr(0, 900'000)));
  // It counts as activity, and says who it is.
  CHECK(has(node.caged({"ps", "web"}).out, "mcp:" + full.id));

  // Another token of the same sandbox that may only read has its own server.
  const auto read = make_token(node, {"--sandbox", id, "--scope", "read"});
  session reader{port_of(node), read};
  REQUIRE(reader.initialize().contains("result"));
  const auto tools = reader.ask("tools/list")["result"]["tools"];
  CHECK(std::none_of(tools.begin(), tools.end(), [](const json& each) {
    return each["name"] == "file_write" || each["name"] == "terminal_exec";
  }));
  CHECK(reader.call("file_read", {{"path", "a.txt"}}) == "hello");
  // Nor does one token open the other's session.
  reader.id = mcp.id;
  reader.ask("ping");
  CHECK(reader.status == 404);
  CHECK(mcp.send("DELETE").status == 204);
  mcp.ask("ping");
  CHECK(mcp.status == 404);
  CHECK(node.clear() == "");
}

TEST_CASE("the gateway says what is wrong with a request, and goes on") {
  test_node node;
  REQUIRE(node.start());
  const auto id = node.up({"--name", "web"});
  const auto other = node.up({"--name", "other"});
  REQUIRE_FALSE(id.empty());
  const auto good = make_token(node, {"--sandbox", "web"});
  const auto brief = make_token(node, {"--sandbox", "web", "--ttl", "1s"});
  const auto fresh = make_token(node, {"--template", "minimal"});
  struct row {
    token with;
    web_client::fields extra;
    int status;
    const char* says;
  };
  auto wrong = good, elsewhere = good, lost = good, at_new = good,
       at_old = fresh, unknown = fresh;
  wrong.secret.back() = wrong.secret.back() == 'a' ? 'b' : 'a';
  elsewhere.path = "/v1/sandboxes/" + other + "/mcp";
  lost.path = "/v1/nothing";
  at_new.path = "/v1/mcp";
  at_old.path = "/v1/sandboxes/" + id + "/mcp";
  auto none = good;
  none.secret.clear();
  REQUIRE(eventually(10s, [&] {
    return !has(node.caged({"token", "list", "-q"}).out, brief.id);
  }));
  for (const auto& each : std::vector<row>{
           {wrong, {}, 401, "token"},
           {none, {{"Authorization", ""}}, 401, "token"},
           {brief, {}, 401, "token"},
           {elsewhere, {}, 403, "not for sandbox"},
           {at_new, {}, 403, "/v1/sandboxes/"},
           {at_old, {}, 403, "/v1/mcp"},
           {lost, {}, 404, "/v1/sandboxes/ID/mcp"},
           {good, {{"Host", "evil.example"}}, 403, "Host"},
           {good, {{"Origin", "https://evil.example"}}, 403, "Origin"},
           {good, {{"Mcp-Session-Id", "no-such"}}, 404, "session"},
           {fresh, {{"Mcp-Session-Id", id + ".x"}}, 404, "session"},
       }) {
    INFO(each.says << " " << each.status);
    session one{port_of(node), each.with};
    const auto got = one.send(
        "POST", R"({"jsonrpc":"2.0","id":1,"method":"ping"})", each.extra);
    CHECK(got.status == each.status);
    CHECK(has(got.body, each.says));
  }
  // What is no HTTP at all, or too much of it.
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, int>>{
           {"\x16\x03\x01 hello\r\n\r\n", 400},
           {"GET /v1/mcp HTTP/1.1\r\nX: " + std::string(20'000, 'x'), 431},
           {"POST /v1/mcp HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400}}) {
    web_client raw{port_of(node)};
    raw.send(bytes);
    CHECK(raw.response().status == status);
    CHECK(raw.closed());
  }
  // Half a request, and silence: it is closed, nobody waits for it.
  web_client half{port_of(node)};
  half.send("POST /v1/mcp HTTP/1.1\r\nHo");
  CHECK(half.closed(20s));
  session last{port_of(node), good};
  CHECK(last.initialize().contains("result"));
  CHECK(has(node.metrics(), "caged_gateway_requests_total{"));
  CHECK(node.series("caged_gateway_requests_total{status=\"401\"") == 3);
  CHECK(sandboxes(node) == 2);
  CHECK(node.clear() == "");
}

TEST_CASE("a revoked token is refused at once and its sessions end") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  const auto with = make_token(node, {"--sandbox", "web"});
  session http{port_of(node), with};
  REQUIRE(http.initialize().contains("result"));
  session web{port_of(node), with};
  REQUIRE(web.upgrade().status == 101);
  web.hello();
  const auto other = make_token(node, {"--sandbox", "web"});
  session bystander{port_of(node), other};
  REQUIRE(bystander.upgrade().status == 101);
  bystander.hello();
  CHECK(node.caged({"token", "revoke", with.id}).out == with.id + "\n");
  const auto end = web.hear();
  CHECK(end.contains("closed"));
  CHECK(http.client().closed(10s));
  session again{port_of(node), with};
  CHECK(again.send("POST", "{}").status == 401);
  // A second time it is unknown; the other token's session goes on.
  CHECK(node.caged({"token", "revoke", with.id}).exit == 1);
  bystander.say("ping");
  CHECK(bystander.hear()["id"] == bystander.last());
  CHECK_FALSE(has(node.caged({"token", "list"}).out, with.id));
  CHECK(eventually(10s, [&] {
    const auto ps = node.caged({"ps", "web", "--format", "json"}).out;
    for (const auto& each : json::parse(ps))
      if (each["caller"] == "mcp:" + with.id && !each["exited"])
        return false;
    return true;
  }));
  CHECK(node.clear() == "");
}

TEST_CASE("MCP sessions go on after the daemon was killed") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  const auto with = make_token(node, {"--sandbox", "web"});
  session http{port_of(node), with};
  REQUIRE(http.initialize().contains("result"));
  session web{port_of(node), with};
  const std::string id = "0123456789abcdef-session";
  REQUIRE(web.upgrade("?session=" + id).status == 101);
  web.hello();
  const auto before = web.heard;
  // It runs once, whatever happens to its client.
  web.say("tools/call",
          {{"name", "terminal_exec"},
           {"arguments",
            {{"command", "echo ran >> runs; touch began; while [ ! -e go ]; do "
                         "sleep 0.05; done; echo done"}}}});
  REQUIRE(eventually(10s, [&] {
    return node.caged({"exec", "web", "--", "ls", "began"}).exit == 0;
  }));
  node.kill();
  REQUIRE(node.start());
  REQUIRE(node.caged({"exec", "web", "--", "touch", "go"}).exit == 0);

  // HTTP: the same session, by its id.
  session later{port_of(node), with};
  later.id = http.id;
  CHECK(later.ask("tools/list")["result"]["tools"].size() == 13);
  // WebSocket: from the messages it has had on; the last one it sent again.
  session back{port_of(node), with};
  const auto got =
      back.upgrade("?session=" + id + "&received=" + std::to_string(before)
                   + "&next=" + std::to_string(3));
  REQUIRE(got.status == 101);
  back.client().say(json{{"jsonrpc", "2.0"},
                         {"id", web.last()},
                         {"method", "tools/call"},
                         {"params",
                          {{"name", "terminal_exec"},
                           {"arguments", {{"command", "echo ran >> runs"}}}}}}
                        .dump());
  const auto answer = back.hear();
  CHECK(answer["id"] == web.last());
  CHECK(has(session::text_of(answer), "done"));
  CHECK(node.caged({"exec", "web", "--", "cat", "runs"}).out == "ran\n");
  CHECK(audit_findings(node) == "");
  CHECK(node.clear() == "");
}

TEST_CASE("a stream of HTTP goes on behind its last event after a kill") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  const auto with = make_token(node, {"--sandbox", "web"});
  session http{port_of(node), with};
  REQUIRE(http.initialize().contains("result"));
  http.begin(
      "POST",
      R"({"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":)"
      R"("terminal_exec","arguments":{"command":"touch began; while [ ! -e go )"
      R"(]; do sleep 0.05; done; echo finished"}}})");
  CHECK(http.client().head().status == 200);
  const auto first = http.client().event();
  REQUIRE(first);
  const auto line = first->find("id: ");
  REQUIRE(line != std::string::npos);
  const auto last = first->substr(line + 4, first->find('\n', line) - line - 4);
  REQUIRE(eventually(10s, [&] {
    return node.caged({"exec", "web", "--", "ls", "began"}).exit == 0;
  }));
  node.kill();
  REQUIRE(node.start());
  session back{port_of(node), with};
  back.id = http.id;
  back.begin("GET", {}, {{"Last-Event-ID", last}});
  CHECK(back.client().head().status == 200);
  REQUIRE(node.caged({"exec", "web", "--", "touch", "go"}).exit == 0);
  std::string all;
  while (const auto event = back.client().event()) {
    all += *event;
    if (has(all, "finished"))
      break;
  }
  CHECK(has(all, "\"id\":7"));
  CHECK(has(all, "finished"));
  // An event that nobody sent has no stream.
  session wrong{port_of(node), with};
  wrong.id = http.id;
  CHECK(wrong.send("GET", {}, {{"Last-Event-ID", "99-1"}}).status == 400);
  CHECK(node.clear() == "");
}

TEST_CASE("a session without a sandbox has one of its own while it lasts") {
  test_node node;
  REQUIRE(node.start());
  const auto with = make_token(node, {"--template", "minimal"});
  CHECK(with.path == "/v1/mcp");
  session one{port_of(node), with}, two{port_of(node), with};
  const auto first = one.initialize();
  INFO(first.dump());
  REQUIRE(first.contains("result"));
  REQUIRE(two.initialize().contains("result"));
  CHECK(sandboxes(node) == 2);
  CHECK(has(one.id, "cage-"));
  one.call("file_write", {{"path", "mine"}, {"content", "1"}});
  CHECK(has(two.call("file_list", {{"path", "."}}), "mine") == false);
  // Over another connection, too; and not with another token.
  session again{port_of(node), with};
  again.id = one.id;
  CHECK(again.call("file_read", {{"path", "mine"}}) == "1");
  session thief{port_of(node), make_token(node, {"--template", "minimal"})};
  thief.id = one.id;
  thief.ask("ping");
  CHECK(thief.status == 404);

  CHECK(one.send("DELETE").status == 204);
  CHECK(eventually(20s, [&] { return sandboxes(node) == 1; }));
  session web{port_of(node), with};
  REQUIRE(web.upgrade().status == 101);
  web.hello();
  CHECK(sandboxes(node) == 2);
  web.client().close();
  CHECK(eventually(20s, [&] { return sandboxes(node) == 1; }));
  // The daemon's death in between costs nobody their session.
  node.kill();
  REQUIRE(node.start());
  session back{port_of(node), with};
  back.id = two.id;
  CHECK(back.ask("tools/list")["result"]["tools"].size() == 13);
  CHECK(back.send("DELETE").status == 204);
  CHECK(eventually(20s, [&] { return sandboxes(node) == 0; }));
  // An unknown template is the node's error, at once.
  session none{port_of(node), make_token(node, {"--template", "nothing"})};
  const auto refused = none.initialize();
  CHECK(none.status == 404);
  CHECK(has(refused.dump(), "nothing"));
  CHECK(node.clear() == "");
}

TEST_CASE("beyond loopback the gateway wants TLS, and speaks it") {
  const self_signed own;
  const auto &cert = own.cert, &key = own.key;
  const auto& dir = own.dir;
  test_node node{{"--gateway-address", "0.0.0.0:0", "--gateway-cert", cert,
                  "--gateway-key", key}};
  REQUIRE(node.start());
  const auto id = node.up({"--name", "web"});
  const auto with = make_token(node, {"--sandbox", "web"});
  write_file(dir / "token", "Authorization: Bearer " + with.secret, 0600);
  write_file(dir / "body",
             R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":)"
             R"({"protocolVersion":"2025-11-25","capabilities":{},)"
             R"("clientInfo":{"name":"t","version":"1"}}})");
  const auto got = run({"openssl", "s_client", "-quiet", "-verify_return_error",
                        "-CAfile", cert, "-servername", "localhost", "-connect",
                        "127.0.0.1:" + std::to_string(port_of(node))},
                       [&] {
                         process_options out;
                         const auto body = read_file(dir / "body");
                         out.in =
                             "POST " + with.path
                             + " HTTP/1.1\r\nHost: elsewhere.example\r\n"
                               "Content-Type: application/json\r\nAccept: "
                               "application/json, text/event-stream\r\n"
                               "Connection: close\r\nAuthorization: Bearer "
                             + with.secret + "\r\nContent-Length: "
                             + std::to_string(body.size()) + "\r\n\r\n" + body;
                         return out;
                       }());
  CHECK(has(got.out, "HTTP/1.1 200 OK"));
  CHECK(has(got.out, "caged-mcp-server"));
  // Plain text is not understood, and nothing is lost by it.
  web_client plain{port_of(node)};
  plain.send("GET /v1/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(plain.closed(10s));
  // What would be unsafe is refused before anything starts.
  ::chmod(key.c_str(), 0644);
  for (const auto& [flags, says] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--gateway-address", "0.0.0.0:0"}, "TLS"},
           {{"--gateway-cert", cert, "--gateway-key", key}, "chmod 600"},
           {{"--gateway-cert", cert}, "--gateway-key"},
           {{"--gateway-address", "nowhere"}, "ADDRESS:PORT"},
           {{"--gateway-address", "127.0.0.1:" + std::to_string(port_of(node))},
            "--gateway-address"}}) {
    temp_dir data;
    std::vector<std::string> argv = {bin_dir() + "/caged-node",
                                     "--data-dir",
                                     data / "data",
                                     "--run-dir",
                                     data / "run",
                                     "--metrics-address",
                                     "127.0.0.1:0",
                                     "--agent-dir",
                                     bin_dir()};
    argv.insert(argv.end(), flags.begin(), flags.end());
    const auto refused = run(argv);
    INFO(refused.err);
    CHECK(refused.exit != 0);
    CHECK_FALSE(refused.timed_out);
    CHECK(has(refused.err, says));
  }
  CHECK(node.clear() == "");
}

TEST_CASE("token verbs refuse what is wrong in one sentence") {
  test_node node;
  REQUIRE(node.start());
  REQUIRE_FALSE(node.up({"--name", "web"}).empty());
  for (const auto& [args, says] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"create"}, "--sandbox or --template"},
           {{"create", "--sandbox", "nobody"}, "nobody"},
           {{"create", "--sandbox", "web", "--template", "minimal"},
            "--sandbox"},
           {{"create", "--sandbox", "web", "--ttl", "soon"}, "soon"},
           {{"create", "--sandbox", "web", "--ttl", "1ms"}, "1ms"},
           {{"create", "--sandbox", "web", "--scope", "all"}, "all"},
           {{"create", "--template", "A!"}, "A!"},
           {{"revoke", "tok-nothing1"}, "tok-nothing1"},
           {{"revoke", "x;y"}, "x;y"},
           {{"revoke"}, "token"}}) {
    std::vector<std::string> all = {"token"};
    all.insert(all.end(), args.begin(), args.end());
    const auto got = node.caged(all);
    INFO(got.err);
    CHECK(got.exit != 0);
    CHECK(got.out.empty());
    CHECK(has(got.err, says));
  }
  CHECK(node.caged({"token", "list", "-q"}).out.empty());
  CHECK(node.caged({"up", "--label", "caged.mcp-session=x"}).exit != 0);
  // The secret is printed once, alone; no record or log has it.
  const auto made = node.caged({"token", "create", "--sandbox", "web"});
  const auto secret = made.out.substr(0, made.out.find('\n'));
  CHECK(secret.size() == 55);
  CHECK(made.out == secret + "\n");
  const auto found =
      run({"grep", "-r", secret, node.data_dir(), node.run_dir()});
  CHECK(found.exit == 1);
  CHECK(node.clear() == "");
}
