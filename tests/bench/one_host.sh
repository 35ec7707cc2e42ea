#!/bin/bash
# What one host costs: each promise beside a floor or a peer that is measured in
# the same run, block by block in turn, on the same machine. Starts nodes of its
# own and removes them. Called by ops/bench, which says what the settings are;
# the table goes to stdout and to $CAGED_BENCH_OUT/one_host.md.
#
# builds: caged caged-node caged-agent bench_client
# shellcheck source-path=SCRIPTDIR
set -Eeuo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${CAGED_BIN_DIR:?set it to the folder of the programs}
out=${CAGED_BENCH_OUT:?set it to the folder for the table}
scale=${CAGED_BENCH_SCALE:-normal} # quick, normal, full
idle=${CAGED_BENCH_IDLE:-}
peer=${CAGED_BENCH_PEER:-no}

# n of each: blocks take turns with their floor's, so that a neighbour's load
# falls on both.
case "$scale" in
  quick)
    blocks=2 cold=5 waves=1 execs=100 runs=5 peer_runs=2 megabytes=100 rates=1
    created=20 restarts=1 adopt=20 idle=${idle:-20} idle_seconds=10 floor_idle=3
    ;;
  normal | full)
    blocks=5 cold=20 waves=2 execs=1000 runs=20 peer_runs=4 megabytes=1000
    rates=1 created=100 restarts=5 adopt=200 idle_seconds=10 floor_idle=20
    [[ $scale == full ]] && idle=${idle:-1000}
    idle=${idle:-200}
    ;;
  *) echo "one_host: the scale is quick, normal or full, not $scale" >&2; exit 2 ;;
esac
at_once=20

# shellcheck source=lib/table.sh
source "$here/lib/table.sh"
# shellcheck source=lib/node.sh
source "$here/lib/node.sh"
# shellcheck source=lib/crun.sh
source "$here/lib/crun.sh"
# shellcheck source=lib/podman.sh
source "$here/lib/podman.sh"
# shellcheck source=lib/idle.sh
source "$here/lib/idle.sh"
mkdir -p "$out"
samples=$out/samples
rm -rf "$samples"
mkdir "$samples"
work=$(mktemp -d "${TMPDIR:-/tmp}/cb.XXXXXX")
export CAGED_ENDPOINT=ipc://$work/run/node.sock

cleanup() {
  local code=$?
  trap - EXIT ERR
  set +e
  [[ $code -eq 0 || $code -eq 130 ]] || node_explain # 130: interrupted
  node_remove || code=1
  crun_remove
  podman_remove
  rm -rf --one-file-system "$work" || code=1
  exit "$code"
}
trap cleanup EXIT
trap 'echo "one_host: ${BASH_SOURCE[0]##*/}:$LINENO failed: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM

say() { echo "-- $*" >&2; }
# take NAME COMMAND...: what it prints is samples of NAME.
take() {
  local name=$1
  shift
  "$@" >>"$samples/$name"
}
# ms COMMAND...: its wall clock in milliseconds; its output is dropped, and
# shown when it fails.
ms() {
  local from=$EPOCHREALTIME us
  "$@" >"$work/said" 2>&1 </dev/null || {
    cat "$work/said" >&2
    echo "one_host: this failed: $*" >&2
    return 1
  }
  us=$((${EPOCHREALTIME/./} - ${from/./}))
  printf '%d.%03d\n' $((us / 1000)) $((us % 1000))
}
repeat() { # N COMMAND...
  local n=$1 i
  shift
  for ((i = 0; i < n; i++)); do ms "$@" || return; done
}
# in_turn FUNCTION...: a block of each, one after another, several times.
in_turn() {
  local block measure
  for ((block = 0; block < blocks; block++)); do
    for measure in "$@"; do "$measure"; done
  done
}

bench() { "$bin/bench_client" "$@"; }
caged_cold() { # two processes, as at a prompt; the removal is not timed
  "$bin/caged" up --name cold --cpus 1 --memory 128 --disk 1 &&
    "$bin/caged" exec cold -- true
}

# --- blocks -------------------------------------------------------------------
take_cold() { take cold bench cold -n "$cold"; }
take_cold_many() {
  take cold_many bench cold -n $((waves * at_once)) --at-once "$at_once"
}
take_pooled() { take pooled bench cold -n "$cold"; }
take_cold_cli() {
  local i
  for ((i = 0; i < runs; i++)); do
    take cold_cli ms caged_cold
    "$bin/caged" destroy cold >/dev/null
  done
}
take_spawn() { take spawn bench spawn -n "$execs"; }
take_hello() { take hello bench hello -n "$execs"; }
take_exec() { take exec bench exec warm -n "$execs"; }
take_exec_cli() { take exec_cli repeat "$runs" "$bin/caged" exec warm -- true; }
take_version() { take version repeat "$runs" "$bin/caged" version; }
take_crun_run() { take crun_run crun_floor run "$runs"; }
take_crun_many() { take crun_many crun_floor burst "$at_once" "$waves"; }
take_crun_exec() { take crun_exec crun_floor exec "$runs"; }
take_rate() {
  take rate rates "$rates" "$bin/caged" exec warm -- \
    head -c "$((megabytes * 1000000))" /dev/zero
}
take_crun_rate() { take crun_rate crun_floor rate "$rates" "$megabytes"; }
take_podman_cold() { [[ $peer != yes ]] || take podman_cold podman_cold "$peer_runs"; }
take_podman_exec() { [[ $peer != yes ]] || take podman_exec podman_exec "$peer_runs"; }
take_podman_rate() {
  [[ $peer != yes ]] || take podman_rate podman_rate "$rates" "$megabytes"
}
# rates N COMMAND...: megabytes a second through a pipe, start included.
rates() {
  local n=$1 i took
  shift
  # shellcheck disable=SC2317 # called by ms
  through_pipe() { "$@" | wc -c | grep -qx "$((megabytes * 1000000))"; }
  for ((i = 0; i < n; i++)); do
    took=$(ms through_pipe "$@") || return
    awk -v m="$megabytes" -v t="$took" 'BEGIN { printf "%.1f\n", m / t * 1000 }'
  done
}

