#include "cli/completion.hpp"

#include <csignal>
#include <iostream>

#include <sys/time.h>
#include <unistd.h>

#include "cli/endpoint.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// How a script says what a value is: "=a b" for choices, "@file", "@sandbox",
/// "@none" when nobody knows.
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

constexpr const char* bash_body = R"sh(_caged() {
  local words=() verbs flags valued places kind='' route=caged flag='' endpoint=''
  local i word glue='' given=0 rest=''
  COMPREPLY=()
  # Bash parts words at = and : by COMP_WORDBREAKS; --flag=a:b is one for us.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $i -gt 0 && $word =~ ^[=:]+$ ]]; then
      words[${#words[@]}-1]+=$word
      glue=1
    elif [[ -n $glue ]]; then
      words[${#words[@]}-1]+=$word
      glue=''
    else
      words+=("$word")
    fi
  done
  local last=$((${#words[@]} - 1)) cur
  cur=${words[last]}
  _caged_at "$route"
  for ((i = 1; i < last; i++)); do
    word=${words[i]}
    if [[ -n $rest ]]; then
      given=$((given + 1))
    elif [[ -n $flag ]]; then
      [[ $flag == --endpoint ]] && endpoint=$word
      flag=''
    elif [[ $word == -- ]]; then
      rest=1
    elif [[ $word == --endpoint=* ]]; then
      endpoint=${word#*=}
    elif [[ $word == -* ]]; then
      [[ " $valued " == *" $word "* ]] && flag=$word
    elif [[ " $verbs " == *" $word "* ]]; then
      route+=" $word"
      _caged_at "$route"
    else
      given=$((given + 1))
    fi
  done
  if [[ -n $rest ]]; then
    kind=@file
  elif [[ -n $flag ]]; then
    _caged_kind "$route $flag"
    # Bash replaces the part behind the last = or : alone.
    [[ $kind == @none ]] || cur=${cur##*[=:]}
  elif [[ $cur == --*=* ]]; then
    _caged_kind "$route ${cur%%=*}"
    cur=${cur#*=}
  elif [[ $cur == -* ]]; then
    kind="=$flags"
  elif [[ -n $verbs ]]; then
    kind="=$verbs"
  else
    local each
    read -ra each <<<"$places"
    kind=${each[given]}
    [[ -z $kind && ${#each[@]} -gt 0 && ${each[-1]} == *\* ]] && kind=${each[-1]}
    kind=${kind%\*}
    [[ $kind == =* ]] && kind=${kind//,/ }
  fi
  case $kind in
    @file)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    @sandbox)
      local found
      found=$(${endpoint:+env "CAGED_ENDPOINT=$endpoint"} \
        "${words[0]/#\~/$HOME}" __complete sandboxes 2>/dev/null)
      mapfile -t COMPREPLY < <(compgen -W "$found" -- "$cur") ;;
    =*) mapfile -t COMPREPLY < <(compgen -W "${kind#=}" -- "$cur") ;;
  esac
}
complete -F _caged caged
)sh";

constexpr const char* zsh_body = R"sh(_caged() {
  emulate -L zsh
  local -a verbs flags valued places found
  local kind='' route=caged flag='' endpoint='' word rest=''
  local -i i given=0
  _caged_at "$route"
  for ((i = 2; i < CURRENT; i++)); do
    word=${(Q)words[i]}
    if [[ -n $rest ]]; then
      given+=1
    elif [[ -n $flag ]]; then
      [[ $flag == --endpoint ]] && endpoint=$word
      flag=''
    elif [[ $word == -- ]]; then
      rest=1
    elif [[ $word == --endpoint=* ]]; then
      endpoint=${word#*=}
    elif [[ $word == -* ]]; then
      (( ${valued[(Ie)$word]} )) && flag=$word
    elif (( ${${verbs%%:*}[(Ie)$word]} )); then
      route+=" $word"
      _caged_at "$route"
    else
      given+=1
    fi
  done
  if [[ -n $rest ]]; then
    kind=@file
  elif [[ -n $flag ]]; then
    _caged_kind "$route $flag"
  elif [[ $PREFIX == --*=* ]]; then
    _caged_kind "$route ${PREFIX%%=*}"
    compset -P '*='
  elif [[ $PREFIX == -* ]]; then
    _describe -o flag flags
    return
  elif (( $#verbs )); then
    _describe verb verbs
    return
  else
    kind=${places[given+1]}
    [[ -z $kind && ${places[-1]} == *\* ]] && kind=${places[-1]}
    kind=${kind%\*}
    [[ $kind == =* ]] && kind=${kind//,/ }
  fi
  case $kind in
    @file) _files ;;
    @sandbox)
      found=(${(f)"$(${endpoint:+env} ${endpoint:+CAGED_ENDPOINT=$endpoint} \
        ${(Q)~words[1]} __complete sandboxes 2>/dev/null)"})
      compadd -a found ;;
    =*)
      found=(${(s: :)kind#=})
      compadd -a found ;;
  esac
}
# Sourced, or found in $fpath under the name _caged.
if [[ ${funcstack[1]} == _caged ]]; then
  _caged "$@"
else
  compdef _caged caged
fi
)sh";

constexpr const char* fish_head =
    R"sh(function __caged_walk --description 'the verb on the line, and the arguments it has'
    set -l route caged
    set -l given 0
    set -l skip ''
    set -g __caged_endpoint ''
    set -l tokens (commandline -opc)
    set -g __caged_program $tokens[1]
    for word in $tokens[2..-1]
        if test -n "$skip"
            test "$skip" = --endpoint; and set -g __caged_endpoint $word
            set skip ''
        else if test "$word" = --
            echo rest
            return
        else if string match -q -- '--endpoint=*' $word
            set -g __caged_endpoint (string replace -- --endpoint= '' $word)
        else if string match -q -- '-*' $word
            contains -- $word (__caged_valued "$route"); and set skip $word
        else if contains -- $word (__caged_verbs "$route")
            set route "$route $word"
        else
            set given (math $given + 1)
        end
    end
    echo $route
    echo $given
end

function __caged_at --description 'is this the verb: PLACE or any, then ways to write it'
    set -l now (__caged_walk)
    contains -- $now[1] $argv[2..-1]; or return 1
    test $argv[1] = any; and return 0
    string match -q -- '*+' $argv[1]; and test $now[2] -ge (string trim -r -c + $argv[1]); and return 0
    test $now[2] = $argv[1]
end

function __caged_sandboxes
    __caged_walk >/dev/null
    if test -n "$__caged_endpoint"
        env CAGED_ENDPOINT=$__caged_endpoint $__caged_program __complete sandboxes 2>/dev/null
    else
        $__caged_program __complete sandboxes 2>/dev/null
    end
end

complete -c caged -f
complete -c caged -n '__caged_at any rest' -F
)sh";

/// What fish completes with for a value.
std::string fish_value(const argument& value) {
  auto kind = kind_of(value);
  if (kind == "@file")
    return " -r -F";
  if (kind == "@sandbox")
    return " -x -a '(__caged_sandboxes)'";
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

result<int> run_complete(const common_options& with) {
  // Also over a node that takes the connection and then says nothing.
  std::signal(SIGALRM, [](int) { ::_exit(0); });
  itimerval limit{};
  limit.it_value.tv_usec = longest_ms * 1000;
  ::setitimer(ITIMER_REAL, &limit, nullptr);
  auto got = ask<api::list_reply>(with.endpoint, api::list{true, false, {}});
  std::string out;
  if (got)
    for (const auto& sandbox : got->sandboxes) {
      out += escape_text(sandbox.id) + "\n";
      if (!sandbox.spec.name.empty())
        out += escape_text(sandbox.spec.name) + "\n";
    }
  std::cout << out << std::flush;
  return 0;
}

} // namespace caged::cli
