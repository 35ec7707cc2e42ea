#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "messages/error.hpp"

namespace caged::mcp {

using json = nlohmann::json;

class call;
class arguments;

/// What a tool gives back: text for the model, and the same for programs.
/// A failure that a model can act on is a result too (`is_error`), not a
/// JSON-RPC error (MCP 2025-06-18, server/tools, "Error Handling").
struct tool_result {
  /// The text block. Invalid UTF-8 is replaced by U+FFFD when it is encoded.
  std::string text;
  /// structuredContent, an object that fits the tool's output schema; null when
  /// the tool has none or the result is an error.
  json structured;
  /// Name of the string member of structuredContent whose value is `text`
  /// itself: it is encoded once and written twice. Empty: none.
  std::string text_member;
  /// Members of structuredContent beside those of `structured`, as JSON text
  /// without braces (`"entries":[...]`): what has thousands of parts is not
  /// built as a tree first. Empty: none.
  std::string encoded_members;
  /// Further content blocks as they go out (images, resource links).
  std::vector<json> blocks;
  bool is_error = false;
};

/// The sentence, and its hint on a line of its own.
tool_result tool_error(const failure& why);

/// What clients may assume of a tool (MCP, ToolAnnotations).
struct tool_annotations {
  bool read_only = false;
  bool destructive = false;
  bool idempotent = false;
  bool open_world = false;
};

/// How long a call may keep the thread that reads messages.
enum class tool_pace {
  quick, ///< Microseconds, never blocks: may run where messages are read.
  brief, ///< Milliseconds: on the thread that reads where the transport can
         ///< spare it (outlet::lend), else as a slow one.
  slow,  ///< On a worker thread.
};

/// One tool. `run` is called on any thread, several calls at a time.
struct tool {
  std::string name;
  std::string title;
  std::string description; ///< Written for a model.
  /// JSON Schemas, type object, made when a client first asks what there is: at
  /// the start they would take as long as all the rest. No output schema:
  /// empty.
  std::function<json()> input_schema, output_schema;
  tool_annotations annotations;
  tool_pace pace = tool_pace::slow;
  /// Needs write access: absent from a read-only server.
  bool writes = false;
  /// A failure becomes a result with is_error.
  std::function<result<tool_result>(const arguments&, call&)> run;
  /// Tried first, where messages are read: the result when it is to be had in
  /// microseconds and without blocking; nothing: `run` has to do it. Optional.
  std::function<std::optional<result<tool_result>>(const arguments&)> at_once;
};

/// All tools of a server in the order of their registration, which is the order
/// of tools/list. Built at the start, not changed afterwards.
class tool_set {
public:
  /// A name twice is our own mistake (assertion).
  void add(tool t);
  const tool* find(std::string_view name) const;
  const std::vector<tool>& all() const { return tools_; }

private:
  std::vector<tool> tools_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// The arguments of one call, read by name and checked on the way. The first
/// thing that is wrong is kept and returned by done(); until then reads give
/// defaults, so that a tool reads all of its arguments and asks once:
///
///   auto path = args.text("path");           // required
///   auto limit = args.integer("limit", 1, 10'000, 200);
///   if (auto bad = args.done(); !bad) return tl::unexpected(bad.error());
///
/// Only what was read is known: done() refuses other members by name, with the
/// nearest known one as hint. Text with a NUL is refused.
class arguments {
public:
  /// `object` must outlive it. Anything but an object is an error of done().
  explicit arguments(const json& object);
  /// A required string.
  std::string text(std::string_view name) const;
  std::string text(std::string_view name, std::string fallback) const;
  std::optional<std::string> optional_text(std::string_view name) const;
  /// An integer, or a number without a fraction, from `least` to `most`.
  std::int64_t integer(std::string_view name, std::int64_t least,
                       std::int64_t most, std::int64_t fallback) const;
  std::optional<std::int64_t> optional_integer(std::string_view name,
                                               std::int64_t least,
                                               std::int64_t most) const;
  /// Seconds and the like: a finite number in [least, most].
  double number(std::string_view name, double least, double most,
                double fallback) const;
  bool flag(std::string_view name, bool fallback) const;
  /// An array of strings; a single string counts as one. Empty when absent.
  std::vector<std::string> texts(std::string_view name) const;
  /// An object of strings (environment). Empty when absent.
  std::map<std::string, std::string> text_map(std::string_view name) const;
  /// One of `choices`.
  std::string choice(std::string_view name,
                     const std::vector<std::string>& choices,
                     std::string fallback) const;
  bool has(std::string_view name) const;
  /// Error: bad_request, which names the argument, what is accepted and the
  /// remedy.
  result<void> done() const;
  const json& object() const { return object_; }

private:
  const json* find(std::string_view name) const;
  void refuse(std::string_view name, std::string accepted) const;

  const json& object_;
  mutable std::vector<std::string> known_;
  mutable std::optional<failure> wrong_;
};

} // namespace caged::mcp