# --- the run --------------------------------------------------------------------
machine_facts before
crun_prepare
podman_prepare

say "node: start with nothing to adopt"
for ((i = 0; i < restarts; i++)); do
  node_start
  take start_empty bench adopted -n 0 --since "$node_since"
  node_stop
done
node_start
node_await
"$bin/caged" up --name warm --cpus 1 --memory 128 --disk 1 >/dev/null
crun_start warm
say "cold create to first exec answered"
in_turn take_cold take_crun_run
say "the same, $at_once at once"
in_turn take_cold_many take_crun_many
say "the same, two processes"
in_turn take_cold_cli take_podman_cold
say "exec round trip"
in_turn take_exec take_hello take_spawn
say "exec as a process"
in_turn take_exec_cli take_crun_exec take_version take_podman_exec
say "output, $megabytes MB"
memory_before=$(node_peak_kb)
in_turn take_rate take_crun_rate take_podman_rate
memory_after=$(node_peak_kb)
"$bin/caged" destroy warm >/dev/null

say "$created created from nothing"
((created <= idle)) || created=$idle
((adopt <= idle)) || adopt=$idle
available_before=$(available_kb)
take created bench create -n "$created" --at-once "$at_once"
take crun_created crun_floor many "$created" "$at_once"
crun_floor remove # not beside the idle ones

say "$adopt adopted by a new daemon"
((adopt <= created)) || bench create -n $((adopt - created)) --at-once "$at_once" >/dev/null
for ((i = 0; i < restarts; i++)); do
  node_kill
  node_start
  bench adopted -n "$adopt" --at-once "$at_once" --since "$node_since" >"$work/adopted"
  take adopted_listed sed -n 1p "$work/adopted"
  take adopted sed -n 2p "$work/adopted"
done

say "$idle idle"
held=$((created > adopt ? created : adopt))
((idle <= held)) || bench create -n $((idle - held)) --at-once "$at_once" >/dev/null
idle_caged
crun_idle
podman_idle
node_remove

if pool_is_built; then
  say "from the pool"
  node_start "${pool_flags[@]}"
  node_await
  in_turn take_pooled take_spawn
  node_remove
fi
machine_facts after

# --- the table ------------------------------------------------------------------
{
  table_head
  pair ms "cold create to first exec answered" cold \
    "crun run true: no image, user namespace or limits" crun_run \
    "p50 <= 40, p99 <= 150"
  pair ms "the same, $at_once at once" cold_many "crun run true, $at_once at once" crun_many
  pair ms "caged up, then caged exec true: two processes" cold_cli \
    "crun run true" crun_run
  peer_pair ms "caged up, then caged exec true: two processes" cold_cli \
    "podman run -d, then podman exec true" podman_cold
  if pool_is_built; then
    pair ms "create from the pool to first exec answered" pooled \
      "process start on the host" spawn "p50 <= 5"
  else
    row "create from the pool to first exec answered" "not built yet" "p50 <= 5 ms"
  fi
  pair ms "exec round trip in a running sandbox" exec \
    "process start on the host" spawn "p50 <= 2"
  pair ms "of that: hello, client and node alone" hello \
    "process start on the host" spawn
  pair ms "caged exec true: one process" exec_cli "caged version: process start" version
  pair ms "caged exec true: one process" exec_cli "crun exec true" crun_exec
  peer_pair ms "caged exec true: one process" exec_cli "podman exec true" podman_exec \
    "ratio <= 0.2"
  pair MB/s "exec output, $megabytes MB, agent to client" rate \
    "crun run, a pipe" crun_rate ">= 200 MB/s"
  peer_pair MB/s "exec output, $megabytes MB, agent to client" rate \
    "podman exec" podman_rate
  row "node's peak memory before and after that output" \
    "$((memory_before / 1024)) MiB, $((memory_after / 1024)) MiB" "flat"
  pair ms "$created created from nothing, $at_once at once: wall clock" created \
    "crun run -d, $created, $at_once at once" crun_created
  pair ms "kill -9 to $adopt adopted and each ran true" adopted \
    "node's start with nothing to adopt" start_empty "<= 2000"
  pair ms "of that: all $adopt listed as running" adopted_listed \
    "node's start with nothing to adopt" start_empty
  idle_rows
  table_foot
} | tee "$out/one_host.md"
