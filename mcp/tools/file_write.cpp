#include <cerrno>
#include <charconv>

#include "mcp/tools/file_common.hpp"
#include "mcp/tools/file_replace.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

/// "0644", "755" or 0o755, as chmod(1) takes it; no set-ID bits.
result<std::optional<mode_t>>
parse_mode(const std::optional<std::string>& text) {
  if (!text)
    return std::optional<mode_t>{};
  std::string_view digits = *text;
  if (digits.substr(0, 2) == "0o")
    digits.remove_prefix(2);
  unsigned value = 0;
  const auto* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, value, 8);
  if (error != std::errc{} || at != end || value > 0777)
    return fail(ec::bad_request,
                "argument \"mode\" must be octal permissions from \"0\" to "
                "\"777\", not "
                    + caged::quoted(*text),
                "write \"644\" for a text, \"755\" for a program");
  return std::optional<mode_t>{value};
}

/// The content as bytes. Text stays where it is: `decoded` is for base64.
result<std::string_view> content_of(const arguments& args,
                                    const std::string& encoding,
                                    std::string& decoded) {
  const auto& text = args.object().at("content").get_ref<const std::string&>();
  if (encoding != "base64")
    return std::string_view{text};
  auto bytes = base64_decode(text);
  if (!bytes)
    return fail(ec::bad_request,
                "argument \"content\": " + bytes.error().message,
                "send RFC 4648 base64 with padding and without line ends, or "
                "text with encoding utf-8");
  decoded = std::move(*bytes);
  return std::string_view{decoded};
}

result<tool_result> run(const workspace& where, const server_config& config,
                        const arguments& args) {
  const auto path = args.text("path");
  // Up to megabytes: looked at where it is, not copied.
  const auto at_content = args.object().is_object()
                              ? args.object().find("content")
                              : args.object().end();
  if (!args.has("content") || !at_content->is_string())
    static_cast<void>(args.text("content"));
  const auto encoding = args.choice("encoding", {"utf-8", "base64"}, "utf-8");
  const auto mode_text = args.optional_text("mode");
  const auto create_dirs = args.flag("create_dirs", true);
  const auto expected = args.optional_text("expected_version");
  if (auto good = args.done(); !good)
    return tl::unexpected{std::move(good.error())};
  const auto mode = parse_mode(mode_text);
  if (!mode)
    return tl::unexpected{mode.error()};
  std::string decoded;
  const auto bytes = content_of(args, encoding, decoded);
  if (!bytes)
    return tl::unexpected{bytes.error()};
  if (bytes->size() > config.limits.file_bytes)
    return fail(
        ec::too_large,
        "the content has " + std::to_string(bytes->size()) + " bytes; at most "
            + std::to_string(config.limits.file_bytes) + " are written at once",
        "write several files, or let a command make it");
  auto at = find_target(where, path, create_dirs);
  if (!at)
    return tl::unexpected{std::move(at.error())};
  const file_turn turn{*at};
  const auto now = look_at(*at, path, expected);
  if (!now)
    return tl::unexpected{now.error()};
  const auto made = replace_file(*at, path, *bytes, *now, *mode);
  if (!made)
    return tl::unexpected{made.error()};
  tool_result out;
  out.text = (*now ? "Replaced " : "Created ") + valid_utf8(path) + " ("
             + std::to_string(bytes->size()) + " bytes)";
  out.structured = {{"path", valid_utf8(*where.relative(path))},
                    {"bytes", bytes->size()},
                    {"created", !*now},
                    {"version", file_version(*made)}};
  return out;
}

constexpr const char* description =
    "Writes a whole file of the workspace: makes it, or replaces all of its "
    "content. Missing folders on the way are made. The replacement is atomic "
    "and keeps the file's permissions. To change a part of a file use "
    "file_edit. Give expected_version (the version from file_read, or \"none\" "
    "for a file that must not exist yet) to be refused instead of overwriting "
    "somebody else's change.";

} // namespace

void add_file_write(tool_set& tools, const workspace& where,
                    const server_config& config) {
  tool t;
  t.name = "file_write";
  t.title = "Write file";
  t.description = description;
  t.input_schema = [] {
    return object_schema(
        {{"path", property("string", "File, relative to the workspace or "
                                     "absolute beneath it")},
         {"content", property("string", "The whole new content; may be empty")},
         {"encoding",
          {{"type", "string"},
           {"enum", {"utf-8", "base64"}},
           {"default", "utf-8"},
           {"description",
            "base64: content is decoded first, for binary files"}}},
         {"mode",
          property("string", "Octal permissions such as \"755\"; "
                             "otherwise an existing file keeps its own")},
         {"create_dirs",
          {{"type", "boolean"},
           {"default", true},
           {"description", "Make missing folders on the way"}}},
         {"expected_version",
          property("string", "Write only when the file still has this version "
                             "(from file_read, file_write or file_edit); "
                             "\"none\": only when there is no file")}},
        {"path", "content"});
  };
  t.output_schema = [] {
    return object_schema(
        {{"path", property("string", "Relative to the workspace")},
         {"bytes", property("integer", "Bytes written")},
         {"created", property("boolean", "There was no file before")},
         {"version", property("string", "State of the file now, for "
                                        "expected_version")}},
        {"path", "bytes", "created", "version"});
  };
  t.annotations.destructive = true;
  t.annotations.idempotent = true;
  t.writes = true;
  t.pace = tool_pace::brief;
  t.run = [&where, &config](const arguments& args, call&) {
    return run(where, config, args);
  };
  tools.add(std::move(t));
}

} // namespace caged::mcp
