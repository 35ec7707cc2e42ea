# Sourced by one_host.sh: a caged-node of its own, in $work.
# shellcheck shell=bash disable=SC2034,SC2154,SC2119,SC2120 # one_host.sh's variables

node=       # its pid; empty when none runs
node_since= # when it was started, seconds since 1970
node_cgroups=

# Returns at once. FLAGS are kept for node_remove, which may have to start it.
node_flags=()
node_start() { # [FLAG...]
  [[ $# -eq 0 ]] || node_flags=("$@")
  mkdir -p "$work/data" "$work/run"
  node_since=$EPOCHREALTIME
  # Promised, not used: idle sandboxes need little of it.
  "$bin/caged-node" --data-dir "$work/data" --run-dir "$work/run" \
    --agent-dir "$bin" --metrics-address 127.0.0.1:0 --gateway-address 127.0.0.1:0 --cpus 100000 \
    --memory-mb 10000000 --disk-gb 1000000 "${node_flags[@]}" \
    >>"$work/node.log" 2>&1 </dev/null &
  node=$!
}

node_await() { # until it answers
  bench adopted -n 0 --since "$node_since" >/dev/null
  node_cgroups=$("$bin/caged" node status --format json |
    sed -n 's/.*"cgroups": *"\([^"]*\)".*/\1/p')
}

node_stop() { # sandboxes live on
  kill -TERM "$node"
  wait "$node" || {
    echo "one_host: caged-node ended with $? after SIGTERM" >&2
    return 1
  }
  node=
}

node_kill() {
  kill -KILL "$node"
  wait "$node" 2>/dev/null || [[ $? -eq 137 ]] # of the kill, nothing else
  node=
}

# Destroys all its sandboxes, ends it and removes its data. Fails when something
# was left.
node_remove() {
  [[ -d $work/data ]] || return 0
  local code=0
  if [[ -z $node ]] || ! kill -0 "$node" 2>/dev/null; then
    node_start
    node_await || code=1
  fi
  "$bin/caged" node shutdown --destroy-all >/dev/null || code=1
  wait "$node" || code=1
  node=
  if [[ $code -ne 0 ]]; then
    echo "one_host: the node could not be cleared; its log ends with:" >&2
    tail -n 20 "$work/node.log" >&2
  fi
  node_flags=()
  rm -rf --one-file-system "$work/data" "$work/run" || code=1
  return "$code"
}

# After a failure: what the node says of it.
node_explain() {
  [[ -s $work/node.log ]] || return 0
  echo "one_host: the node's log ends with:" >&2
  tail -n 20 "$work/node.log" >&2
}

node_peak_kb() { awk '/^VmHWM/ { print $2 }' "/proc/$node/status"; }

# The hook for the pool: when caged-node has a setting for it, this is asked for
# its flags and the row is measured. Members are handed out one after another
# here; none is made meanwhile until half of the pool is gone, so a block of them
# fits into the other half.
pool_flags=(--pool "${CAGED_BENCH_POOL:-minimal=48}")
pool_is_built() { "$bin/caged-node" --check-config | grep '^pool:' >/dev/null; }
