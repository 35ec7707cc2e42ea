#pragma once

#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/support/test_node.hpp"
#include "tests/unit/mcp/web_client.hpp"

/// A client of a node's MCP gateway.
namespace caged::test {

using nlohmann::json;

inline std::uint16_t port_of(const test_node& node) {
  auto text = read_file(node.run_dir() + "/gateway-address");
  const auto colon = text.rfind(':');
  return colon == std::string::npos
             ? std::uint16_t{0}
             : static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1)));
}

struct token {
  std::string id, secret, path;
};

inline token make_token(const test_node& node, std::vector<std::string> flags) {
  std::vector<std::string> args = {"token", "create", "--format", "json"};
  args.insert(args.end(), flags.begin(), flags.end());
  const auto made = node.caged(args);
  INFO(made.err);
  REQUIRE(made.exit == 0);
  const auto got = json::parse(made.out);
  const std::string url = got["url"];
  return {got["id"], got["token"], url.substr(url.find("/v1/"))};
}

/// One client of the gateway with a token, over HTTP or WebSocket.
class session {
public:
  session(std::uint16_t port, token with)
      : port_{port}, token_{std::move(with)} {
    connect();
  }

  void connect() { client_ = std::make_unique<web_client>(port_); }
  /// Perhaps to another daemon.
  void reconnect(std::uint16_t port) {
    port_ = port;
    connect();
  }
  web_client& client() { return *client_; }

  web_client::fields head(const web_client::fields& extra = {}) const {
    web_client::fields all = {{"Authorization", "Bearer " + token_.secret}};
    if (!id.empty()) {
      all["Mcp-Session-Id"] = id;
      all["MCP-Protocol-Version"] = "2025-11-25";
    }
    for (const auto& [name, value] : extra)
      all[name] = value;
    return all;
  }

  http_response send(const std::string& method, const std::string& body = {},
                     const web_client::fields& extra = {}) {
    client_->send(at(web_client::request(method, head(extra), body)));
    return client_->response();
  }

  /// Sends a request alone: the caller reads what comes of it.
  void begin(const std::string& method, const std::string& body = {},
             const web_client::fields& extra = {}) {
    client_->send(at(web_client::request(method, head(extra), body)));
  }

  /// The answer to one request; what precedes it in a stream is passed over.
  json ask(const std::string& method, const json& params = json::object()) {
    const json message = {{"jsonrpc", "2.0"},
                          {"id", ++last_},
                          {"method", method},
                          {"params", params}};
    auto got = send("POST", message.dump());
    status = got.status;
    if (got.headers.contains("mcp-session-id"))
      id = got.header("mcp-session-id");
    return answer_in(got.body, last_);
  }

  json initialize() {
    return ask("initialize",
               {{"protocolVersion", "2025-11-25"},
                {"capabilities", json::object()},
                {"clientInfo", {{"name", "test"}, {"version", "1"}}}});
  }

  std::string call(const std::string& tool, const json& arguments) {
    return text_of(
        ask("tools/call", {{"name", tool}, {"arguments", arguments}}));
  }

  // WebSocket.

  http_response upgrade(const std::string& query = {}) {
    client_->send(web_client::upgrade(head(), token_.path + query));
    auto out = client_->head();
    if (out.status != 101 && out.headers.contains("content-length"))
      out.body = client_->read(std::stoul(out.header("content-length")));
    return out;
  }
  void say(const std::string& method, const json& params = json::object()) {
    const json message = {{"jsonrpc", "2.0"},
                          {"id", ++last_},
                          {"method", method},
                          {"params", params}};
    said_ = message.dump();
    client_->say(said_);
  }
  /// The same request with the same id.
  void say_again() { client_->say(said_); }
  /// The next message; pings are answered.
  json hear() {
    for (;;) {
      const auto frame = client_->hear();
      if (frame.opcode == 9)
        client_->send(web_client::frame(10, frame.payload));
      else if (frame.opcode == 8)
        return {{"closed", frame.code()}, {"why", frame.payload.substr(2)}};
      else if (frame.opcode == 1) {
        ++heard;
        return json::parse(frame.payload);
      }
    }
  }
  void hello() {
    say("initialize", {{"protocolVersion", "2025-11-25"},
                       {"capabilities", json::object()},
                       {"clientInfo", {{"name", "test"}, {"version", "1"}}}});
    REQUIRE(hear().contains("result"));
    client_->say(R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
  }

  static std::string text_of(const json& answer) {
    if (!answer.is_object() || !answer.contains("result"))
      return answer.dump();
    return answer["result"]["content"].at(0).value("text", "");
  }

  std::string id;
  int status = 0;
  int heard = 0; ///< messages over WebSocket
  int last() const { return last_; }

private:
  std::string at(std::string request) const {
    const std::string from = " /mcp ";
    request.replace(request.find(from), from.size(), " " + token_.path + " ");
    return request;
  }
  static json answer_in(const std::string& body, int wanted) {
    if (body.empty())
      return nullptr;
    if (body.front() == '{')
      return json::parse(body);
    for (std::size_t from = 0;
         (from = body.find("data: ", from)) != std::string::npos; ++from) {
      const auto end = body.find('\n', from);
      auto one =
          json::parse(body.substr(from + 6, end - from - 6), nullptr, false);
      if (one.is_object() && one.contains("id") && one["id"] == wanted)
        return one;
    }
    return nullptr;
  }

  std::uint16_t port_;
  token token_;
  std::unique_ptr<web_client> client_;
  int last_ = 0;
  std::string said_;
};

} // namespace caged::test
