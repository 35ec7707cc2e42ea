# Sourced by one_host.sh: the floor, crun alone with a busybox root. No image,
# no user namespace, no seccomp filter, no disk of its own.
# shellcheck shell=bash disable=SC2034,SC2154,SC2119,SC2120 # one_host.sh's variables

crun_prepare() {
  local name root=$work/crun/rootfs
  mkdir -p "$root/bin" "$work/crun/state"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for name in sh true head sleep; do ln -s busybox "$root/bin/$name"; done
  (
    cd "$work/crun" || return
    crun spec
    # Its own example but for the terminal.
    sed -i 's|"terminal": true|"terminal": false|' config.json
  )
  crun_bundle true /bin/true
  crun_bundle idle /bin/sleep 1000000
  crun_bundle head /bin/head -c "$((megabytes * 1000000))" /dev/zero
}

crun_bundle() { # NAME ARG...
  local name=$1 args
  shift
  args=$(printf ', "%s"' "$@")
  mkdir "$work/crun/$name"
  ln -s ../rootfs "$work/crun/$name/rootfs"
  sed -e "/\"args\": \[/,/\]/c\"args\": [${args:2}]," "$work/crun/config.json" \
    >"$work/crun/$name/config.json"
}

# crun_floor VERB ...: see crun_floor.sh. Under the hybrid layout crun refuses to
# run unless cgroup v2 is out of sight: hence the mount namespace, outside of
# what is timed.
crun_floor() {
  unshare --mount --propagation private \
    bash "$here/lib/crun_floor.sh" "$work/crun" "$@"
}

crun_start() { crun_floor start "$1"; } # NAME: an idle container
crun_remove() { [[ ! -d $work/crun/state ]] || crun_floor remove; }
