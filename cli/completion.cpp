#include "cli/completion.hpp"

#include <csignal>
#include <iostream>

#include <sys/time.h>
#include <unistd.h>

#include "cli/completion_bodies.hpp"
#include "cli/endpoint.hpp"
#include "messages/text.hpp"

namespace caged::cli {

using namespace completion;

namespace {

/// How a script says what a value is: "=a b" for choices, "@file", "@sandbox",
/// "@node", "@none" when nobody knows.
std::string kind_of(const argument& value) {
  switch (value.kind) {
  case value_kind::choice: {
    std::string out = "=";
    for (const auto& choice : value.choices)
      out += (out.size() > 1 ? " " : "") + choice;
    return out;
  }
  case value_kind::file:
    return "@file";
  case value_kind::sandbox:
    return "@sandbox";
  case value_kind::node:
    return "@node";
  default:
    return "@none";
  }
}

std::string quote(const std::string& text) {
  std::string out = "'";
  for (char c : text)
    if (c == '\'')
      out += "'\\''"; // bash, zsh and fish read this alike
    else
      out += c;
  return out + "'";
}

std::vector<argument> all_flags(const verb_node& of) {
  auto out = of.flags;
  out.insert(out.end(), of.inherited.begin(), of.inherited.end());
  return out;
}

/// First line, as a shell's list of candidates has one line for each.
std::string headline(const std::string& help) {
  return help.substr(0, help.find('\n'));
}

/// Every way to write a verb: "caged list", "caged ls".
std::vector<std::string> spellings(const verb_node& of) {
  std::vector<std::string> out{of.path};
  for (const auto& alias : of.aliases)
    out.push_back(of.path.substr(0, of.path.size() - of.name.size()) + alias);
  return out;
}

template <class Function>
void each_verb(const verb_node& from, const Function& function) {
  function(from);
  for (const auto& verb : from.verbs)
    each_verb(verb, function);
}

std::string pattern(const verb_node& of, const char* between) {
  std::string out;
  for (const auto& path : spellings(of))
    out += (out.empty() ? "" : between) + quote(path);
  return out;
}

/// The functions that both bash and zsh have: they set verbs, flags, valued
/// (flags with a value) and places (what the positionals are) for a verb, and
/// kind for a flag's value. `described` is zsh's "name:help" in arrays.
std::string posix_tables(const verb_node& root, bool described) {
  auto item = [&](const std::string& name, const std::string& help) {
    if (!described)
      return name;
    auto text = name + ":" + headline(help);
    for (std::size_t at = name.size() + 1;
         (at = text.find(':', at)) != std::string::npos; at += 2)
      text.insert(at, "\\");
    return quote(text);
  };
  auto list = [&](const std::string& words) {
    return described ? "(" + words + ")" : quote(words);
  };
  std::string verbs = "_caged_at() {\n  case $1 in\n";
  std::string values = "_caged_kind() {\n  case $1 in\n";
  each_verb(root, [&](const verb_node& verb) {
    std::string names, flags, valued, places;
    auto add = [](std::string& to, const std::string& word) {
      to += (to.empty() ? "" : " ") + word;
    };
    for (const auto& sub : verb.verbs) {
      add(names, item(sub.name, sub.help));
      for (const auto& alias : sub.aliases)
        add(names, item(alias, sub.help));
    }
    for (const auto& flag : all_flags(verb)) {
      std::string cases;
      for (const auto& name : flag.flags) {
        add(flags, item(name, flag.help));
        if (flag.kind == value_kind::none)
          continue;
        add(valued, name);
        for (const auto& path : spellings(verb))
          cases += (cases.empty() ? "" : " | ") + quote(path + " " + name);
      }
      if (!cases.empty())
        values += "    " + cases + ") kind=" + quote(kind_of(flag)) + " ;;\n";
    }
    for (const auto& place : verb.positionals) {
      // A choice in a position has no spaces: they are the list's own.
      auto kind = kind_of(place);
      for (auto& c : kind)
        c = c == ' ' ? ',' : c;
      kind += place.repeats ? "*" : "";
      add(places, described ? quote(kind) : kind);
    }
    verbs += "    " + pattern(verb, " | ") + ")\n      verbs=" + list(names)
             + "\n      flags=" + list(flags) + "\n      valued=" + list(valued)
             + "\n      places=" + list(places) + " ;;\n";
  });
  return verbs + "  esac\n}\n\n" + values
         + "    *) kind=@none ;;\n  esac\n}\n\n";
}

/// What fish completes with for a value.
std::string fish_value(const argument& value) {
  auto kind = kind_of(value);
  if (kind == "@file")
    return " -r -F";
  if (kind == "@sandbox")
    return " -x -a '(__caged_known sandboxes)'";
  if (kind == "@node")
    return " -x -a '(__caged_known nodes)'";
  return kind[0] == '=' ? " -x -a " + quote(kind.substr(1)) : " -x";
}

std::string fish_script(const verb_node& root) {
  std::string verbs = "function __caged_verbs\n    switch $argv[1]\n";
  std::string valued = "function __caged_valued\n    switch $argv[1]\n";
  std::string rules;
  each_verb(root, [&](const verb_node& verb) {
    auto at = pattern(verb, " ");
    auto rule = [&](const std::string& place, const std::string& rest) {
      std::string paths;
      for (const auto& path : spellings(verb))
        paths += " \"" + path + "\"";
      rules += "complete -c caged -n '__caged_at " + place + paths + "'" + rest
               + "\n";
    };
    std::string names, with_value;
    for (const auto& sub : verb.verbs) {
      std::string words = sub.name;
      for (const auto& alias : sub.aliases)
        words += " " + alias;
      names += " " + words;
      rule("0", " -f -a " + quote(words) + " -d " + quote(headline(sub.help)));
    }
    for (const auto& flag : all_flags(verb)) {
      std::string words;
      for (const auto& name : flag.flags) {
        words +=
            name[1] == '-' ? " -l " + name.substr(2) : " -s " + name.substr(1);
        if (flag.kind != value_kind::none)
          with_value += " " + name;
      }
      rule("any", words
                      + (flag.kind == value_kind::none ? std::string{}
                                                       : fish_value(flag))
                      + " -d " + quote(headline(flag.help)));
    }
    for (std::size_t i = 0; i < verb.positionals.size(); ++i) {
      const auto& place = verb.positionals[i];
      if (place.kind == value_kind::text)
        continue;
      auto value = fish_value(place);
      if (value.rfind(" -x", 0) == 0)
        value = " -f" + value.substr(3);
      rule(std::to_string(i) + (place.repeats ? "+" : ""), value);
    }
    if (!names.empty())
      verbs += "        case " + at + "\n            string split ' ' --" + " "
               + quote(names.substr(1)) + "\n";
    if (!with_value.empty())
      valued += "        case " + at + "\n            string split ' ' -- "
                + quote(with_value.substr(1)) + "\n";
  });
  return verbs + "    end\nend\n\n" + valued + "    end\nend\n\n" + fish_head
         + rules;
}

/// A prompt that waits longer feels broken.
constexpr int longest_ms = 500;

} // namespace

std::string completion_script(const verb_node& root, const std::string& shell) {
  auto by = ", made by: caged completion " + shell + "\n";
  if (shell == "fish")
    return "# fish completion of caged" + by + fish_script(root);
  if (shell == "zsh")
    return "#compdef caged\n# zsh completion of caged" + by
           + posix_tables(root, true) + zsh_body;
  return "# bash completion of caged" + by + posix_tables(root, false)
         + bash_body;
}

result<int> run_complete(const common_options& with, const std::string& what) {
  // Also over a node that takes the connection and then says nothing.
  std::signal(SIGALRM, [](int) { ::_exit(0); });
  itimerval limit{};
  limit.it_value.tv_usec = longest_ms * 1000;
  ::setitimer(ITIMER_REAL, &limit, nullptr);
  std::string out;
  auto add = [&](const std::string& id, const std::string& name) {
    out += escape_text(id) + "\n";
    if (!name.empty() && name != id)
      out += escape_text(name) + "\n";
  };
  if (what == "nodes") {
    if (auto got = ask<api::node_list_reply>(with.endpoint, api::node_list{}))
      for (const auto& node : got->nodes)
        add(node.id, node.name);
  } else if (auto got = ask<api::list_reply>(with.endpoint,
                                             api::list{true, false, {}})) {
    for (const auto& sandbox : got->sandboxes)
      add(sandbox.id, sandbox.spec.name);
  }
  std::cout << out << std::flush;
  return 0;
}

} // namespace caged::cli
