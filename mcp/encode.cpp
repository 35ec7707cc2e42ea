#include "mcp/encode.hpp"

#include <array>
#include <utility>

#include "caged_version.hpp"
#include "mcp/session.hpp"

namespace caged::mcp {

namespace {

constexpr std::array<std::string_view, 5> names = {
    "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"};

/// What stands in front of every result of 2026-07-28 (basic/index,
/// "Result Responses" and "Per-response protocol fields").
const std::string& modern_members() {
  static const std::string text =
      R"("resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":)"
      + server_info(revision::r2026_07_28).dump() + "}";
  return text;
}

bool has_block(const json& block, revision r) {
  const auto type = block.value("type", std::string{});
  return type == "audio"           ? has_audio(r)
         : type == "resource_link" ? has_links(r)
                                   : true;
}

} // namespace

std::string_view to_string(revision r) noexcept {
  return names[static_cast<std::size_t>(r)];
}

std::optional<revision> revision_from(std::string_view text) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == text)
      return static_cast<revision>(i);
  return std::nullopt;
}

const std::vector<std::string>& revisions() {
  static const std::vector<std::string> all(names.rbegin(), names.rend());
  return all;
}

std::string to_text(const json& value) {
  // What most answers need: dump() sets up half a kilobyte and asks the locale.
  if (value.is_number_unsigned())
    return std::to_string(value.get<std::uint64_t>());
  if (value.is_number_integer())
    return std::to_string(value.get<std::int64_t>());
  if (value.is_object() && value.empty())
    return "{}";
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void encoded_object::open(std::string_view name) {
  text_ += text_.empty() ? "\"" : ",\"";
  text_ += name;
  text_ += "\":";
}

void encoded_object::add(std::string_view name, std::string_view value) {
  open(name);
  append_text_string(text_, value);
}

void encoded_object::add(std::string_view name, std::uint64_t value) {
  open(name);
  text_ += std::to_string(value);
}

void encoded_object::add(std::string_view name, bool value) {
  open(name);
  text_ += value ? "true" : "false";
}

std::string to_text_with(json&& object,
                         std::initializer_list<const char*> large) {
  std::string tail;
  for (const auto* name : large) {
    auto at = object.find(name);
    if (at == object.end() || !at->is_string())
      continue;
    if (!tail.empty())
      tail += ',';
    tail += to_text(name);
    tail += ':';
    tail += to_text_string(at->get_ref<const std::string&>());
    object.erase(at);
  }
  auto out = to_text(object);
  out.pop_back();
  if (!tail.empty() && !object.empty())
    out += ',';
  out += tail;
  out += '}';
  return out;
}

std::string open_result(const json& id, revision r, std::size_t expected) {
  std::string out;
  const auto number = to_text(id);
  out.reserve(expected + number.size() + 256);
  out += R"({"jsonrpc":"2.0","id":)";
  out += number;
  out += R"(,"result":{)";
  if (is_modern(r))
    out += modern_members();
  return out;
}

std::string result_response(const json& id, revision r,
                            std::string_view members) {
  auto out = open_result(id, r, members.size());
  if (is_modern(r) && !members.empty())
    out += ',';
  out += members;
  out += "}}";
  return out;
}

std::string cache_members(revision r, int ttl_ms) {
  if (!is_modern(r))
    return {};
  return ",\"ttlMs\":" + std::to_string(ttl_ms) + R"(,"cacheScope":"private")";
}

std::string tool_response(const json& id, revision r, tool_result&& from) {
  // An empty text without "text" would be no valid block.
  std::string text;
  if (!from.text.empty() || from.blocks.empty() || !from.text_member.empty())
    text = to_text_string(std::exchange(from.text, std::string{}));
  std::string structured;
  const auto program = has_structured(r) && !from.is_error;
  if (program && !from.structured.is_null()) {
    if (from.structured.is_object() && !from.text_member.empty())
      from.structured.erase(from.text_member);
    structured = to_text(from.structured);
    if (from.structured.is_object() && !from.encoded_members.empty()) {
      structured.pop_back();
      if (structured.size() > 1)
        structured += ',';
      structured += from.encoded_members;
      structured += '}';
    }
  }
  const auto both = program && !from.text_member.empty();
  auto out =
      open_result(id, r, text.size() * (both ? 2 : 1) + structured.size());
  if (is_modern(r))
    out += ',';
  out += R"("content":[)";
  auto first = true;
  if (!text.empty()) {
    out += R"({"type":"text","text":)";
    out += text;
    out += '}';
    first = false;
  }
  for (const auto& block : from.blocks) {
    if (!has_block(block, r))
      continue;
    if (!first)
      out += ',';
    first = false;
    out += to_text(block);
  }
  out += ']';
  if (both) {
    out += R"(,"structuredContent":{)";
    append_text_string(out, from.text_member);
    out += ':';
    out += text;
    if (structured.size() > 2) {
      out += ',';
      out.append(structured, 1);
    } else {
      out += '}';
    }
  } else if (!structured.empty()) {
    out += R"(,"structuredContent":)";
    out += structured;
  }
  if (from.is_error)
    out += R"(,"isError":true)";
  out += "}}";
  return out;
}

std::string notification(std::string_view method, std::string_view params) {
  std::string out = R"({"jsonrpc":"2.0","method":")";
  out += method;
  out += R"(","params":)";
  out += params;
  out += '}';
  return out;
}

json describe(const tool& what, revision r) {
  json out = {{"name", what.name},
              {"description", what.description},
              {"inputSchema", what.input_schema()}};
  if (has_titles(r) && !what.title.empty())
    out["title"] = what.title;
  if (has_structured(r) && what.output_schema)
    out["outputSchema"] = what.output_schema();
  if (has_annotations(r)) {
    const auto& hints = what.annotations;
    json notes = {{"readOnlyHint", hints.read_only},
                  {"openWorldHint", hints.open_world}};
    // Without meaning for a tool that only reads (MCP, ToolAnnotations).
    if (!hints.read_only) {
      notes["destructiveHint"] = hints.destructive;
      notes["idempotentHint"] = hints.idempotent;
    }
    if (!what.title.empty())
      notes["title"] = what.title;
    out["annotations"] = std::move(notes);
  }
  return out;
}

json server_info(revision r) {
  json out = {{"name", "caged-mcp-server"}, {"version", CAGED_VERSION}};
  if (has_titles(r))
    out["title"] = "Caged workspace";
  return out;
}

} // namespace caged::mcp
