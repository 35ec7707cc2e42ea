#include "mcp/file_search.hpp"
#include "mcp/tools/families.hpp"

namespace caged::mcp {

namespace {

constexpr auto description =
    "Finds files by name, or lines by their text, beneath the workspace.\n"
    "By name: give pattern, a glob. \"*.go\" finds names in every folder; a "
    "pattern with a slash is matched from the folder that is searched: "
    "\"src/**/*.{ts,tsx}\", \"**/test/*_test.cpp\". ** is any number of "
    "folders, ? one character, [a-z] one of them, {a,b} either; a slash at the "
    "end finds folders. The result is one path per line, sorted.\n"
    "By text: give content, a regular expression (RE2 syntax, matched line by "
    "line); pattern then says in which files. The result is path:line:text. "
    "Binary files are skipped.\n"
    "What .gitignore leaves out, hidden names and .git are not searched unless "
    "asked for; links are not followed. Long results come in pages: call again "
    "with the same arguments and the cursor of the last result.";

json property(const char* type, const char* about) {
  return {{"type", type}, {"description", about}};
}

json input_schema() {
  auto context = property("integer", "content only: lines to show before and "
                                     "after each match (default 0)");
  context["minimum"] = 0;
  context["maximum"] = 20;
  auto most = property("integer", "Most paths (default 1000) or matches "
                                  "(default 250) of one page");
  most["minimum"] = 1;
  most["maximum"] = 10'000;
  return {
      {"type", "object"},
      {"properties",
       {{"pattern", property("string", "Glob for names or paths, for example "
                                       "*.go or src/**/*.h. Required unless "
                                       "content is given")},
        {"path", property("string", "Folder to search, or with content one "
                                    "file (default: the whole workspace)")},
        {"content", property("string", "Regular expression to find in lines "
                                       "of files, RE2 syntax")},
        {"case_insensitive",
         property("boolean", "For pattern and content (default false)")},
        {"context", context},
        {"respect_ignore",
         property("boolean", "Leave out what .gitignore says (default true)")},
        {"include_hidden",
         property("boolean",
                  "Also search names that begin with a dot (default false)")},
        {"max_results", most},
        {"cursor", property("string", "From the last result, to get the next "
                                      "page")}}},
      {"additionalProperties", false}};
}

json output_schema() {
  const json number = {{"type", "integer"}, {"minimum", 0}};
  return {
      {"type", "object"},
      {"properties",
       {{"paths", {{"type", "array"}, {"items", {{"type", "string"}}}}},
        {"total", number},
        {"matches",
         {{"type", "array"},
          {"items",
           {{"type", "object"},
            {"properties",
             {{"path", {{"type", "string"}}},
              {"line", number},
              {"text", {{"type", "string"}}},
              {"match",
               {{"type", "boolean"},
                {"description", "false: a line of context"}}}}},
            {"required", {"path", "line", "text"}}}}}},
        {"match_count", number},
        {"files_with_matches", number},
        {"files_searched", number},
        {"skipped", {{"type", "object"}, {"additionalProperties", number}}},
        {"cursor",
         {{"type", "string"}, {"description", "Present when there is more"}}}}},
      {"required", {"skipped"}}};
}

result<search_query> read_query(const arguments& args) {
  search_query out;
  const auto pattern = args.optional_text("pattern");
  out.path = args.text("path", "");
  const auto content = args.optional_text("content");
  glob_options options;
  options.case_insensitive = args.flag("case_insensitive", false);
  const auto context = args.integer("context", 0, 20, 0);
  out.respect_ignore = args.flag("respect_ignore", true);
  out.include_hidden = args.flag("include_hidden", false);
  const auto most =
      args.integer("max_results", 1, 10'000, content ? 250 : 1000);
  const auto cursor = args.optional_text("cursor");
  if (auto sound = args.done(); !sound)
    return tl::unexpected{sound.error()};
  if ((!pattern || pattern->empty()) && !content)
    return fail(ec::bad_request, "neither pattern nor content is given",
                "give pattern (a glob such as *.go) to find files, content (a "
                "regular expression) to find lines");
  if (content && content->empty())
    return fail(ec::bad_request, "content is empty: every line would match",
                "give a regular expression, or only pattern to find files");
  out.context = static_cast<std::size_t>(context);
  out.max_results = static_cast<std::size_t>(most);
  options.dots = out.include_hidden;
  if (pattern && !pattern->empty()) {
    auto names = glob::parse(*pattern, options);
    if (!names)
      return tl::unexpected{names.error()};
    if (content && names->folders_only())
      return fail(ec::bad_request,
                  "the pattern ends with a slash and so names folders, which "
                  "have no content",
                  "write folder/** for the files in it");
    out.pattern = pattern;
    out.names = std::move(*names);
  }
  if (content) {
    auto regex = line_regex::parse(*content, options.case_insensitive);
    if (!regex)
      return tl::unexpected{regex.error()};
    out.content = std::move(*regex);
  }
  out.key = search_key(args.object());
  if (cursor)
    if (auto sound = read_cursor(*cursor, out); !sound)
      return tl::unexpected{sound.error()};
  return out;
}

} // namespace

void add_search_tools(tool_set& tools, const workspace& where,
                      const server_config& config) {
  tool t;
  t.name = "file_search";
  t.title = "Search files";
  t.description = description;
  t.input_schema = input_schema;
  t.output_schema = output_schema;
  t.annotations.read_only = true;
  t.annotations.idempotent = true;
  t.run = [&where, &config](const arguments& args,
                            call& of) -> result<tool_result> {
    auto query = read_query(args);
    if (!query)
      return tl::unexpected{query.error()};
    return search_files(where, config.limits, *query, of);
  };
  tools.add(std::move(t));
}

} // namespace caged::mcp
