# Sourced by one_host.sh: the peer, podman with a storage of its own in $work
# and an image of busybox alone. Limits as caged's; no user namespace, which is
# in podman's favour. Where it cannot run, $peer becomes "no" and $peer_reason
# says why: the table has that instead.
# shellcheck shell=bash disable=SC2034,SC2154,SC2119,SC2120 # one_host.sh's variables

peer_reason=
podman_flags=()

podman_cmd() {
  podman --root "$work/podman/root" --runroot "$work/podman/run" \
    --tmpdir "$work/podman/tmp" --storage-driver overlay --events-backend none \
    --cgroup-manager cgroupfs --runtime runc "$@"
}

podman_prepare() {
  local limit pid_max
  case "$peer" in
    yes) ;;
    no) peer_reason="not asked for: ops/bench --peer"; return ;;
    *) peer_reason=${peer#no: }; peer=no; return ;;
  esac
  if ! command -v podman >/dev/null || ! command -v runc >/dev/null; then
    podman_refuse "podman or runc is not installed: ops/deps --bench"
    return
  fi
  podman_flags=(--network none --cpus 1 --memory 128m --pids-limit 512)
  # Its own defaults are above what root may set where CAP_SYS_RESOURCE is gone;
  # podman itself has come down to pid_max processes by then (seen with 4.3.1).
  limit=$(ulimit -Hn)
  [[ $limit == unlimited ]] || podman_flags+=(--ulimit "nofile=$limit:$limit")
  limit=$(ulimit -Hu) pid_max=$(</proc/sys/kernel/pid_max)
  [[ $limit != unlimited && $limit -lt $pid_max ]] || limit=$pid_max
  podman_flags+=(--ulimit "nproc=$limit:$limit")
  mkdir "$work/podman"
  if ! tar -C "$work/crun/rootfs" -c . |
    podman_cmd import - cb-busybox >"$work/said" 2>&1; then
    podman_refuse "podman import failed: $(podman_why)"
  elif ! podman_cmd run --rm "${podman_flags[@]}" cb-busybox /bin/true \
    >"$work/said" 2>&1 </dev/null; then
    podman_refuse "podman run failed: $(podman_why)"
  else
    podman_sleeper warm
  fi
}

# The last line that podman said, fit for a table.
podman_why() { tail -n 1 "$work/said" | tr -d '|\r' | cut -c1-200; }
podman_refuse() {
  peer=no peer_reason=$1
  say "podman is left out: $1"
}
peer_says() {
  if [[ $peer == yes ]]; then
    echo "$(podman --version | cut -d' ' -f3) with runc"
  else
    echo "left out, $peer_reason"
  fi
}

podman_sleeper() { # NAME
  podman_cmd run -d --name "$1" "${podman_flags[@]}" --log-driver none cb-busybox \
    /bin/sleep 1000000 >"$work/said" 2>&1 </dev/null || {
    cat "$work/said" >&2
    return 1
  }
}
podman_up_and_exec() { podman_sleeper cold && podman_cmd exec cold /bin/true; }
podman_cold() { # N
  local i
  for ((i = 0; i < $1; i++)); do
    ms podman_up_and_exec
    podman_cmd rm -f -t 0 cold >/dev/null
  done
}
podman_exec() { repeat "$1" podman_cmd exec warm /bin/true; }
podman_rate() { # N MB
  rates "$1" podman_cmd exec warm /bin/head -c "$(($2 * 1000000))" /dev/zero
}

podman_remove() {
  [[ -d $work/podman ]] || return 0
  local tries pid point
  podman_cmd rm -f -a -t 0 >/dev/null 2>&1
  # Each container's conmon starts a clean-up of its own, which is not waited
  # for and mounts the storage anew: 20 s, then they are ended.
  for ((tries = 0; tries < 200; tries++)); do
    [[ -n $(podman_processes) ]] || break
    sleep 0.1
  done
  for pid in $(podman_processes); do kill -KILL "$pid" 2>/dev/null; done
  # Its storage is a mount of its own, which rm would not cross.
  awk -v below="$work/podman" 'index($5, below) == 1 { print $5 }' \
    /proc/self/mountinfo | sort -r | while read -r point; do umount "$point"; done
}
# Those of this run: its folder is in their arguments. [p]: not grep's own.
podman_processes() {
  # 1: none; 2: one ended while it was looked at.
  { grep -lsa "$work/[p]odman/" /proc/[0-9]*/cmdline || [[ $? -le 2 ]]; } | cut -d/ -f3
}
