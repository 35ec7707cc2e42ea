# Sourced by one_host.sh: medians and tails of samples, and the table.
# Reads $samples (a folder, a file of numbers for each name), $out, $bin.
# shellcheck shell=bash disable=SC2034,SC2154,SC2119,SC2120 # one_host.sh's variables

# stats NAME: "p50 p99 n". A p99 needs 100 samples; with fewer the worst of them
# is told as "max X".
stats() {
  [[ -s $samples/$1 ]] || {
    echo "one_host: there are no samples of $1" >&2
    return 1
  }
  sort -g "$samples/$1" | awk '
    function show(v) { return sprintf(v < 10 ? "%.2f" : v < 1000 ? "%.1f" : "%.0f", v) }
    { v[NR] = $1 }
    END {
      median = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
      rank = int(NR * 0.99); if (rank < NR * 0.99) rank++
      print show(median) "|" (NR >= 100 ? show(v[rank]) : NR > 1 ? "max " show(v[NR]) : "") "|" NR
    }'
}

# For a rate the bad tail is the low one.
stats_of_rate() {
  stats "$1" | awk -F '|' -v low="$(sort -g "$samples/$1" | head -n 1)" \
    '{ printf "%s|%s|%s\n", $1, ($3 > 1 ? sprintf("min %.1f", low) : ""), $3 }'
}

table_head() {
  cat <<'TEXT'
| measure | unit | p50 | p99 | n | beside it | p50 | n | ratio | promised |
| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |
TEXT
}

# pair UNIT MEASURE SAMPLES FLOOR ITS-SAMPLES [PROMISE]
pair() {
  local unit=$1 of=stats own other p50 tail n floor floor_n
  [[ $unit == MB/s ]] && of=stats_of_rate
  own=$("$of" "$3")
  other=$("$of" "$5")
  IFS='|' read -r p50 tail n <<<"$own"
  IFS='|' read -r floor _ floor_n <<<"$other"
  printf '| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$2" "$unit" \
    "$p50" "$tail" "$n" "$4" "$floor" "$floor_n" "$(ratio "$p50" "$floor")" "${6:-}"
}

# peer_pair: as pair; a line that says why where podman cannot be measured.
peer_pair() {
  if [[ $peer == yes ]]; then
    pair "$@"
  else
    row "$2, beside ${4%%,*}" "$peer_reason" "${6:-}"
  fi
}

# value_pair UNIT MEASURE VALUE N FLOOR ITS-VALUE ITS-N [PROMISE]: no samples, a
# mean; "-" where there is none.
value_pair() {
  printf '| %s | %s | %s | | %s | %s | %s | %s | %s | %s |\n' "$2" "$1" "$3" "$4" \
    "$5" "$6" "$7" "$(ratio "$3" "$6")" "${8:-}"
}

row() { # MEASURE TEXT [PROMISE]
  printf '| %s | | %s | | | | | | | %s |\n' "$1" "$2" "${3:-}"
}

ratio() {
  awk -v a="$1" -v b="$2" 'BEGIN {
    if (a + 0 > 0 && b + 0 > 0) printf "%.2f", a / b; else printf "-" }'
}

# Time of all cpus that was not idle, and all of it, in ticks; proc(5), stat.
cpu_ticks() {
  awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print all - $5 - $6, all }' /proc/stat
}

# machine_facts before|after: the load, and how busy the machine is in a second
# in which this run does nothing.
machine_facts() {
  local busy_from all_from busy_to all_to
  read -r busy_from all_from < <(cpu_ticks)
  sleep 1
  read -r busy_to all_to < <(cpu_ticks)
  declare -g "busy_$1=$((100 * (busy_to - busy_from) / (all_to - all_from)))"
  declare -g "load_$1=$(cut -d' ' -f1-3 /proc/loadavg)"
}

fact() { printf -- '- %s: %s\n' "$1" "$2"; }
table_foot() {
  local cores
  cores=$(nproc)
  cat <<'TEXT'

p50 and p99 are of single operations; "max" stands where there are too few for a p99. Ratio: caged's p50 over
that of what stands beside it; in ms and MiB less is better, in MB/s more.

TEXT
  fact "machine" "$cores cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
  fact "kernel" "$(uname -sr), cgroups ${node_cgroups:-unknown}"
  fact "load average, before and after" "$load_before; $load_after"
  fact "cpu used by others, before and after" "$busy_before %; $busy_after %"
  fact "disk" "$(stat -f -c %T "$work")"
  fact "beside caged" "$(crun --version | head -n 1); podman: $(peer_says)"
  fact "build" "$("$bin/caged" version 2>/dev/null), commit $(git -C "$here" describe --always --dirty 2>/dev/null || echo unknown), scale $scale, $(date -u +%Y-%m-%dT%H:%MZ)"
  if ((busy_before > 10 || busy_after > 10)); then
    printf '\n**The machine was busy with something else: trust no figure here.**\n'
  fi
}
