#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "mcp/json_rpc.hpp"
#include "mcp/revision.hpp"
#include "mcp/tool.hpp"

namespace caged::mcp {

// Answers are put together around parts that are text already: what is large is
// escaped once and never copied into a JSON value first. Any thread.

/// As JSON; invalid UTF-8 becomes U+FFFD.
std::string to_text(const json& value);

/// The same for a string, but several times faster.
std::string to_text_string(const std::string& text);
/// The same behind what `out` holds already.
void append_text_string(std::string& out, std::string_view text);
/// The members of an object as text, put together without a tree.
class encoded_object {
public:
  void add(std::string_view name, std::string_view value);
  void add(std::string_view name, const char* value) {
    add(name, std::string_view{value});
  }
  void add(std::string_view name, std::uint64_t value);
  void add(std::string_view name, bool value);
  /// As tool_result::encoded_members wants them.
  std::string take() { return std::move(text_); }

private:
  void open(std::string_view name);
  std::string text_;
};

/// `object` without these members, and them, strings, behind the others.
std::string to_text_with(json&& object,
                         std::initializer_list<const char*> large);

/// A result response up to where the result's members begin. With 2026-07-28
/// the members that every result has stand in front.
std::string open_result(const json& id, revision r, std::size_t expected = 0);
/// Ends it. `members` may be empty: "\"tools\":[...]" without braces.
std::string result_response(const json& id, revision r,
                            std::string_view members);
/// Members of a result that clients may keep (2026-07-28, caching):
/// ",\"ttlMs\":...,\"cacheScope\":\"private\"", nothing before.
std::string cache_members(revision r, int ttl_ms);

/// The answer to tools/call.
std::string tool_response(const json& id, revision r, tool_result&& from);

/// A notification. `params` as JSON text.
std::string notification(std::string_view method, std::string_view params);

/// A tool as tools/list of this revision shows it.
json describe(const tool& what, revision r);

/// Who we are, by revision.
json server_info(revision r);

} // namespace caged::mcp
