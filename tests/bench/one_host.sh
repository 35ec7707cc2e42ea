#!/bin/bash
# What one host costs, seen from the command line, with the floor measured in
# the same run: crun alone on the same machine in the same minute. Starts a
# node of its own and removes it. Called by ops/bench; figures are wall clock.
set -euo pipefail
bin=${CAGED_BIN_DIR:?set it to the folder of the programs}
rounds=${CAGED_BENCH_ROUNDS:-30}
megabytes=${CAGED_BENCH_MB:-300}
work=$(mktemp -d /tmp/cb.XXXXXX)
export CAGED_ENDPOINT=ipc://$work/run/node.sock
node=
cleanup() {
  [[ -z $node ]] || {
    "$bin/caged" node shutdown --destroy-all >/dev/null 2>&1 || true
    wait "$node" 2>/dev/null || true
  }
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT

ms() { # COMMAND...: its wall clock in milliseconds; its output is dropped
  local from=$EPOCHREALTIME
  "$@" >/dev/null 2>"$work/err" </dev/null || {
    cat "$work/err" >&2
    return 1
  }
  awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", (b - a) * 1000 }'
}
row() { # NAME, samples on stdin
  sort -n | awk -v name="$1" '{ v[NR] = $1 } END {
    printf "%-52s %8.1f %8.1f %8.1f %6d\n", name, v[int((NR + 1) / 2)],
      v[1], v[int(NR * 0.99 + 0.99)], NR }'
}
repeat() { # COMMAND...: a line of milliseconds for each round
  local i
  for ((i = 0; i < rounds; i++)); do "$@" || return; done
}

echo "machine: $(nproc) cores, $(awk -F: '/model name/ { print $2; exit }' /proc/cpuinfo | xargs)," \
  "Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg)"
echo "build:   $bin, $("$bin/caged" version 2>/dev/null | head -n 1)"
printf '%-52s %8s %8s %8s %6s\n' "milliseconds" p50 min p99 n

# --- floor: crun with a busybox root, no image, no user namespace -------------
bundle=$work/bundle
mkdir -p "$bundle/rootfs/bin"
cp "$(command -v busybox)" "$bundle/rootfs/bin/busybox"
for name in sh true head; do ln -s busybox "$bundle/rootfs/bin/$name"; done
(cd "$bundle" && crun spec)
bundle_for() { # ARGS as JSON
  # crun's own example configuration: only command, terminal and cgroup change.
  sed -i -e "s|\"terminal\": true|\"terminal\": false|" \
    -e "/\"args\": \[/,/\]/c\"args\": $1," "$bundle/config.json"
}
# Under the hybrid layout crun refuses to run unless v2 is out of sight.
crun_run() {
  unshare --mount --propagation private sh -c '
    umount /sys/fs/cgroup/unified 2>/dev/null || true
    exec crun --root "$1/crun" --cgroup-manager=cgroupfs run --bundle "$1/bundle" "bench-$$"
  ' sh "$work"
}
bundle_for '["/bin/true"]'
repeat ms crun_run | row "floor: crun run, /bin/true, delete"

# --- caged --------------------------------------------------------------------
mkdir -p "$work/data" "$work/run"
"$bin/caged-node" --data-dir "$work/data" --run-dir "$work/run" \
  --metrics-address 127.0.0.1:0 >"$work/node.log" 2>&1 </dev/null &
node=$!
for ((i = 0; i < 100; i++)); do
  "$bin/caged" node status >/dev/null 2>&1 && break
  sleep 0.1
done
"$bin/caged" up --name warm >/dev/null # the template is built at first use

cold() {
  "$bin/caged" up --name "cold$1" --memory 128 --cpus 1
  "$bin/caged" exec "cold$1" -- true
}
for ((i = 0; i < rounds; i++)); do
  ms cold "$i"
  "$bin/caged" destroy "cold$i" >/dev/null
done | row "caged up, then caged exec true (two processes)"
for ((i = 0; i < rounds; i++)); do
  ms "$bin/caged" up --name "up$i" --memory 128 --cpus 1
  "$bin/caged" destroy "up$i" >/dev/null
done | row "caged up: created, agent answers (one process)"
repeat ms "$bin/caged" version | row "floor: caged version (process start)"
repeat ms "$bin/caged" exec warm -- true | row "caged exec true (one process)"
if command -v podman >/dev/null; then
  echo "podman is here; comparing with it is not part of this bench yet"
fi

echo
printf '%-52s %8s\n' "megabytes a second, $megabytes MB of zeros" "MB/s"
rate() { awk -v m="$megabytes" -v t="$1" 'BEGIN { printf "%.0f", m / t * 1000 }'; }
pipe_caged() { "$bin/caged" exec warm -- head -c "$((megabytes * 1000000))" /dev/zero | cat; }
pipe_crun() { crun_run | cat; }
bundle_for "[\"/bin/head\", \"-c\", \"$((megabytes * 1000000))\", \"/dev/zero\"]"
printf '%-52s %8s\n' "floor: crun run, a pipe" "$(rate "$(ms pipe_crun)")"
printf '%-52s %8s\n' "caged exec, agent to client" "$(rate "$(ms pipe_caged)")"
