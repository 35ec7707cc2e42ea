#!/bin/bash
# What several hosts cost: three nodes and an etcd of three members on loopback,
# and beside each figure what the same costs without the fleet, block by block
# in turn. Called by ops/bench; the table goes to stdout and to
# $CAGED_BENCH_OUT/cluster.md.
#
# builds: caged caged-node caged-agent bench_client bench_scheduler
# shellcheck source-path=SCRIPTDIR
set -Eeuo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${CAGED_BIN_DIR:?set it to the folder of the programs}
out=${CAGED_BENCH_OUT:?set it to the folder for the table}
scale=${CAGED_BENCH_SCALE:-normal}

case "$scale" in
  quick) blocks=2 execs=100 places=20 megabytes=100 deaths=1 scheduled=1000 ;;
  normal | full) blocks=5 execs=1000 places=40 megabytes=1000 deaths=5 scheduled=5000 ;;
  *) echo "cluster: the scale is quick, normal or full, not $scale" >&2; exit 2 ;;
esac

# shellcheck source=lib/table.sh
source "$here/lib/table.sh"
# shellcheck disable=SC2034 # table.sh's
peer=no node_cgroups=
peer_says() { echo "not asked"; }
mkdir -p "$out"
samples=$out/cluster-samples
rm -rf "$samples"
mkdir "$samples"
work=$(mktemp -d "${TMPDIR:-/tmp}/cc.XXXXXX")
declare -A pids=()

cleanup() {
  local code=$? name
  trap - EXIT ERR
  set +e
  [[ $code -eq 0 || $code -eq 130 ]] || tail -n 5 "$work"/*.log >&2
  for name in n1 n2 n3 alone; do
    [[ -d $work/$name ]] || continue
    kill -0 "${pids[$name]:-0}" 2>/dev/null || start_node "$name"
    await "$name" && at "$name" node shutdown --destroy-all >/dev/null || code=1
    wait "${pids[$name]}" || code=1
  done
  for name in e1 e2 e3; do
    # Its data goes; without a majority a member takes its time to end.
    [[ -z ${pids[$name]:-} ]] || { kill -KILL "${pids[$name]}"; wait "${pids[$name]}" 2>/dev/null; }
  done
  rm -rf --one-file-system "$work" || code=1
  exit "$code"
}
trap cleanup EXIT
trap 'echo "cluster: ${BASH_SOURCE[0]##*/}:$LINENO failed: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM

