#!/bin/bash
# crun, timed: each sample of a process's wall clock in milliseconds. Run by
# crun.sh in a mount namespace of its own.
#
#   crun_floor.sh DIR run N          N times: create, start, end, delete
#   crun_floor.sh DIR burst K N      N times K of them at once
#   crun_floor.sh DIR exec N         N times true in the container "warm"
#   crun_floor.sh DIR rate N MB      N times so much output: MB/s
#   crun_floor.sh DIR start NAME     a container that sleeps
#   crun_floor.sh DIR many N K       N of those, K at a time: one wall clock
#   crun_floor.sh DIR pids           of all that sleep
#   crun_floor.sh DIR remove [warm]  all of them, or all but "warm"
set -euo pipefail
export LC_ALL=C
if mountpoint -q /sys/fs/cgroup/unified; then
  umount /sys/fs/cgroup/unified
fi
dir=$1 verb=$2
shift 2
crun=(crun --root "$dir/state" --cgroup-manager=cgroupfs)

timed() { # COMMAND...
  local from=$EPOCHREALTIME us
  "$@" >/dev/null </dev/null || {
    echo "crun_floor: this failed: $*" >&2
    return 1
  }
  us=$((${EPOCHREALTIME/./} - ${from/./}))
  printf '%d.%03d\n' $((us / 1000)) $((us % 1000))
}
wait_all() { # PID...: fails when one of them failed
  local pid code=0
  for pid in "$@"; do wait "$pid" || code=1; done
  return "$code"
}
run_once() { "${crun[@]}" run --bundle "$dir/true" "cb-$$-$1"; }
start() { "${crun[@]}" run -d --bundle "$dir/idle" "$1" </dev/null >/dev/null; }
start_many() { # N K
  local i
  # One bash a container would be timed, too: xargs starts crun itself.
  for ((i = 0; i < $1; i++)); do echo "many-$$-$i"; done |
    xargs -P "$2" -I{} "${crun[@]}" run -d --bundle "$dir/idle" {}
}
through_pipe() {
  "${crun[@]}" run --bundle "$dir/head" "cb-$$-rate" | wc -c |
    grep -qx "$(($1 * 1000000))"
}

case "$verb" in
  run) for ((i = 0; i < $1; i++)); do timed run_once "$i"; done ;;
  burst)
    for ((round = 0; round < $2; round++)); do
      pids=()
      for ((i = 0; i < $1; i++)); do
        timed run_once "$round-$i" &
        pids+=($!)
      done
      wait_all "${pids[@]}"
    done
    ;;
  exec) for ((i = 0; i < $1; i++)); do timed "${crun[@]}" exec warm /bin/true; done ;;
  rate)
    for ((i = 0; i < $1; i++)); do
      took=$(timed through_pipe "$2")
      awk -v m="$2" -v t="$took" 'BEGIN { printf "%.1f\n", m / t * 1000 }'
    done
    ;;
  start) start "$1" ;;
  many) timed start_many "$1" "$2" ;;
  pids)
    for name in $("${crun[@]}" list -q); do
      "${crun[@]}" state "$name" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'
    done
    ;;
  remove)
    for name in $("${crun[@]}" list -q); do
      [[ $name == "${1:-}" ]] || "${crun[@]}" delete -f "$name"
    done
    ;;
  *) echo "crun_floor: there is no $verb" >&2; exit 2 ;;
esac
