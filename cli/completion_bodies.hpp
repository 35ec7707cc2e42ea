#pragma once

/// What the completion scripts have in common whatever the verbs are; the
/// tables that completion.cpp makes from them come first.
namespace caged::cli::completion {

inline constexpr const char* bash_body = R"sh(_caged() {
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
    @sandbox | @node)
      local found what=sandboxes
      [[ $kind == @node ]] && what=nodes
      found=$(${endpoint:+env "CAGED_ENDPOINT=$endpoint"} \
        "${words[0]/#\~/$HOME}" __complete $what 2>/dev/null)
      mapfile -t COMPREPLY < <(compgen -W "$found" -- "$cur") ;;
    =*) mapfile -t COMPREPLY < <(compgen -W "${kind#=}" -- "$cur") ;;
  esac
}
complete -F _caged caged
)sh";

inline constexpr const char* zsh_body = R"sh(_caged() {
  local -a verbs names flags valued places found
  local kind='' route=caged flag='' endpoint='' word rest='' what=sandboxes
  local -i i given=0
  _caged_at "$route"
  names=(${verbs%%:*})
  for ((i = 2; i < CURRENT; i++)); do
    word=${(Q)words[i]}
    if [[ -n $rest ]]; then
      given+=1
    elif [[ -n $flag ]]; then
      [[ $flag == --endpoint ]] && endpoint=$word
      flag=''
    elif [[ $word == -- ]]; then
      rest=1
    elif [[ $word == --endpoint\=* ]]; then
      endpoint=${word#*=}
    elif [[ $word == -* ]]; then
      (( ${valued[(Ie)$word]} )) && flag=$word
    elif (( ${names[(Ie)$word]} )); then
      route+=" $word"
      _caged_at "$route"
      names=(${verbs%%:*})
    else
      given+=1
    fi
  done
  if [[ -n $rest ]]; then
    kind=@file
  elif [[ -n $flag ]]; then
    _caged_kind "$route $flag"
  elif [[ $PREFIX == --*\=* ]]; then
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
    [[ $kind == \=* ]] && kind=${kind//,/ }
  fi
  case $kind in
    @file) _files ;;
    @sandbox | @node)
      [[ $kind == @node ]] && what=nodes
      found=(${(f)"$(${endpoint:+env} ${endpoint:+CAGED_ENDPOINT=$endpoint} \
        ${(Q)~words[1]} __complete $what 2>/dev/null)"})
      compadd -a found ;;
    \=*)
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

inline constexpr const char* fish_head =
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

function __caged_known --description 'ids and names of sandboxes or nodes'
    __caged_walk >/dev/null
    if test -n "$__caged_endpoint"
        env CAGED_ENDPOINT=$__caged_endpoint $__caged_program __complete $argv[1] 2>/dev/null
    else
        $__caged_program __complete $argv[1] 2>/dev/null
    end
end

complete -c caged -f
complete -c caged -n '__caged_at any rest' -F
)sh";

} // namespace caged::cli::completion
