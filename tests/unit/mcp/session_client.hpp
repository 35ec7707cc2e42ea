#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "mcp/call.hpp"
#include "mcp/contents.hpp"
#include "mcp/session.hpp"
#include "tests/support/process.hpp"

namespace caged::mcp::test {

using namespace std::chrono_literals;
using caged::test::eventually;

/// Keeps what it is sent.
class kept : public outlet {
public:
  bool send(std::string message) override {
    std::lock_guard lock{mutex_};
    all_.push_back(json::parse(message));
    return true;
  }
  void finished() override { ++finished_; }
  std::vector<json> all() const {
    std::lock_guard lock{mutex_};
    return all_;
  }
  int ends() const { return finished_; }
  /// The answer to this request; null while there is none.
  json answer(const json& id) const {
    std::lock_guard lock{mutex_};
    for (const auto& each : all_)
      if (each.is_object() && !each.contains("method") && each.contains("id")
          && each["id"] == id)
        return each;
    return nullptr;
  }
  std::vector<json> notes(const std::string& method) const {
    std::vector<json> out;
    for (const auto& each : all())
      if (each.is_object() && each.value("method", "") == method)
        out.push_back(each.at("params"));
    return out;
  }

private:
  mutable std::mutex mutex_;
  std::vector<json> all_;
  std::atomic<int> finished_ = 0;
};

/// A client of a server with tools of a test.
class client {
public:
  explicit client(server& of)
      : out{std::make_shared<kept>()}, session{mcp::session::make(of, out)} {}
  ~client() { session->close(); }
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  /// As a transport does it.
  void send_text(std::string_view text) {
    auto read = parse_text(text);
    if (read)
      session->receive(std::move(*read), out);
    else
      out->send(read.error());
  }
  void send(const json& message) { send_text(message.dump()); }
  void request(const json& id, const std::string& method,
               const json& params = json::object()) {
    send({{"jsonrpc", "2.0"},
          {"id", id},
          {"method", method},
          {"params", params}});
  }
  void notify(const std::string& method, const json& params) {
    send({{"jsonrpc", "2.0"}, {"method", method}, {"params", params}});
  }
  /// A request and its whole answer.
  json ask(const std::string& method, const json& params = json::object()) {
    const json id = "ask " + std::to_string(++last_);
    request(id, method, params);
    INFO(method << " " << params.dump());
    REQUIRE(eventually(10s, [&] { return !out->answer(id).is_null(); }));
    return out->answer(id);
  }
  json result_of(const std::string& method,
                 const json& params = json::object()) {
    auto answer = ask(method, params);
    INFO(answer.dump());
    REQUIRE(answer.contains("result"));
    return answer["result"];
  }
  int code_of(const std::string& method, const json& params = json::object()) {
    auto answer = ask(method, params);
    INFO(answer.dump());
    REQUIRE(answer.contains("error"));
    CHECK_FALSE(answer.contains("result"));
    return answer["error"]["code"].get<int>();
  }
  json initialize(const std::string& revision = "2025-06-18") {
    auto got = result_of("initialize",
                         {{"protocolVersion", revision},
                          {"capabilities", json::object()},
                          {"clientInfo", {{"name", "t"}, {"version", "1"}}}});
    notify("notifications/initialized", json::object());
    return got;
  }
  json call(const std::string& name, const json& args = json::object()) {
    return result_of("tools/call", {{"name", name}, {"arguments", args}});
  }

  std::shared_ptr<kept> out;
  std::shared_ptr<mcp::session> session;

private:
  int last_ = 0;
};

/// params of 2026-07-28.
inline json modern(json params = json::object(),
                   const char* version = "2026-07-28") {
  params["_meta"]["io.modelcontextprotocol/protocolVersion"] = version;
  params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
      json::object();
  return params;
}

/// What waits until a test lets it go or its call is cancelled.
struct gate {
  std::atomic<bool> open = false;
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::atomic<int> cancelled = 0;
};

inline tool
plain_tool(std::string name,
           std::function<result<tool_result>(const arguments&, call&)> run) {
  tool out;
  out.name = std::move(name);
  out.title = "A title";
  out.description = "For tests";
  out.input_schema = [] { return json{{"type", "object"}}; };
  out.run = std::move(run);
  return out;
}

/// echo (quick, structured), wait, fail, throw, progress, log, blocks, write.
inline tool_set test_tools(const std::shared_ptr<gate>& g) {
  tool_set out;
  auto echo = plain_tool(
      "echo", [](const arguments& args, call&) -> result<tool_result> {
        tool_result got;
        got.text = args.text("text", "");
        if (auto ok = args.done(); !ok)
          return tl::unexpected(ok.error());
        got.structured = {{"size", got.text.size()}};
        got.text_member = "text";
        return got;
      });
  echo.output_schema = [] { return json{{"type", "object"}}; };
  echo.annotations.read_only = true;
  echo.pace = tool_pace::quick;
  out.add(std::move(echo));
  out.add(
      plain_tool("wait", [g](const arguments&, call& c) -> result<tool_result> {
        const auto now = ++g->inside;
        for (auto most = g->most.load(); now > most;)
          if (g->most.compare_exchange_weak(most, now))
            break;
        eventually(20s, [&] { return g->open || c.cancelled(); });
        if (c.cancelled())
          ++g->cancelled;
        --g->inside;
        tool_result got;
        got.text = "waited";
        return got;
      }));
  out.add(
      plain_tool("fail", [](const arguments&, call&) -> result<tool_result> {
        return caged::fail(ec::not_found, "no such file", "list the folder");
      }));
  out.add(
      plain_tool("throw", [](const arguments&, call&) -> result<tool_result> {
        throw std::runtime_error{"secret detail"};
      }));
  out.add(plain_tool("progress",
                     [](const arguments&, call& c) -> result<tool_result> {
                       c.progress(1, 3, "one");
                       c.progress(1, 3, "again");
                       c.progress(0.5, 3, "back");
                       c.progress(3, std::nullopt, "");
                       for (auto i = 4; i < 10'000; ++i)
                         c.progress(i, 10'000, "flood");
                       return tool_result{};
                     }));
  out.add(
      plain_tool("log", [](const arguments&, call& c) -> result<tool_result> {
        c.log(log_level::debug, "t", "fine");
        c.log(log_level::warning, "t", {{"a", 1}});
        return tool_result{};
      }));
  out.add(
      plain_tool("blocks", [](const arguments&, call&) -> result<tool_result> {
        tool_result got;
        got.blocks = {
            {{"type", "image"}, {"data", "AA=="}, {"mimeType", "image/png"}},
            {{"type", "audio"}, {"data", "AA=="}, {"mimeType", "audio/wav"}},
            {{"type", "resource_link"}, {"uri", "file:///a"}, {"name", "a"}}};
        return got;
      }));
  auto writer =
      plain_tool("write", [](const arguments&, call&) -> result<tool_result> {
        return tool_result{};
      });
  writer.writes = true;
  writer.annotations.destructive = true;
  out.add(std::move(writer));
  return out;
}

} // namespace caged::mcp::test
