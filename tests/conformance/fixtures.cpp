// caged-mcp-fixtures: the server with the tools, resources and prompts that the
// scenarios of @modelcontextprotocol/conformance call by name. Names, texts and
// schemas are those of its SERVER_REQUIREMENTS.md. Never installed.

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mcp/contents.hpp"
#include "mcp/log.hpp"
#include "mcp/session.hpp"
#include "messages/text.hpp"

namespace {

using namespace caged::mcp;
using caged::ec;
using caged::fail;
using caged::result;
using std::chrono::milliseconds;

/// One red pixel.
constexpr auto png =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAW"
    "jR9awAAAABJRU5ErkJggg==";

/// A WAV file (RIFF, 8 kHz, 8 bit, mono) without a sample.
std::string wav() {
  using namespace std::string_view_literals;
  return caged::base64_encode("RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f"
                              "\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"sv);
}

json text_block(const std::string& text) {
  return {{"type", "text"}, {"text", text}};
}

json image_block() {
  return {{"type", "image"}, {"data", png}, {"mimeType", "image/png"}};
}

json resource_block(const char* uri, const char* type, const char* text) {
  return {{"type", "resource"},
          {"resource", {{"uri", uri}, {"mimeType", type}, {"text", text}}}};
}

using body = std::function<result<tool_result>(const arguments&, call&)>;

tool make(const char* name, const char* about, body run,
          json properties = json::object(),
          std::vector<std::string> required = {}) {
  tool out;
  out.name = name;
  out.description = about;
  json schema{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty())
    schema["required"] = required;
  out.input_schema = [schema] { return schema; };
  out.run = std::move(run);
  return out;
}

/// A tool without arguments that always answers the same.
tool fixed(const char* name, const char* about, tool_result answer) {
  return make(name, about,
              [answer](const arguments& args, call&) -> result<tool_result> {
                if (auto ok = args.done(); !ok)
                  return tl::unexpected(ok.error());
                return answer;
              });
}

tool_result of_text(std::string text) {
  tool_result out;
  out.text = std::move(text);
  return out;
}

tool_result of_blocks(std::vector<json> blocks, std::string text = {}) {
  auto out = of_text(std::move(text));
  out.blocks = std::move(blocks);
  return out;
}

/// Asks the client, and says what it answered behind `before`.
result<tool_result> ask_user(call& c, const char* before, json params) {
  auto got = c.ask("elicitation/create", std::move(params));
  if (!got)
    return tl::unexpected(std::move(got.error()));
  auto content = got->find("content");
  return of_text(std::string{before} + ": action="
                 + got->value("action", std::string{"none"}) + ", content="
                 + (content == got->end() ? "{}" : content->dump()));
}

json titled(std::initializer_list<std::pair<const char*, const char*>> from) {
  auto out = json::array();
  for (const auto& [value, title] : from)
    out.push_back({{"const", value}, {"title", title}});
  return out;
}

/// SEP-1034: a default for every primitive type.
json defaults_form() {
  return {
      {"name",
       {{"type", "string"},
        {"description", "User name"},
        {"default", "John Doe"}}},
      {"age",
       {{"type", "integer"}, {"description", "User age"}, {"default", 30}}},
      {"score",
       {{"type", "number"}, {"description", "User score"}, {"default", 95.5}}},
      {"status",
       {{"type", "string"},
        {"description", "User status"},
        {"enum", {"active", "inactive", "pending"}},
        {"default", "active"}}},
      {"verified",
       {{"type", "boolean"},
        {"description", "Verification status"},
        {"default", true}}}};
}

/// SEP-1330: the five ways to write an enumeration.
json enums_form() {
  const json options = {"option1", "option2", "option3"};
  return {{"untitledSingle",
           {{"type", "string"},
            {"description", "Select one option"},
            {"enum", options}}},
          {"titledSingle",
           {{"type", "string"},
            {"description", "Select one option with titles"},
            {"oneOf", titled({{"value1", "First Option"},
                              {"value2", "Second Option"},
                              {"value3", "Third Option"}})}}},
          {"legacyEnum",
           {{"type", "string"},
            {"description", "Select one option (legacy)"},
            {"enum", {"opt1", "opt2", "opt3"}},
            {"enumNames", {"Option One", "Option Two", "Option Three"}}}},
          {"untitledMulti",
           {{"type", "array"},
            {"description", "Select multiple options"},
            {"minItems", 1},
            {"maxItems", 3},
            {"items", {{"type", "string"}, {"enum", options}}}}},
          {"titledMulti",
           {{"type", "array"},
            {"description", "Select multiple options with titles"},
            {"minItems", 1},
            {"maxItems", 3},
            {"items",
             {{"anyOf", titled({{"value1", "First Choice"},
                                {"value2", "Second Choice"},
                                {"value3", "Third Choice"}})}}}}}};
}

tool form_tool(const char* name, const char* about, const char* message,
               json properties) {
  return make(
      name, about,
      [message, properties](const arguments&, call& c) -> result<tool_result> {
        return ask_user(c, "Elicitation completed",
                        {{"message", message},
                         {"requestedSchema",
                          {{"type", "object"},
                           {"properties", properties},
                           {"required", json::array()}}}});
      });
}

void add_content_tools(tool_set& to) {
  to.add(fixed("test_simple_text", "Tests simple text content response",
               of_text("This is a simple text response for testing.")));
  to.add(fixed("test_image_content", "Tests image content response",
               of_blocks({image_block()})));
  to.add(fixed(
      "test_audio_content", "Tests audio content response",
      of_blocks(
          {{{"type", "audio"}, {"data", wav()}, {"mimeType", "audio/wav"}}})));
  to.add(fixed(
      "test_embedded_resource", "Tests embedded resource content response",
      of_blocks({resource_block("test://embedded-resource", "text/plain",
                                "This is an embedded resource content.")})));
  to.add(fixed("test_multiple_content_types",
               "Tests response with multiple content types",
               of_blocks({image_block(),
                          resource_block("test://mixed-content-resource",
                                         "application/json",
                                         R"({"test":"data","value":123})")},
                         "Multiple content types test:")));
  to.add(make("test_error_handling", "Tests error response handling",
              [](const arguments&, call&) -> result<tool_result> {
                return fail(
                    ec::internal,
                    "This tool intentionally returns an error for testing");
              }));
  auto schema =
      make("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features",
           [](const arguments& args, call&) -> result<tool_result> {
             return of_text("JSON Schema 2020-12 tool called with: "
                            + args.object().dump());
           });
  schema.input_schema = [] {
    return json{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                {"type", "object"},
                {"$defs",
                 {{"address",
                   {{"type", "object"},
                    {"properties",
                     {{"street", {{"type", "string"}}},
                      {"city", {{"type", "string"}}}}}}}}},
                {"properties",
                 {{"name", {{"type", "string"}}},
                  {"address", {{"$ref", "#/$defs/address"}}}}},
                {"additionalProperties", false}};
  };
  to.add(std::move(schema));
}

void add_talking_tools(tool_set& to) {
  to.add(make("test_tool_with_logging",
              "Tests tool that emits log messages during execution",
              [](const arguments&, call& c) -> result<tool_result> {
                c.log(log_level::info, "", "Tool execution started");
                std::this_thread::sleep_for(milliseconds{50});
                c.log(log_level::info, "", "Tool processing data");
                std::this_thread::sleep_for(milliseconds{50});
                c.log(log_level::info, "", "Tool execution completed");
                return of_text("Tool with logging executed successfully");
              }));
  to.add(make("test_tool_with_progress",
              "Tests tool that reports progress notifications",
              [](const arguments&, call& c) -> result<tool_result> {
                for (const auto done : {0, 50, 100}) {
                  if (done > 0)
                    std::this_thread::sleep_for(milliseconds{50});
                  c.progress(done, 100,
                             "Completed step " + std::to_string(done)
                                 + " of 100");
                }
                return of_text("Tool with progress executed successfully");
              }));
  to.add(make("test_reconnection", "Takes a moment, then answers",
              [](const arguments&, call&) -> result<tool_result> {
                std::this_thread::sleep_for(milliseconds{100});
                return of_text("Reconnection test completed successfully.");
              }));
  const json prompt = {
      {"prompt",
       {{"type", "string"}, {"description", "The prompt to send to the LLM"}}}};
  to.add(make(
      "test_sampling", "Tests server-initiated sampling",
      [](const arguments& args, call& c) -> result<tool_result> {
        auto asked = args.text("prompt");
        if (auto ok = args.done(); !ok)
          return tl::unexpected(ok.error());
        auto got = c.ask(
            "sampling/createMessage",
            {{"messages", json::array({{{"role", "user"},
                                        {"content", text_block(asked)}}})},
             {"maxTokens", 100}});
        if (!got)
          return tl::unexpected(std::move(got.error()));
        const auto where = json::json_pointer{"/content/text"};
        return of_text("LLM response: "
                       + (got->contains(where) && got->at(where).is_string()
                              ? got->at(where).get<std::string>()
                              : "No response"));
      },
      prompt, {"prompt"}));
  const json message = {
      {"message",
       {{"type", "string"}, {"description", "The message to show the user"}}}};
  to.add(make("test_elicitation", "Tests server-initiated elicitation",
              [](const arguments& args, call& c) -> result<tool_result> {
                auto shown = args.text("message");
                if (auto ok = args.done(); !ok)
                  return tl::unexpected(ok.error());
                const json response = {{"type", "string"},
                                       {"description", "User's response"}};
                return ask_user(c, "User response",
                                {{"message", shown},
                                 {"requestedSchema",
                                  {{"type", "object"},
                                   {"properties", {{"response", response}}},
                                   {"required", json::array({"response"})}}}});
              },
              message, {"message"}));
  to.add(form_tool("test_elicitation_sep1034_defaults",
                   "Tests elicitation with default values per SEP-1034",
                   "Please review and update the form fields with defaults",
                   defaults_form()));
  to.add(form_tool("test_elicitation_sep1330_enums",
                   "Tests elicitation with enum schemas per SEP-1330",
                   "Please select options from the enum fields", enums_form()));
}

class fixture_resources final : public resource_source {
public:
  result<page> list(std::string_view from, call&) const override {
    if (!from.empty())
      return fail(ec::bad_request, "there is no such cursor");
    return page{
        {{{"uri", "test://static-text"},
          {"name", "Static Text Resource"},
          {"description", "A static text resource for testing"},
          {"mimeType", "text/plain"}},
         {{"uri", "test://static-binary"},
          {"name", "Static Binary Resource"},
          {"description", "A static binary resource (image) for testing"},
          {"mimeType", "image/png"}},
         {{"uri", "test://watched-resource"},
          {"name", "Watched Resource"},
          {"description", "A resource that can be subscribed to"},
          {"mimeType", "text/plain"}}},
        {}};
  }

