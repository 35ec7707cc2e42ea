// What file_search makes of a model's text: a glob, a .gitignore, a regular
// expression, each over a path or a text of the same input. The parts of the
// input are separated by "\n\n".
//
// Beside not crashing: a folder that holds a match is never called one that
// cannot be reached; a page of matches taken one at a time finds the same
// lines as one that takes all.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mcp/content_search.hpp"
#include "mcp/glob.hpp"
#include "mcp/ignore.hpp"

namespace {

using namespace caged;
using namespace caged::mcp;

void require(bool holds) {
  if (!holds)
    std::abort();
}

std::string_view cut(std::string_view& rest) {
  const auto at = rest.find("\n\n");
  const auto out = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 2);
  return out;
}

void check_glob(std::string_view pattern, std::string_view path, bool dots,
                bool icase) {
  glob_options options;
  options.dots = dots;
  options.case_insensitive = icase;
  const auto made = glob::parse(pattern, options);
  if (!made) {
    require(!made.error().message.empty() && !made.error().hint.empty());
    return;
  }
  const auto slash = path.rfind('/');
  const auto named = slash == std::string_view::npos;
  if (made->matches(path, named ? 0 : slash + 1) && !named)
    for (auto at = path.find('/'); at != std::string_view::npos;
         at = path.find('/', at + 1))
      require(made->reaches(path.substr(0, at)));
}

std::string lines_of(const content_result& found) {
  std::string out;
  for (const auto& each : found.lines)
    if (each.is_match)
      out += std::to_string(each.number) + ':' + each.text + '\n';
  return out;
}

void check_regex(std::string_view expression, std::string_view text,
                 std::size_t context, bool icase) {
  const auto regex = line_regex::parse(expression, icase);
  if (!regex) {
    require(!regex.error().message.empty() && !regex.error().hint.empty());
    return;
  }
  cancellation none;
  content_options options;
  options.context = context;
  options.max_matches = 1'000'000;
  std::string copy{text};
  const auto all = search_content(copy, *regex, options, none);
  if (all.binary)
    return;
  require(all.stopped_at == 0);
  std::uint64_t last = 0;
  for (const auto& each : all.lines) {
    require(each.number > last);
    require(each.text.find('\n') == std::string::npos);
    last = each.number;
  }
  std::string pieces;
  options.max_matches = 1;
  for (;;) {
    copy = text;
    const auto one = search_content(copy, *regex, options, none);
    pieces += lines_of(one);
    if (one.stopped_at == 0)
      break;
    require(one.stopped_at > options.after_line);
    options.after_line = one.stopped_at;
  }
  require(pieces == lines_of(all));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  if (size == 0 || size > 4096)
    return 0;
  const auto flags = data[0];
  std::string_view rest{reinterpret_cast<const char*>(data) + 1, size - 1};
  const auto pattern = cut(rest);
  const auto path = cut(rest);
  const auto expression = cut(rest);
  const auto dots = (flags & 1U) != 0;
  const auto icase = (flags & 2U) != 0;
  const auto sound = !path.empty() && path.front() != '/' && path.back() != '/';
  if (sound) {
    check_glob(pattern, path, dots, icase);
    const auto rules = ignore_rules{}.with("", rest).with("a", pattern);
    static_cast<void>(rules.ignored(path, dots));
    static_cast<void>(rules.ignored_with_parents(path, icase));
  }
  check_regex(expression, rest, (flags >> 2U) & 3U, icase);
  return 0;
}
