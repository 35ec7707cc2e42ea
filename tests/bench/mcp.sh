#!/bin/bash
# What caged-mcp-server costs, beside npm's filesystem server, a floor (a program
# with a fixed reply) and any other server, all measured in the same run, in
# rounds in which they take turns. Called by ops/bench, which says what the
# settings are; the table goes to stdout and to $CAGED_BENCH_OUT/mcp.md, every
# round's figures to $CAGED_BENCH_OUT/mcp-samples.tsv.
#
# builds: caged-mcp-server bench_mcp bench_mcp_floor
#
# "To beat" is what the original server would need here: its figure in the
# project's baselines, times what a yardstick takes in this run over what it
# took in the baselines. The yardstick is npm's server in the same row; for the
# start the floor; where npm has no such tool, the same command as a plain
# process.
set -Eeuo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${CAGED_BIN_DIR:?set it to the folder of the programs}
out=${CAGED_BENCH_OUT:?set it to the folder for the table}
scale=${CAGED_BENCH_SCALE:-normal}   # quick, normal, full
peer_mcp=${CAGED_BENCH_PEER_MCP:-}   # a server with the same command line
npm=$root/build/bench/npm/node_modules

mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/tmp}/cb.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'echo "mcp: ${BASH_SOURCE[0]##*/}:$LINENO failed: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM
say() { echo "-- $*" >&2; }

# lines N: like source code: quotes, backslashes, tabs.
lines() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++)
  printf "\tif (name == \"field %d\") return \x27\\n\x27; // and so on\n", i }'; }

make_files() {
  local i
  mkdir -p "$work/files/many"
  lines 30000 >"$work/lines"
  head -c 1024 "$work/lines" >"$work/files/1k.txt"
  head -c 1048576 "$work/lines" >"$work/files/1m.txt"
  for ((i = 0; i < 1000; i++)); do printf '%d\n' "$i" >"$work/files/many/file-$i.txt"; done
}
make_tree() { # 200 folders, 20,000 files, 20 of them are looked for
  local i j folder
  for ((i = 0; i < 200; i++)); do
    folder=$work/tree/part-$((i / 20))/sub-$((i % 20))
    mkdir -p "$folder"
    for ((j = 0; j < 100; j++)); do printf 'text\n' >"$folder/file-$j.txt"; done
  done
  for ((i = 0; i < 20; i++)); do
    printf -v j '%02d' "$i"
    folder=$work/tree/part-$((i % 10))/sub-$i
    mv "$folder/file-50.txt" "$folder/needle-$j.txt"
  done
}
make_repo() { # 5,000 files, 12 commits, 20 changed, 10 new
  local i j
  mkdir -p "$work/repo"
  (
    cd "$work/repo"
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
    git init -q -b main
    git config user.name Ada
    git config user.email ada@example.org
    for ((i = 0; i < 50; i++)); do
      mkdir -p "src/part-$i"
      for ((j = 0; j < 100; j++)); do
        printf 'file %d of part %d\na line\nanother\n' "$j" "$i" >"src/part-$i/file-$j.c"
      done
    done
    for ((i = 0; i < 20; i++)); do printf 'a line\n' >"changed-$i.txt"; done
    # Older than the index: nobody has to read a file to know that it is clean.
    find . -path ./.git -prune -o -type f -exec touch -d '1 hour ago' {} +
    git add .
    git commit -q -m "Everything"
    for ((i = 1; i < 12; i++)); do git commit -q --allow-empty -m "Change $i"; done
    for ((i = 0; i < 20; i++)); do printf 'a changed line\n' >>"changed-$i.txt"; done
    for ((i = 0; i < 10; i++)); do printf 'x\n' >"new-$i.txt"; done
  )
}

busy() { # of all CPUs in a second in which this run does nothing, %
  local before after
  before=$(awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print all - $5 - $6, all }' /proc/stat)
  sleep 1
  after=$(awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print all - $5 - $6, all }' /proc/stat)
  awk -v b="$before" -v a="$after" 'BEGIN { split(b, x); split(a, y)
    printf "%d", 100 * (y[1] - x[1]) / (y[2] - x[2]) }'
}
fact() { printf -- '- %s: %s\n' "$1" "$2"; }

busy_before=$(busy)
say "files, 20,000 of them and a repository of 5,000"
make_files
make_tree
make_repo

settings=(--server "$bin/caged-mcp-server" --floor "$bin/bench_mcp_floor"
  --files "$work/files" --tree "$work/tree" --repo "$work/repo"
  --log "$work/log" --samples "$out/mcp-samples.tsv")
[[ $scale != quick ]] || settings+=(--quick --rounds 1)
[[ $scale != full ]] || settings+=(--rounds 9)
npm_says="not installed: most rows have no figure to beat"
if [[ -x $npm/.bin/node ]]; then
  settings+=(--npm "$npm/.bin/node" "$npm/@modelcontextprotocol/server-filesystem/dist/index.js")
  npm_says="server-filesystem $(sed -n 's/^ *"version": "\(.*\)".*/\1/p' \
    "$npm/@modelcontextprotocol/server-filesystem/package.json") on node $("$npm/.bin/node" --version)"
fi
[[ -z $peer_mcp ]] || settings+=(--peer "$peer_mcp")

code=0
"$bin/bench_mcp" "${settings[@]}" >"$work/table" || code=$?
if [[ $code -ne 0 && -s $work/log ]]; then
  echo "mcp: the servers' logs end with:" >&2
  tail -n 20 "$work/log" >&2
fi
{
  cat "$work/table"
  cat <<'TEXT'

Each figure is the median of the rounds. Time from sending a request to its answer; CPU by the process clock of
the server (all its threads, nanoseconds) and, for children, by their clocks or, once they ended, ticks of 10 ms.
Rows under 100 us are judged by CPU, with driver and server on one CPU as they were when the original was measured (its
ping took 11 us): on two, a wake-up decides. Memory is VmHWM of the server and of what runs below it, pages of one program
counted once, 10^6 bytes. pipeN: N requests in flight; wsN: N connections, a request in flight on each.
"To beat" is the original's figure in the baselines times (yardstick now / yardstick then); search and what is measured
during an exec: five times better than that; memory of git: the original's and that of the git process it runs.
Yardstick of start is the floor, a start of a process; of others npm, or, where npm has no such tool, the command itself.

TEXT
  fact "machine" "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(uname -sr)"
  fact "cpu used by others, before and after" "$busy_before %; $(busy) %"
  fact "npm" "$npm_says"
  [[ -z $peer_mcp ]] || fact "peer" "$peer_mcp"
  fact "build" "commit $(git -C "$here" describe --always --dirty 2>/dev/null || echo unknown), scale $scale, $(date -u +%Y-%m-%dT%H:%MZ)"
  if ((busy_before > 10)); then
    printf '\n**The machine was busy with something else: trust no figure here.**\n'
  fi
} | tee "$out/mcp.md"
exit "$code"