  std::vector<json> templates() const override {
    return {{{"uriTemplate", "test://template/{id}/data"},
             {"name", "Resource Template"},
             {"description", "A resource template with parameter substitution"},
             {"mimeType", "application/json"}}};
  }

  result<std::vector<json>> read(std::string_view uri, call&) const override {
    json out = {{"uri", uri}, {"mimeType", "text/plain"}};
    constexpr std::string_view before = "test://template/", after = "/data";
    if (uri == "test://static-text") {
      out["text"] = "This is the content of the static text resource.";
    } else if (uri == "test://watched-resource") {
      out["text"] = "Watched resource content";
    } else if (uri == "test://static-binary") {
      out["mimeType"] = "image/png";
      out["blob"] = png;
    } else if (uri.size() > before.size() + after.size()
               && uri.substr(0, before.size()) == before
               && uri.substr(uri.size() - after.size()) == after) {
      const std::string id{
          uri.substr(before.size(), uri.size() - before.size() - after.size())};
      out["mimeType"] = "application/json";
      out["text"] = json{{"id", id},
                         {"templateTest", true},
                         {"data", "Data for ID: " + id}}
                        .dump();
    } else {
      return fail(ec::not_found, "there is no such resource");
    }
    return std::vector<json>{std::move(out)};
  }
};

json message_of(json content) {
  return {{"role", "user"}, {"content", std::move(content)}};
}

std::vector<prompt> prompts() {
  const auto argument = [](const char* name, const char* about) {
    return json{{"name", name}, {"description", about}, {"required", true}};
  };
  return {
      {{{"name", "test_simple_prompt"},
        {"description", "A simple prompt without arguments"}},
       [](const json&) -> result<json> {
         return json{
             {"messages", json::array({message_of(text_block(
                              "This is a simple prompt for testing."))})}};
       }},
      {{{"name", "test_prompt_with_arguments"},
        {"description", "A prompt with required arguments"},
        {"arguments", json::array({argument("arg1", "First test argument"),
                                   argument("arg2", "Second test argument")})}},
       [](const json& args) -> result<json> {
         return json{
             {"messages", json::array({message_of(text_block(
                              "Prompt with arguments: arg1='"
                              + args.value("arg1", std::string{}) + "', arg2='"
                              + args.value("arg2", std::string{}) + "'"))})}};
       }},
      {{{"name", "test_prompt_with_embedded_resource"},
        {"description", "A prompt that includes an embedded resource"},
        {"arguments", json::array({argument("resourceUri",
                                            "URI of the resource to embed")})}},
       [](const json& args) -> result<json> {
         const auto uri = args.value("resourceUri", std::string{});
         return json{
             {"messages",
              json::array(
                  {message_of(resource_block(
                       uri.c_str(), "text/plain",
                       "Embedded resource content for testing.")),
                   message_of(text_block(
                       "Please process the embedded resource above."))})}};
       }},
      {{{"name", "test_prompt_with_image"},
        {"description", "A prompt that includes image content"}},
       [](const json&) -> result<json> {
         return json{{"messages",
                      json::array({message_of(image_block()),
                                   message_of(text_block(
                                       "Please analyze the image above."))})}};
       }}};
}

} // namespace

int main(int argc, char** argv) {
  auto asked = read_config({argv + 1, argv + argc});
  if (!asked || !asked->serve) {
    std::fprintf(stderr, "caged-mcp-fixtures: %s\n",
                 asked ? "takes the flags of caged-mcp-server"
                       : asked.error().message.c_str());
    return 2;
  }
  log::set_level(log::level_from(asked->serve->log_level));
  contents what;
  add_content_tools(what.tools);
  add_talking_tools(what.tools);
  what.resources = std::make_unique<fixture_resources>();
  what.prompts = prompts();
  what.complete = [](const json&) { return std::vector<std::string>{}; };
  what.subscribable = true;
  auto here = server::with(std::move(*asked->serve), std::move(what));
  return here->config().mode == transport::stdio ? serve_stdio(*here)
                                                 : serve_web(*here);
}
