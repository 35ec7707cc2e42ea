#include <algorithm>
#include <cerrno>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/call.hpp"
#include "mcp/tools/edit_text.hpp"
#include "mcp/tools/file_common.hpp"
#include "mcp/tools/file_diff.hpp"
#include "mcp/tools/file_replace.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t edits_most = 1000;
/// Of the diff that comes back, bytes: to see that the right place was met.
constexpr std::size_t diff_most = 16 * 1024;

/// Reads old and new text under either of their names, and the counts.
text_edit read_edit(const arguments& args, result<void>& good) {
  text_edit out;
  const auto either = [&](const char* name, const char* alias) {
    auto first = args.optional_text(name);
    auto second = args.optional_text(alias);
    if (first && second && good)
      good = fail(ec::bad_request,
                  std::string{"both "} + name + " and " + alias + " are given",
                  std::string{"give "} + name + " only");
    // Asked for by its first name, so that the error is that of every tool.
    return second && !first ? *second : args.text(name);
  };
  out.old_text = either("old_text", "old_string");
  out.new_text = either("new_text", "new_string");
  out.replace_all = args.flag("replace_all", false);
  out.expected = args.optional_integer("expected_replacements", 1, 1'000'000);
  return out;
}

struct edit_request {
  std::string path;
  std::optional<std::string> expected_version;
  std::vector<text_edit> edits;
};

result<edit_request> parse(const arguments& args) {
  edit_request out;
  result<void> good;
  out.path = args.text("path");
  out.expected_version = args.optional_text("expected_version");
  if (!args.has("edits")) {
    out.edits.push_back(read_edit(args, good));
    if (auto all = args.done(); !all)
      return tl::unexpected{std::move(all.error())};
    if (!good)
      return tl::unexpected{std::move(good.error())};
    return out;
  }
  if (auto all = args.done(); !all)
    return fail(all.error().code, all.error().message,
                "with edits, old_text, new_text, replace_all and "
                "expected_replacements stand in each of its objects");
  const auto& list = args.object().at("edits");
  if (!list.is_array() || list.empty() || list.size() > edits_most)
    return fail(ec::bad_request,
                "argument \"edits\" must be an array of 1 to "
                    + std::to_string(edits_most) + " objects",
                "each has old_text and new_text");
  for (const auto& item : list) {
    const arguments each{item};
    out.edits.push_back(read_edit(each, good));
    auto all = each.done();
    if (all && !good)
      all = good;
    if (!all)
      return fail(all.error().code,
                  "edit " + std::to_string(out.edits.size()) + " of "
                      + std::to_string(list.size()) + ": "
                      + all.error().message,
                  all.error().hint);
  }
  return out;
}

result<std::string> read_all(const workspace::place& at,
                             const std::string& path,
                             const server_config& config) {
  // The name was looked at; what is opened now must be a file all the same.
  const owned_fd fd{
      ::openat(at.folder.get(), at.name.c_str(),
               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)};
  if (!fd)
    return path_error(path, errno);
  struct stat about {};
  if (::fstat(fd.get(), &about) != 0)
    return path_error(path, errno);
  if (auto good = must_be_file(path, about); !good)
    return tl::unexpected{std::move(good.error())};
  const auto most = config.limits.file_bytes;
  std::string out;
  if (static_cast<std::uint64_t>(about.st_size) <= most
      && !read_some(fd.get(), out, static_cast<std::size_t>(about.st_size)))
    return path_error(path, errno);
  if (static_cast<std::uint64_t>(about.st_size) > most)
    return fail(ec::too_large,
                caged::quoted(path) + " has " + std::to_string(about.st_size)
                    + " bytes; files up to " + std::to_string(most)
                    + " are edited",
                "change it with a command such as sed");
  return out;
}

