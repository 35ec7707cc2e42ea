// The MCP server's dispatcher: lines of a client, parsed and handled by a
// session with tools without side effects. The first byte chooses what the
// session is before: nothing, or initialized with one of the revisions.
//
// Every answer must be JSON-RPC 2.0; a request that is well-formed has exactly
// one answer, unless it was cancelled or is a subscription.

#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "mcp/contents.hpp"
#include "mcp/process_table.hpp"
#include "mcp/session.hpp"

// Sessions hold one; no tool here starts a command, and what starts them is no
// part of this target.
namespace caged::mcp {
struct process_table::impl {};
process_table::process_table() = default;
process_table::~process_table() = default;
} // namespace caged::mcp

namespace {

using namespace caged::mcp;
using caged::result;

void require(bool holds) {
  if (!holds)
    std::abort();
}

class checked : public outlet {
public:
  bool send(std::string message) override {
    const auto read = json::parse(message); // throws: the fuzzer stops
    std::lock_guard lock{mutex_};
    if (read.is_array())
      for (const auto& each : read)
        look_at(each);
    else
      look_at(read);
    return true;
  }
  void finished() override { ++ends; }
  int answers(const std::string& id) {
    std::lock_guard lock{mutex_};
    return answers_[id];
  }
  int ends = 0;

private:
  void look_at(const json& message) {
    require(message.at("jsonrpc") == "2.0");
    if (message.contains("method"))
      return;
    require(message.contains("result") != message.contains("error"));
    if (message.contains("error")) {
      require(message["error"].at("code").is_number_integer());
      require(message["error"].at("message").is_string());
    }
    ++answers_[message.at("id").dump()];
  }

  std::mutex mutex_;
  std::map<std::string, int> answers_;
};

class no_files final : public resource_source {
public:
  result<page> list(std::string_view from, call&) const override {
    if (!from.empty())
      return caged::fail(caged::ec::bad_request, "no such cursor");
    return page{{{{"uri", "test://a"}, {"name", "a"}, {"title", "A"}}}, "b"};
  }
  std::vector<json> templates() const override {
    return {{{"uriTemplate", "test://{a}"}, {"name", "t"}}};
  }
  result<std::vector<json>> read(std::string_view uri, call&) const override {
    if (uri != "test://a")
      return caged::fail(caged::ec::not_found, std::string{uri});
    return std::vector<json>{{{"uri", uri}, {"text", "\xff"}}};
  }
};

/// Everything runs where messages are read, so that the fuzzer sees one thread
/// and the same input does the same; resources are on a worker.
std::unique_ptr<server> make_server() {
  contents what;
  tool echo;
  echo.name = "echo";
  echo.input_schema = [] { return json{{"type", "object"}}; };
  echo.pace = tool_pace::quick;
  echo.run = [](const arguments& args, call& c) -> result<tool_result> {
    tool_result out;
    out.text = args.text("text", "");
    static_cast<void>(args.integer("n", -5, 5, 0));
    static_cast<void>(args.number("x", 0, 1, 0));
    static_cast<void>(args.flag("f", false));
    static_cast<void>(args.texts("l"));
    static_cast<void>(args.text_map("m"));
    static_cast<void>(args.choice("c", {"a", "b"}, "a"));
    if (auto ok = args.done(); !ok)
      return tl::unexpected(ok.error());
    c.progress(1, 2, out.text);
    c.log(log_level::error, out.text, args.object());
    out.structured = args.object();
    out.text_member = "text";
    return out;
  };
  what.tools.add(std::move(echo));
  what.resources = std::make_unique<no_files>();
  what.prompts = {{{{"name", "p"}}, [](const json& args) -> result<json> {
                     return json{{"messages", json::array({args})}};
                   }}};
  what.complete = [](const json&) { return std::vector<std::string>{"v"}; };
  what.instructions = "i";
  return server::with({}, std::move(what));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  static const auto here = make_server();
  if (size == 0)
    return 0;
  auto out = std::make_shared<checked>();
  auto client = session::make(*here, out);
  const auto known = revisions();
  auto before = data[0] % 5U;
  if (before > 0)
    client->receive(
        *parse_text(R"({"jsonrpc":"2.0","id":"init","method":"initialize",)"
                    R"("params":{"protocolVersion":")"
                    + known[before] + R"("}})"),
        out);
  std::string_view rest{reinterpret_cast<const char*>(data) + 1, size - 1};
  auto texts = before > 0 ? 1 : 0;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    auto read = parse_text(line);
    if (!read) {
      out->send(read.error());
      continue;
    }
    ++texts;
    std::string quick;
    auto had = 0;
    if (!read->batch && read->messages.size() == 1
        && read->messages[0].kind == incoming::sort::request
        && read->messages[0].method != "subscriptions/listen"
        && read->messages[0].method.rfind("resources/", 0) != 0) {
      quick = read->messages[0].id.dump();
      had = out->answers(quick);
    }
    client->receive(std::move(*read), out);
    if (!quick.empty())
      require(out->answers(quick) == had + 1);
  }
  client->close();
  while (client->busy() > 0)
    ;
  require(out->ends == texts);
  return 0;
}
