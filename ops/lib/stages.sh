# Sourced by ops/test and ops/check: timed stages, their logs, and the summary.
# Needs $root. Sets $failed (names of failed stages) and $report (one line each).
# shellcheck shell=bash

failed=()
report=()
passed_cases=0 failed_cases=0 skipped_cases=0
keep_going=${keep_going:-no}
logs=${logs:-$(mktemp -d "${TMPDIR:-/tmp}/caged-logs.XXXXXX")}

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

# stage NAME COMMAND...: runs the command with its output in a log, prints one
# line with the time it took and, when it failed, the log. The first failure
# ends the run, unless -k was given.
stage() {
  local name=$1 log start took
  shift
  log=$logs/${name//[^a-z0-9]/-}.log
  start=$(now)
  printf -- '-- %-34s ' "$name"
  if "$@" >"$log" 2>&1 </dev/null; then
    took=$(since "$start")
    printf 'ok     %8s s\n' "$took"
    report+=("$(printf '%-36s ok     %8s s' "$name" "$took")")
    grep -h '^caged: ' "$log" || true # what has to be said aloud, e.g. skips
  else
    took=$(since "$start")
    printf 'FAILED %8s s\n' "$took"
    report+=("$(printf '%-36s FAILED %8s s' "$name" "$took")")
    failed+=("$name")
    # Whole when it fits; a compiler says what is wrong at the end or the start.
    if [[ $(wc -l <"$log") -le 600 ]]; then
      cat "$log"
    else
      head -n 150 "$log"
      echo "[... $(wc -l <"$log") lines in all, what failed in them: ...]"
      failed_tests "$log"
      echo "[... the end: ...]"
      tail -n 300 "$log"
    fi
    count_cases "$log"
    [[ $keep_going == yes ]] || finish
    return 0
  fi
  count_cases "$log"
}

# What ctest printed of each test that failed, wherever it stands; 300 lines of
# it. (Not by head: with pipefail its end would be ours.)
failed_tests() {
  awk '/^ *[0-9]+\/[0-9]+ Test +#/ { on = /\*\*\*(Failed|Timeout|Exception|Not Run)|Subprocess aborted/ }
    /^ +Start +[0-9]+: / { on = 0 }
    on && n++ < 300' "$1"
}

# Adds up what ctest said in a stage's log.
count_cases() {
  local bad all skipped
  read -r bad all < <(sed -n \
    's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' \
    "$1" | awk '{ b += $1; a += $2 } END { print b + 0, a + 0 }')
  # `|| true`: no skipped test is no failure of grep's.
  skipped=$(grep -cE '\*\*\*Skipped' "$1" || true)
  failed_cases=$((failed_cases + bad))
  skipped_cases=$((skipped_cases + skipped))
  passed_cases=$((passed_cases + all - bad - skipped))
}

# finish: prints the summary and leaves; the last line is one that counts tests.
finish() {
  local line
  echo
  for line in "${report[@]}"; do echo "   $line"; done
  printf '   %-36s        %8s s\n' "in all" "$(since "$begun")"
  if [[ ${#failed[@]} -gt 0 ]]; then
    echo "caged: FAILED: ${failed[*]}"
    # A stage can fail without a test having run: that is no zero either.
    [[ $failed_cases -gt 0 ]] || failed_cases=${#failed[@]}
  fi
  if [[ $skipped_cases -gt 0 ]]; then
    echo "$passed_cases passed, $failed_cases failed, $skipped_cases skipped"
  else
    echo "$passed_cases passed, $failed_cases failed"
  fi
  [[ ${#failed[@]} -eq 0 ]]
  exit
}
