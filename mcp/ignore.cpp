#include "mcp/ignore.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include <fcntl.h>

#include "mcp/beneath.hpp"
#include "mcp/glob.hpp"

namespace caged::mcp {

namespace {

constexpr auto npos = std::string_view::npos;
constexpr std::size_t max_text = 1U << 20U, max_rules = 20'000, max_line = 4096;

struct rule {
  bool negated = false;
  bool folders_only = false;
  bool by_name = false; ///< No slash: matched against the name alone.
  path_pattern pattern;
};

/// Unescaped trailing spaces do not count (dir.c, trim_trailing_spaces).
std::string_view trimmed(std::string_view line) {
  auto end = line.size();
  std::optional<std::size_t> spaces;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == ' ') {
      if (!spaces)
        spaces = i;
    } else {
      if (line[i] == '\\' && ++i >= line.size())
        return line;
      spaces.reset();
    }
  }
  if (spaces)
    end = *spaces;
  return line.substr(0, end);
}

std::optional<rule> parse_rule(std::string_view line) {
  // The file is C strings to git.
  line = line.substr(0, line.find('\0'));
  line = trimmed(line);
  if (line.empty() || line[0] == '#' || line.size() > max_line)
    return std::nullopt;
  rule out;
  if (line[0] == '!') {
    out.negated = true;
    line.remove_prefix(1);
  }
  if (!line.empty() && line.back() == '/') {
    out.folders_only = true;
    line.remove_suffix(1);
  }
  out.by_name = line.find('/') == npos;
  if (!line.empty() && line[0] == '/')
    line.remove_prefix(1);
  if (line.empty())
    return std::nullopt;
  glob_options as_git;
  as_git.git = true;
  auto pattern = path_pattern::parse(line, as_git);
  if (!pattern)
    return std::nullopt;
  out.pattern = std::move(*pattern);
  return out;
}

/// Looks strings up by views of them.
struct text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};
using rule_index = std::unordered_map<std::string, std::vector<std::uint32_t>,
                                      text_hash, std::equal_to<>>;

std::string_view clean(std::string_view folder) {
  return folder == "." ? std::string_view{} : folder;
}

} // namespace

/// The rules of one file. Most lines of real files are a name or "*.ext": those
/// are found by hash, so that a hundred of them cost a walk nothing.
struct ignore_rules::level {
  std::shared_ptr<const level> above;
  std::size_t base = 0; ///< Bytes of the folder and its slash.
  std::vector<rule> rules;
  // Numbers of rules, last first.
  rule_index names;      ///< A literal name.
  rule_index extensions; ///< "*.o" under ".o".
  std::vector<std::uint32_t> others;

  void add(rule r) {
    const auto number = static_cast<std::uint32_t>(rules.size());
    const auto& first = r.pattern.segments().front();
    using kind = glob_segment::kind;
    if (r.by_name && first.what() == kind::literal)
      names[first.text()].push_back(number);
    else if (r.by_name && first.what() == kind::suffix
             && first.text().rfind('.') == 0)
      extensions[first.text()].push_back(number);
    else
      others.push_back(number);
    rules.push_back(std::move(r));
  }

  /// The last rule that fits, which decides (gitignore(5)).
  const rule* find(std::string_view path, std::string_view name,
                   bool is_folder) const {
    std::int64_t best = -1;
    const auto look = [&](const rule_index& in, std::string_view key) {
      if (in.empty())
        return;
      if (const auto at = in.find(key); at != in.end())
        for (auto each = at->second.rbegin(); each != at->second.rend(); ++each)
          if (is_folder || !rules[*each].folders_only) {
            best = std::max<std::int64_t>(best, *each);
            break;
          }
    };
    look(names, name);
    if (const auto dot = name.rfind('.'); dot != npos)
      look(extensions, name.substr(dot));
    for (auto each = others.rbegin(); each != others.rend(); ++each) {
      if (*each < best)
        break;
      const auto& r = rules[*each];
      if (r.folders_only && !is_folder)
        continue;
      const auto fits = r.by_name ? r.pattern.segments().front().matches(name)
                                  : r.pattern.matches(path.substr(base));
      if (fits) {
        best = *each;
        break;
      }
    }
    return best < 0 ? nullptr : &rules[static_cast<std::size_t>(best)];
  }
};

ignore_rules ignore_rules::with(std::string_view folder,
                                std::string_view text) const {
  folder = clean(folder);
  auto made = std::make_shared<level>();
  made->above = top_;
  made->base = folder.empty() ? 0 : folder.size() + 1;
  text = text.substr(0, max_text);
  if (text.substr(0, 3) == "\xEF\xBB\xBF")
    text.remove_prefix(3); // What editors of Windows put before UTF-8.
  while (!text.empty() && made->rules.size() < max_rules) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r')
      line.remove_suffix(1);
    if (auto r = parse_rule(line))
      made->add(std::move(*r));
  }
  ignore_rules out = *this;
  if (!made->rules.empty())
    out.top_ = std::move(made);
  return out;
}

ignore_rules ignore_rules::enter(int fd, std::string_view folder,
                                 bool has_gitignore, bool has_git) const {
  auto out = *this;
  std::string text;
  if (has_git)
    if (const auto git = open_unlinked(fd, ".git", O_PATH); git) {
      out.top_.reset();
      if (const auto file = open_unlinked(fd, ".git/info/exclude", O_RDONLY);
          file && read_regular(file.get(), max_text, text))
        out = out.with(folder, text);
    }
  if (has_gitignore)
    if (const auto file = open_unlinked(fd, ".gitignore", O_RDONLY);
        file && read_regular(file.get(), max_text, text))
      out = out.with(folder, text);
  return out;
}

ignore_rules ignore_rules::of_folder(const workspace& where,
                                     std::string_view folder) {
  folder = clean(folder);
  ignore_rules out;
  for (std::size_t end = 0;;) {
    const auto part = folder.substr(0, end);
    if (const auto fd =
            where.open_at(part.empty() ? "." : part, O_PATH | O_DIRECTORY);
        fd)
      out = out.enter(fd->get(), part);
    if (end >= folder.size())
      return out;
    end = std::min(folder.find('/', end + 1), folder.size());
  }
}

bool ignore_rules::ignored(std::string_view path, bool is_folder) const {
  const auto slash = path.rfind('/');
  const auto name = slash == npos ? path : path.substr(slash + 1);
  if (name == ".git")
    return true;
  for (const auto* at = top_.get(); at != nullptr; at = at->above.get()) {
    // Rules of a folder say nothing about what lies elsewhere.
    if (at->base >= path.size())
      continue;
    if (const auto* r = at->find(path, name, is_folder))
      return !r->negated;
  }
  return false;
}

bool ignore_rules::ignored_with_parents(std::string_view path,
                                        bool is_folder) const {
  for (auto end = path.find('/'); end != npos; end = path.find('/', end + 1))
    if (ignored(path.substr(0, end), true))
      return true;
  return ignored(path, is_folder);
}

} // namespace caged::mcp
