# Sourced by ops/cluster-local: what a cluster's directory says, the processes in
# it, and the verbs that go over all of it.
# shellcheck shell=bash disable=SC2154 # root, dir, bin_given, ...: the script's

members=(m1 m2 m3)

say() { echo "cluster-local: $*" >&2; }
fail() {
  echo "ops/cluster-local: $*" >&2
  exit 1
}
usage() {
  echo "ops/cluster-local: $*; try --help" >&2
  exit 2
}
example_name() { if [[ $1 == etcd-* ]]; then echo m1; else echo n1; fi; }

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
# eventually SECONDS COMMAND...: asks again until it is true; false at the end.
eventually() {
  local end=$(($(now_ms) + $1 * 1000 * ${CAGED_SLOW_MACHINE:-1}))
  shift
  until "$@"; do
    [[ $(now_ms) -lt $end ]] || return 1
    sleep 0.05
  done
}

# --- the directory

# Its path stands in configuration files and in the addresses of Unix sockets,
# of which the kernel takes 107 bytes (unix(7)).
check_directory() {
  [[ $dir == /* ]] || dir=$PWD/$dir
  dir=$(realpath -m -- "$dir")
  if [[ ! $dir =~ ^[A-Za-z0-9/._+-]+$ || $dir == / ]]; then
    usage "--dir takes a path of letters, digits and / . _ + -, not $dir"
  elif [[ ${#dir} -gt 80 ]]; then
    usage "--dir takes a path of at most 80 bytes, because sockets are in it; this one has ${#dir}"
  fi
}
is_cluster() { [[ -e $dir/cluster ]]; }
need_cluster() {
  is_cluster || fail "there is no cluster in $dir; make one: sudo ops/cluster-local up --dir $dir"
}
nodes() { # the names, in order; none before the first up has begun
  local i count=0
  [[ ! -e $dir/nodes ]] || count=$(<"$dir/nodes")
  for ((i = 1; i <= count; i++)); do echo "n$i"; done
}
need_one_of() { # NAME KIND NAMES...
  local name=$1 kind=$2
  shift 2
  [[ " $* " == *" $name "* ]] || fail "there is no $kind $name; there are $*"
}
# shellcheck disable=SC2046 # names have no spaces
need_node() { need_one_of "$1" node $(nodes); }
need_member() { need_one_of "$1" "member of etcd" "${members[@]}"; }
# shellcheck disable=SC2046
need_party() { need_one_of "$1" "node or member of etcd" "${members[@]}" $(nodes) host; }
address() { cat "$dir/$1/address" 2>/dev/null || echo -; }

# One change at a time. Daemons must not inherit the lock.
locked() {
  if ! is_cluster; then
    [[ $1 == up ]] || { "$@"; return; }
    if [[ -d $dir && -n $(ls -A "$dir") ]]; then
      fail "$dir holds something else; choose another --dir"
    fi
    install -d -m 755 "$dir"
    echo "of ops/cluster-local" >"$dir/cluster"
  fi
  exec 9>"$dir/lock"
  flock -w 120 9 || fail "another ops/cluster-local has been at work in $dir for two minutes"
  is_cluster || fail "$dir was taken away meanwhile; try again"
  "$@"
}

# --- processes

# started_at PID: in ticks since the boot, which with the pid names a process
# (proc_pid_stat(5)); nothing for one that is gone or only waited for.
started_at() {
  local text
  text=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # fields from the third on
  set -- ${text##*) }
  [[ $1 != [ZX] ]] && echo "${20}"
}
alive() { # NAME
  local pid
  pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
  [[ $(started_at "$pid") == "$(cat "$dir/$1/started" 2>/dev/null)" && -s $dir/$1/started ]]
}
dead() { ! alive "$1"; }

# launch NAME COMMAND...: in its namespace; a session of its own and no terminal,
# so that it outlives this script and shell.
launch() {
  local name=$1 pid
  shift
  (
    # What this shell says to other nodes is not meant for these.
    while read -r variable; do unset "$variable"; done < <(compgen -e | grep -E '^(CAGED_NODE|ETCD)_')
    exec setsid nsenter --net="$dir/$name/net" -- "$@" </dev/null >>"$dir/$name/log" 2>&1 9>&-
  ) &
  pid=$!
  echo "$pid" >"$dir/$name/pid"
  started_at "$pid" >"$dir/$name/started" || true
}
end_now() { # NAME: SIGKILL
  local pid
  alive "$1" || return 0
  pid=$(<"$dir/$1/pid")
  kill -KILL "$pid" 2>/dev/null || true
  eventually 10 dead "$1" || fail "process $pid ($1) does not end"
}
# all_answer SECONDS ANSWERS NAME...: until the function is true for each, or one
# of their processes has ended.
all_answer() {
  local seconds=$1 answers=$2 name
  shift 2
  for name in "$@"; do
    if ! eventually "$seconds" answers_or_ended "$answers" "$name" || dead "$name"; then
      tail -n 20 "$dir/$name/log" >&2 || true
      if dead "$name"; then fail "$name ended; the end of its log is above"; fi
      fail "$name does not answer after $seconds s; the end of its log is above"
    fi
  done
}
answers_or_ended() { dead "$2" || "$1" "$2"; }

# --- programs

need_programs() {
  local program missing=()
  for program in ip bridge unshare nsenter setsid flock etcd openssl curl; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    fail "these programs are missing: ${missing[*]}; install them: sudo ops/deps"
  fi
}
# Sets `bin`: as asked for, as the cluster runs with, or what was built.
find_bin() {
  local each
  bin=''
  if [[ -n $bin_given ]]; then
    each=$(realpath -m -- "$bin_given")
    [[ -x $each/caged && -x $each/caged-node ]] ||
      fail "there is no caged and caged-node in $each; build them: ops/build release"
    bin=$each
    return
  fi
  for each in "$(cat "$dir/bin" 2>/dev/null)" "$root"/build/{release,dev}/bin; do
    if [[ -n $each && -x $each/caged && -x $each/caged-node ]]; then
      bin=$each
      return
    fi
  done
  fail "caged and caged-node are not built; run: ops/build release"
}

# --- verbs

up() {
  local begun count=3 all=()
  begun=$(now_ms)
  if [[ -e $dir/nodes ]]; then
    count=$(<"$dir/nodes")
    if [[ -n $wanted && $wanted -lt $count ]]; then
      fail "the cluster in $dir has $count nodes; for a smaller one run ops/cluster-local down first"
    fi
    if [[ $flags_given == yes && $(printf '%s\n' "${node_flags[@]}") != "$(<"$dir/flags")" ]]; then
      fail "the nodes in $dir have other flags: $(tr '\n' ' ' <"$dir/flags"); for new ones run ops/cluster-local down first"
    fi
  else
    printf '%s\n' "${node_flags[@]}" >"$dir/flags"
  fi
  echo "$bin" >"$dir/bin"
  echo "${wanted:-$count}" >"$dir/nodes"

  make_network
  say "$(took "$begun") network $(<"$dir/subnet"), this host is $(address host)"
  make_certificates
  start_etcd
  say "$(took "$begun") etcd: ${members[*]}"
  mapfile -t all < <(nodes)
  start_nodes "${all[@]}"
  say "$(took "$begun") nodes: ${all[*]}"
  make_client
  eventually 10 all_live || fail "etcd does not have all nodes as live after 10 s; see" "$dir"/n*/log
  say "$(took "$begun") ready; to use it: eval \"\$(ops/cluster-local env$(dir_flag))\""
}
took() { # MS-AT-BEGIN
  local ms=$(($(now_ms) - $1))
  printf '%3d.%d s ' $((ms / 1000)) $((ms % 1000 / 100))
}
dir_flag() { [[ $dir == "${CAGED_CLUSTER_DIR:-/var/lib/caged-cluster}" ]] || echo " --dir $dir"; }

down() {
  local name pids=() code=0
  if ! is_cluster; then
    say "there is no cluster in $dir"
    return 0
  fi
  heal_all || say "some cuts cannot be healed; they go with their links"
  for name in $(nodes); do
    clear_node "$name" &
    pids+=($!)
  done
  for name in "${pids[@]}"; do wait "$name" || code=1; done
  if [[ $code -ne 0 ]]; then
    fail "not every sandbox could be destroyed; what is left stands in $dir; try again"
  fi
  for name in "${members[@]}"; do end_now "$name"; done
  remove_network
  rm -rf --one-file-system "$dir"
  say "all of it is gone"
}

status() {
  local name kind asked answers link code=0
  if ! is_cluster; then
    echo "there is no cluster in $dir"
    return 3
  fi
  row NAME KIND PID ADDRESS ALIVE ANSWERS LINK
  for name in "${members[@]}" $(nodes); do
    kind=node asked=node_answers
    [[ $name != m* ]] || kind=etcd asked=member_answers
    link=$(link_of "$name")
    if ! alive "$name"; then
      code=3
      row "$name" "$kind" - "$(address "$name")" no no "$link"
      continue
    fi
    answers=yes
    "$asked" "$name" || answers=no
    [[ $answers == yes && $link == up ]] || code=3
    row "$name" "$kind" "$(<"$dir/$name/pid")" "$(address "$name")" yes "$answers" "$link"
  done
  return "$code"
}
row() { printf '%-5s %-5s %-8s %-16s %-6s %-8s %s\n' "$@"; }

print_env() {
  find_bin
  cat <<TEXT
export XDG_CONFIG_HOME=$dir/client
export CAGED_CONTEXT=cluster
export PATH=$bin:\$PATH
unset CAGED_ENDPOINT CAGED_SERVER_KEY CAGED_KEY
TEXT
}
