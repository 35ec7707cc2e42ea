# Sourced by one_host.sh: what sandboxes cost that only wait.
# shellcheck shell=bash disable=SC2034,SC2154,SC2119,SC2120 # one_host.sh's variables

available_kb() { awk '/^MemAvailable/ { print $2 }' /proc/meminfo; }

# The directory of the cgroup that a process's memory is charged to.
memory_group() { # PID
  awk -F: '
    $2 ~ /(^|,)memory(,|$)/ { v1 = "/sys/fs/cgroup/memory" $3 }
    $1 == 0 { v2 = "/sys/fs/cgroup" $3 }
    END { print v1 != "" ? v1 : v2 }' "/proc/$1/cgroup"
}

# charged_kb PID...: what their cgroups are charged, each cgroup once, kernel
# memory included; nothing where it cannot be read.
charged_kb() {
  local pid group file files=()
  for pid in "$@"; do
    group=$(memory_group "$pid") || return
    for file in "$group/memory.usage_in_bytes" "$group/memory.current"; do
      [[ ! -r $file ]] || files+=("$file")
    done
  done
  [[ ${#files[@]} -gt 0 ]] || return 0
  printf '%s\n' "${files[@]}" | sort -u | xargs cat |
    awk '{ sum += $1 } END { printf "%.0f\n", sum / 1024 }'
}

# pss_kb PID...: proportional set size, which counts shared pages once in all.
pss_kb() {
  printf '/proc/%s/smaps_rollup\n' "$@" | xargs cat |
    awk '/^Pss:/ { sum += $2 } END { print sum + 0 }'
}

# cpu_ns PID...: time on a cpu of all their threads; proc(5), schedstat.
cpu_ns() {
  local pid
  # One cat for a thousand processes: a cat for each takes seconds.
  for pid in "$@"; do printf '%s\n' "/proc/$pid/task/"*/schedstat; done |
    xargs cat | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

each_mib() { awk -v kb="$1" -v n="$2" 'BEGIN { printf "%.2f", kb / n / 1024 }'; }
core_percent() { # NS-BEFORE NS-AFTER SECONDS: the time that really passed
  awk -v a="$1" -v b="$2" -v s="$3" 'BEGIN { printf "%.2f", (b - a) / s / 1e7 }'
}
seconds_since() { # EPOCHREALTIME
  awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.6f", b - a }'
}

declare -A idle_is=()

# Reads the $idle sandboxes that exist.
idle_caged() {
  local pids rss charged node_before agents_before node_since agents_since
  mapfile -t pids < <("$bin/caged" node audit | awk '$2 == "process" { print $3 }')
  if [[ ${#pids[@]} -ne $idle ]]; then
    echo "one_host: $idle idle sandboxes should be $idle processes, the audit" \
      "knows ${#pids[@]}" >&2
    return 1
  fi
  sleep "$idle_seconds" # what their creation left to do gets done
  node_since=$EPOCHREALTIME
  node_before=$(cpu_ns "$node")
  agents_since=$EPOCHREALTIME
  agents_before=$(cpu_ns "${pids[@]}")
  sleep "$idle_seconds"
  idle_is[node_cpu]=$(core_percent "$node_before" "$(cpu_ns "$node")" "$(seconds_since "$node_since")")
  idle_is[agent_cpu]=$(core_percent "$agents_before" "$(cpu_ns "${pids[@]}")" "$(seconds_since "$agents_since")")
  rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$node/status")
  charged=$(charged_kb "${pids[@]}")
  idle_is[pss]=$(each_mib "$(pss_kb "${pids[@]}")" "$idle")
  idle_is[node_rss]=$((rss / 1024))
  idle_is[node]=$(each_mib "$rss" "$idle")
  if [[ -n $charged ]]; then
    idle_is[charged]=$(each_mib "$charged" "$idle")
    idle_is[all]=$(each_mib $((rss + charged)) "$idle")
  else
    idle_is[charged]="not readable" # the agents alone then
    idle_is[all]=$(awk -v a="${idle_is[node]}" -v b="${idle_is[pss]}" 'BEGIN { print a + b }')
  fi
  idle_is[host]=$(each_mib $((available_before - $(available_kb))) "$idle")
}

crun_idle() {
  local pids
  crun_floor remove
  crun_floor many "$floor_idle" 5 >/dev/null
  mapfile -t pids < <(crun_floor pids)
  idle_is[crun]=$(each_mib "$(charged_kb "${pids[@]}")" "$floor_idle")
  crun_floor remove
}

# A container's cgroup, and the process that podman keeps beside it.
podman_idle() {
  [[ $peer == yes ]] || return 0
  local i names inits monitors
  for ((i = 0; i < floor_idle; i++)); do podman_sleeper "idle-$i"; done
  mapfile -t names < <(podman_cmd ps -q)
  mapfile -t inits < <(podman_cmd inspect --format '{{.State.Pid}}' "${names[@]}")
  mapfile -t monitors < <(podman_cmd inspect --format '{{.State.ConmonPid}}' "${names[@]}")
  idle_is[podman]=$(each_mib \
    $(($(charged_kb "${inits[@]}") + $(pss_kb "${monitors[@]}"))) "${#inits[@]}")
}

idle_rows() {
  value_pair MiB "$idle idle: memory of each, its share of the node included" \
    "${idle_is[all]}" "$idle" "crun container that sleeps" "${idle_is[crun]}" \
    "$floor_idle" "<= 2 MiB at 1000"
  if [[ $peer == yes ]]; then
    value_pair MiB "$idle idle: memory of each, its share of the node included" \
      "${idle_is[all]}" "$idle" "podman container that sleeps, with its conmon" \
      "${idle_is[podman]}" "$((floor_idle + 1))"
  fi
  row "of that" "node ${idle_is[node]} MiB (${idle_is[node_rss]} MiB resident), \
cgroup with kernel memory ${idle_is[charged]} MiB; agent's PSS ${idle_is[pss]} MiB"
  row "fall of the machine's available memory, each" "${idle_is[host]} MiB"
  row "cpu over $idle_seconds s with $idle idle" "node ${idle_is[node_cpu]} % of a core, \
all agents together ${idle_is[agent_cpu]} %" "agent: not measurable"
}