say() { echo "-- $*" >&2; }
take() {
  local name=$1
  shift
  "$@" >>"$samples/$name"
}
in_turn() {
  local block measure
  for ((block = 0; block < blocks; block++)); do
    for measure in "$@"; do "$measure"; done
  done
}
free_port() { # what the kernel gives out now
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
endpoint() { echo "ipc://$work/$1/run/node.sock"; }
at() { # NODE COMMAND...: caged there
  local name=$1
  shift
  CAGED_ENDPOINT=$(endpoint "$name") "$bin/caged" "$@"
}
bench() { # NODE COMMAND...
  local name=$1
  shift
  CAGED_ENDPOINT=$(endpoint "$name") "$bin/bench_client" "$@"
}
soon() { # COMMAND...: until it works, 30 s at most
  local until=$((${EPOCHREALTIME/./} + 30000000))
  until "$@" >/dev/null 2>&1; do
    ((${EPOCHREALTIME/./} < until)) || {
      echo "cluster: not within 30 s: $*" >&2
      return 1
    }
    sleep 0.05
  done
}
await() { soon at "$1" node status; } # NODE
all_ready() { [[ $(at n1 node list | grep -c ready) -eq 3 ]]; }

declare -A port=()
start_node() { # NAME
  local name=$1 flags=()
  mkdir -p "$work/$name/data" "$work/$name/run"
  [[ $name == alone ]] ||
    flags=(--store "$store" --listen "tcp://127.0.0.1:${port[$name]}")
  "$bin/caged-node" --data-dir "$work/$name/data" --run-dir "$work/$name/run" \
    --client-endpoint "$(endpoint "$name")" --agent-dir "$bin" --node-name "$name" \
    --metrics-address 127.0.0.1:0 --gateway-address 127.0.0.1:0 \
    --cpus 10000 --memory-mb 1000000 --disk-gb 100000 "${flags[@]}" \
    >>"$work/$name.log" 2>&1 </dev/null &
  pids[$name]=$!
}

# --- a fleet ------------------------------------------------------------------
machine_facts before
say "three members of etcd, three nodes, and one on SQLite alone"
members='' store=etcd://
for name in e1 e2 e3; do
  port[$name]=$(free_port) port[$name-peer]=$(free_port)
  members+=${members:+,}$name=http://127.0.0.1:${port[$name-peer]}
  store+=127.0.0.1:${port[$name]},
done
store=${store%,}/bench
for name in e1 e2 e3; do
  etcd --name "$name" --data-dir "$work/$name" \
    --listen-client-urls "http://127.0.0.1:${port[$name]}" \
    --advertise-client-urls "http://127.0.0.1:${port[$name]}" \
    --listen-peer-urls "http://127.0.0.1:${port[$name-peer]}" \
    --initial-advertise-peer-urls "http://127.0.0.1:${port[$name-peer]}" \
    --initial-cluster "$members" >"$work/$name.log" 2>&1 </dev/null &
  pids[$name]=$!
done
for name in n1 n2 n3; do
  port[$name]=$(free_port)
  start_node "$name"
done
start_node alone
for name in n1 n2 n3 alone; do await "$name"; done
soon all_ready
at n1 up --no-config --name warm --node n2 --cpus 1 --memory 128 --disk 1 >/dev/null

# --- blocks -------------------------------------------------------------------
take_owner() { take exec_owner bench n2 exec warm -n "$execs"; }
take_other() { take exec_other bench n1 exec warm -n "$execs"; }
take_etcd() { take placed_etcd bench n1 placed -n "$places" --at-once 8; }
take_sqlite() { take placed_sqlite bench alone placed -n "$places" --at-once 8; }
rate() { # NODE
  local from=$EPOCHREALTIME us
  at "$1" exec warm -- head -c "$((megabytes * 1000000))" /dev/zero |
    wc -c | grep -qx "$((megabytes * 1000000))"
  us=$((${EPOCHREALTIME/./} - ${from/./}))
  awk -v m="$megabytes" -v t="$us" 'BEGIN { printf "%.1f\n", m / t * 1e6 }'
}
take_rate_owner() { take rate_owner rate n2; }
take_rate_other() { take rate_other rate n1; }
peak() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/${pids[n1]}/status"; }

say "exec round trip, at its node and through another"
in_turn take_owner take_other
say "output, $megabytes MB"
peak_before=$(peak)
in_turn take_rate_owner take_rate_other
peak_after=$(peak)
say "a place: booked in etcd by three nodes, in SQLite by one"
in_turn take_etcd take_sqlite
say "a node dies, $deaths times"
for ((i = 0; i < deaths; i++)); do
  since=$EPOCHREALTIME
  kill -KILL "${pids[n2]}"
  wait "${pids[n2]}" 2>/dev/null || [[ $? -eq 137 ]]
  take dead bench n1 lost warm --since "$since"
  start_node n2
  await n2
  soon at n1 exec warm -- true
done
say "placements over nodes in memory"
for nodes in 10 100 1000; do
  take "schedule_$nodes" "$bin/bench_scheduler" --nodes "$nodes" -n "$scheduled"
  take "choice_$nodes" "$bin/bench_scheduler" --nodes "$nodes" -n "$scheduled" --choice
done
machine_facts after

# --- the table ----------------------------------------------------------------
{
  table_head
  pair ms "exec round trip through another node" exec_other "at its node" exec_owner
  pair MB/s "exec output, $megabytes MB, through another node" rate_other "at its node" rate_owner
  row "the node in the middle: peak memory before and after" "$peak_before MiB, $peak_after MiB" "flat"
  pair ms "up until its place is booked: etcd of three, three nodes" placed_etcd \
    "SQLite, one node" placed_sqlite
  IFS='|' read -r p50 tail n <<<"$(stats dead)"
  printf '| a dead node noticed | ms | %s | %s | %s | | | | | <= 5000 |\n' "$p50" "$tail" "$n"
  for nodes in 10 100 1000; do
    pair us "placement over $nodes nodes: chosen and booked in memory" "schedule_$nodes" \
      "the choice alone" "choice_$nodes"
    row "placements a second over $nodes nodes" \
      "$(awk '{ s += $1 } END { printf "%.0f", NR / s * 1e6 }' "$samples/schedule_$nodes")"
  done
  table_foot
} | tee "$out/cluster.md"
