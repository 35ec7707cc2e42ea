#include "cli/reference.hpp"

#include <algorithm>

#include "caged_version.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

constexpr const char* exit_codes =
    "0 when all went well, 1 when something failed, 2 when the line itself was "
    "wrong. up with a command, exec and connect end with the command's own: "
    "128+n when signal n ended it, 124 when its time was up, 125 when caged "
    "failed, 126 and 127 as from a shell.";

std::string joined(const std::vector<std::string>& all, const char* between) {
  std::string out;
  for (const auto& one : all)
    out += (out.empty() ? "" : between) + one;
  return out;
}

/// "-n, --name TEXT"
std::string spelled(const argument& of) {
  auto out = of.flags.empty() ? of.name : joined(of.flags, ", ");
  if (of.flags.empty() || of.kind == value_kind::none)
    return out;
  return out + " " + (of.choices.empty() ? of.type : joined(of.choices, "|"));
}

/// The help, with what CLI11 knows beside it.
std::string explained(const argument& of) {
  auto out = of.help;
  if (of.flags.empty() && !of.choices.empty()
      && out.find(of.choices.front()) == std::string::npos)
    out += ": " + joined(of.choices, ", ");
  if (!of.default_value.empty())
    out += " (default: " + of.default_value + ")";
  if (!of.variable.empty())
    out += " (variable: " + of.variable + ")";
  return out;
}

std::string synopsis(const verb_node& of) {
  auto out = of.path;
  if (!of.verbs.empty())
    return out + " VERB";
  if (!of.flags.empty())
    out += " [flags]";
  for (const auto& place : of.positionals) {
    auto word = place.name + (place.repeats ? "..." : "");
    out += place.required ? " " + word : " [" + word + "]";
  }
  return out;
}

/// Within a table's backquotes only the bar has a meaning.
std::string code_cell(const std::string& text,
                      const std::string& special = "|") {
  std::string out;
  for (char c : text)
    if (special.find(c) != std::string::npos)
      out += std::string{"\\"} + c;
    else
      out += c == '\n' ? ' ' : c;
  return out;
}

std::string cell(const std::string& text) {
  return code_cell(text, "|<*_");
}

/// "caged: sandboxes ..." without the program's name, which stands before it.
std::string purpose(const verb_node& of) {
  auto prefix = of.path + ": ";
  return of.help.rfind(prefix, 0) == 0 ? of.help.substr(prefix.size())
                                       : of.help;
}

std::string markdown_table(const std::vector<argument>& all,
                           const char* heading) {
  if (all.empty())
    return {};
  std::string out = std::string{"| "} + heading + " | |\n| --- | --- |\n";
  for (const auto& one : all)
    out += "| `" + code_cell(spelled(one)) + "` | " + cell(explained(one))
           + " |\n";
  return out + "\n";
}

/// Every page's name and its verb; the root is first. A verb that only holds
/// others has none: its name may be another program's (caged-node).
std::vector<std::pair<std::string, const verb_node*>>
pages(const verb_node& root) {
  std::vector<std::pair<std::string, const verb_node*>> out{{root.path, &root}};
  for (const auto* leaf : leaves(root)) {
    auto name = leaf->path;
    std::replace(name.begin(), name.end(), ' ', '-');
    out.emplace_back(std::move(name), leaf);
  }
  return out;
}

/// groff_man(7): a backslash, a minus, and a dot or quote that begins a line
/// have meanings.
std::string roff(const std::string& text) {
  std::string out;
  bool start = true;
  for (char c : text) {
    if (start && (c == '.' || c == '\''))
      out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
    start = c == '\n';
  }
  return out;
}

std::string roff_list(const std::vector<argument>& all, const char* heading) {
  if (all.empty())
    return {};
  std::string out = std::string{".SH "} + heading + "\n";
  for (const auto& one : all)
    out += ".TP\n\\fB" + roff(spelled(one)) + "\\fR\n" + roff(explained(one))
           + "\n";
  return out;
}

} // namespace

std::string reference_markdown(const verb_node& root) {
  std::string out =
      "# The command line\n\n"
      "Made by `ops/docs` from the program's own help: change that, not this "
      "file.\n\n"
      + root.help + "\n\n| verb | |\n| --- | --- |\n";
  for (const auto* verb : leaves(root)) {
    auto anchor = verb->path;
    std::replace(anchor.begin(), anchor.end(), ' ', '-');
    out += "| [`" + verb->path + "`](#" + anchor + ") | " + cell(verb->help)
           + " |\n";
  }
  out += "\n" + markdown_table(root.flags, "flag of every verb")
         + "Exit code: " + exit_codes + "\n";
  for (const auto* verb : leaves(root)) {
    out += "\n## " + verb->path + "\n\n" + verb->help;
    if (!verb->aliases.empty())
      out += "; also `" + joined(verb->aliases, "`, `") + "`";
    out += ".\n\n    " + synopsis(*verb) + "\n\n";
    out += markdown_table(verb->positionals, "argument");
    // Every verb has its --help: said once, above.
    auto own = verb->flags;
    own.erase(std::remove_if(own.begin(), own.end(),
                             [](const argument& flag) {
                               return flag.flags.back() == "--help";
                             }),
              own.end());
    out += markdown_table(own, "flag");
    if (!verb->footer.empty())
      out += "```text\n" + verb->footer + "\n```\n\n";
    out.pop_back(); // one empty line is enough
  }
  return out;
}

std::vector<std::string> manual_pages(const verb_node& root) {
  std::vector<std::string> out;
  for (const auto& page : pages(root))
    out.push_back(page.first);
  return out;
}

result<std::string> manual_page(const verb_node& root,
                                const std::string& name) {
  auto all = pages(root);
  auto page = std::find_if(all.begin(), all.end(),
                           [&](const auto& one) { return one.first == name; });
  if (page == all.end())
    return fail(ec::not_found, "there is no page " + caged::quoted(name),
                "caged __docs man lists them");
  const auto& verb = *page->second;
  auto title = name;
  for (auto& c : title)
    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  auto out = ".\\\" Made by ops/docs from the program's own help.\n.TH " + title
             + " 1 \"\" \"caged " CAGED_VERSION "\" \"caged\"\n.SH NAME\n"
             + roff(name) + " \\- " + roff(purpose(verb))
             + "\n.SH SYNOPSIS\n.B " + roff(synopsis(verb)) + "\n";
  if (!verb.aliases.empty())
    out += ".PP\nAlso: " + roff(joined(verb.aliases, ", ")) + "\n";
  if (!verb.verbs.empty()) {
    out += ".SH VERBS\n";
    for (const auto* leaf : leaves(verb))
      out += ".TP\n\\fB" + roff(leaf->path.substr(verb.path.size() + 1))
             + "\\fR\n" + roff(leaf->help) + "\n";
  }
  out += roff_list(verb.positionals, "ARGUMENTS");
  auto flags = verb.flags;
  flags.insert(flags.end(), verb.inherited.begin(), verb.inherited.end());
  out += roff_list(flags, "OPTIONS");
  out += ".SH EXIT STATUS\n" + roff(exit_codes) + "\n";
  if (!verb.footer.empty())
    out += ".SH NOTES\n.nf\n" + roff(verb.footer) + "\n.fi\n";
  out += ".SH SEE ALSO\n";
  if (verb.verbs.empty())
    out += ".BR " + roff(root.path) + " (1)\n";
  for (const auto& other : all)
    if (!verb.verbs.empty() && other.second != &verb)
      out += ".BR " + roff(other.first) + " (1)\n";
  return out;
}

} // namespace caged::cli
