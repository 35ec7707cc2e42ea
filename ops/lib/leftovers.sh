# Sourced by ops/test: did the run leave anything on this machine?
# shellcheck shell=bash

# Every process of the run inherits this; what a sandbox runs does not, but its
# programs are the very files (device and inode) that the build made.
export CAGED_TEST_RUN="$$.$RANDOM$RANDOM"

# leftovers_now FILE: what exists now, one thing a line.
leftovers_now() {
  (
    set +e # things vanish while one looks at them
    sed 's/ - .*//' /proc/self/mountinfo | awk '{ print "mount " $5 }'
    find /sys/fs/cgroup -type d -path '*caged*' -printf 'cgroup %p\n' 2>/dev/null
    losetup --noheadings --output NAME,BACK-FILE 2>/dev/null |
      awk '{ print "loop device " $0 }'
    ip -oneline link show 2>/dev/null |
      sed 's/^[0-9]*: \([^:@]*\).*/network link \1/'
    find /run/netns /var/run/netns -mindepth 1 -printf 'network namespace %p\n' \
      2>/dev/null
    find /tmp /run /var/lib -maxdepth 1 -name 'caged*' ! -path "$logs" \
      ! -path "${TMPDIR:-/nowhere}" -printf 'file %p\n' 2>/dev/null
    local program inode looker=$BASHPID
    declare -A ours=()
    for program in "$root"/build/*/bin/*; do
      [[ -f $program ]] && ours[$(stat -c %d:%i "$program")]=1
    done
    for program in /proc/[0-9]*; do
      local pid=${program#/proc/}
      [[ $pid == "$$" || $pid == "$looker" ]] && continue
      inode=$(stat -Lc %d:%i "$program/exe" 2>/dev/null) || continue
      # Marked by the environment and not one of this script's own helpers, or
      # running a program of this build.
      if [[ -n ${ours[$inode]:-} ]] ||
        { tr '\0' '\n' <"$program/environ" 2>/dev/null |
          grep -qx "CAGED_TEST_RUN=$CAGED_TEST_RUN" &&
          ! is_beneath "$pid" "$looker"; }; then
        echo "process $pid $(tr '\0' ' ' <"$program/cmdline" 2>/dev/null)"
      fi
    done
  ) >"$1.all"
  sort -u "$1.all" >"$1"
  rm -f "$1.all"
}

# is_beneath PID ANCESTOR
is_beneath() {
  local pid=$1
  while [[ -n $pid && $pid -gt 1 ]]; do
    [[ $pid == "$2" ]] && return 0
    pid=$(awk '{ print $4 }' "/proc/$pid/stat" 2>/dev/null) || return 0
  done
  return 1
}

# leftovers_check BEFORE: fails when something exists that did not before.
# Freed asynchronously by the kernel (cgroups, loop devices): 10 s of grace.
leftovers_check() {
  local after=$logs/after tries
  for ((tries = 0; tries < 20; tries++)); do
    leftovers_now "$after"
    # Two checks are made: what is new, and what is still in the tests' TMPDIR.
    comm -13 "$1" "$after" >"$logs/new"
    find "$TMPDIR" -mindepth 1 -printf 'file %p\n' >>"$logs/new"
    [[ -s $logs/new ]] || return 0
    sleep 0.5
  done
  echo "left behind by the tests:"
  cat "$logs/new"
  return 1
}
