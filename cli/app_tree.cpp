#include "cli/app_tree.hpp"

#include <algorithm>

#include <CLI/CLI.hpp>

namespace caged::cli {

namespace {

/// "TEXT:{table,json}" is CLI11's way to say a type and what it may be.
void read_type(argument& to, const std::string& type) {
  to.type = type.substr(0, type.find(':'));
  auto open = type.find('{'), close = type.rfind('}');
  if (open != std::string::npos && close != std::string::npos) {
    to.choices =
        CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
    to.kind = value_kind::choice;
  } else {
    to.kind = to.type == "FILE"      ? value_kind::file
              : to.type == "SANDBOX" ? value_kind::sandbox
              : to.type == "NODE"    ? value_kind::node
                                     : value_kind::text;
  }
}

argument describe(const CLI::Option& from) {
  argument out;
  for (const auto& name : from.get_snames())
    out.flags.push_back("-" + name);
  for (const auto& name : from.get_lnames())
    out.flags.push_back("--" + name);
  if (from.get_positional())
    out.name = from.get_name(true);
  out.help = from.get_description();
  out.default_value = from.get_default_str();
  out.variable = from.get_envname();
  out.required = from.get_required();
  if (from.get_items_expected_max() > 0) {
    read_type(out, from.get_type_name());
    out.repeats = from.get_expected_max() > 1;
  }
  return out;
}

verb_node describe(const CLI::App& app, const std::string& above,
                   std::vector<argument> inherited) {
  verb_node out;
  out.name = app.get_name();
  out.path = above.empty() ? out.name : above + " " + out.name;
  out.aliases = app.get_aliases();
  out.help = app.get_description();
  out.footer = app.get_footer();
  for (const auto* option : app.get_options())
    if (!option->get_group().empty()) {
      auto made = describe(*option);
      (made.flags.empty() ? out.positionals : out.flags)
          .push_back(std::move(made));
    }
  out.inherited = inherited;
  for (const auto& flag : out.flags)
    // Each verb has a --help of its own.
    if (std::find(flag.flags.begin(), flag.flags.end(), "--help")
        == flag.flags.end())
      inherited.push_back(flag);
  for (const auto* sub :
       app.get_subcommands([](const CLI::App*) { return true; }))
    if (!sub->get_group().empty())
      out.verbs.push_back(describe(
          *sub, out.path,
          sub->get_fallthrough() ? inherited : std::vector<argument>{}));
  return out;
}

} // namespace

verb_node describe(const CLI::App& app) {
  return describe(app, "", {});
}

std::vector<const verb_node*> leaves(const verb_node& from) {
  if (from.verbs.empty())
    return {&from};
  std::vector<const verb_node*> out;
  for (const auto& verb : from.verbs)
    for (const auto* leaf : leaves(verb))
      out.push_back(leaf);
  return out;
}

} // namespace caged::cli