result<tool_result> run(const workspace& where, const server_config& config,
                        const arguments& args, call& in) {
  auto wanted = parse(args);
  if (!wanted)
    return tl::unexpected{std::move(wanted.error())};
  const auto& path = wanted->path;
  auto at = find_target(where, path, false);
  if (!at)
    return tl::unexpected{std::move(at.error())};
  // From reading to replacing: edits that come at the same time all arrive.
  const file_turn turn{*at};
  const auto now = look_at(*at, path, wanted->expected_version);
  if (!now)
    return tl::unexpected{now.error()};
  if (!*now)
    return path_error(path, ENOENT);
  const auto before = read_all(*at, path, config);
  if (!before)
    return tl::unexpected{before.error()};
  auto after = *before;
  change_map changes;
  std::size_t replaced = 0;
  json counts = json::array();
  for (std::size_t i = 0; i < wanted->edits.size(); ++i) {
    if (in.cancelled())
      return fail(ec::unavailable, "the call was cancelled");
    const auto count = apply_edit(after, wanted->edits[i], path,
                                  config.limits.file_bytes, changes);
    if (!count && wanted->edits.size() == 1)
      return tl::unexpected{count.error()};
    if (!count)
      return fail(count.error().code,
                  "edit " + std::to_string(i + 1) + " of "
                      + std::to_string(wanted->edits.size()) + ": "
                      + count.error().message + " (nothing was changed)",
                  count.error().hint);
    replaced += *count;
    counts.push_back(*count);
  }
  const auto made = replace_file(*at, path, after, *now, std::nullopt);
  if (!made)
    return tl::unexpected{made.error()};
  const auto diff =
      valid_utf8(unified_diff(*before, after, changes, diff_most));
  tool_result out;
  out.text = "Replaced " + std::to_string(replaced)
             + (replaced == 1 ? " occurrence in " : " occurrences in ")
             + valid_utf8(path) + "\n" + diff;
  out.structured = {{"path", valid_utf8(*where.relative(path))},
                    {"replacements", replaced},
                    {"counts", std::move(counts)},
                    {"diff", diff},
                    {"bytes", after.size()},
                    {"version", file_version(*made)}};
  return out;
}

constexpr const char* description =
    "Changes a file of the workspace by exact replacement: old_text, which "
    "must be in the file once, becomes new_text. Copy old_text from the file "
    "with its indentation (without line numbers) and with enough lines around "
    "it to be unique; or set replace_all. With edits, several replacements are "
    "made one after the other, all or none. The file's line ends (LF or CRLF) "
    "are kept. Returns a unified diff of what was changed.";

json edit_properties() {
  return {{"old_text", property("string", "Text to replace, exactly as it is "
                                          "in the file; not empty")},
          {"new_text", property("string", "What takes its place; empty "
                                          "removes it")},
          {"replace_all",
           {{"type", "boolean"},
            {"default", false},
            {"description", "Replace every occurrence"}}},
          {"expected_replacements",
           {{"type", "integer"},
            {"minimum", 1},
            {"description", "Replace every occurrence, and only when there "
                            "are exactly so many"}}},
          {"old_string", property("string", "Another name of old_text")},
          {"new_string", property("string", "Another name of new_text")}};
}

json input_schema() {
  auto properties = edit_properties();
  properties["path"] = property(
      "string", "File, relative to the workspace or absolute beneath it");
  properties["edits"] = {
      {"type", "array"},
      {"minItems", 1},
      {"maxItems", edits_most},
      {"items", object_schema(edit_properties(), json::array())},
      {"description", "Several replacements, in order, instead of old_text "
                      "and new_text"}};
  properties["expected_version"] =
      property("string", "Edit only when the file still has this version, "
                         "from file_read");
  return object_schema(std::move(properties), {"path"});
}

} // namespace

void add_file_edit(tool_set& tools, const workspace& where,
                   const server_config& config) {
  tool t;
  t.name = "file_edit";
  t.title = "Edit file";
  t.description = description;
  t.input_schema = input_schema;
  t.output_schema = [] {
    return object_schema(
        {{"path", property("string", "Relative to the workspace")},
         {"replacements", property("integer", "Occurrences replaced")},
         {"counts",
          {{"type", "array"},
           {"items", {{"type", "integer"}}},
           {"description", "Occurrences replaced by each edit"}}},
         {"diff", property("string", "Unified diff of the change")},
         {"bytes", property("integer", "Bytes of the file now")},
         {"version", property("string", "State of the file now, for "
                                        "expected_version")}},
        {"path", "replacements", "counts", "diff", "bytes", "version"});
  };
  t.annotations.destructive = true;
  t.writes = true;
  t.pace = tool_pace::brief;
  t.run = [&where, &config](const arguments& args, call& in) {
    return run(where, config, args, in);
  };
  tools.add(std::move(t));
}

} // namespace caged::mcp
