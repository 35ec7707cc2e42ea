#!/bin/bash
# Proves caged-mcp-server with other people's clients. Run by CTest, label
# conformance; by hand:
#
#   CAGED_BIN_DIR=build/dev/bin tests/conformance/run.sh CHECK [SERVER]
#     CHECK   scenarios                the official conformance suite, over HTTP
#             gateway                  the same into a sandbox, through the
#                                      gateway of a node (needs root)
#             inspector                the official inspector, over stdio
#             v1-stdio v1-ws v1-http   a coding task by the SDK's clients: v1,
#             v2-stdio v2-ws v2-http   v2 as an old client (initialize) and
#             new-stdio new-ws new-http   v2 speaking 2026-07-28
#     SERVER  the program; default: caged-mcp-server, and for scenarios
#             caged-mcp-fixtures, which is the same with the tools that the
#             suite names
#
# Prints a line for each thing shown, "SKIPPED: reason" where it cannot run.
# Leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
installed=$root/build/conformance
check=${1:-}
case "$check" in
  scenarios | gateway) script=scenarios.mjs program=caged-mcp-fixtures ;;
  inspector) script=inspector.mjs program=caged-mcp-server ;;
  v1-stdio | v1-ws | v1-http | v2-stdio | v2-ws | v2-http | new-stdio | new-ws | new-http)
    script=coding_task.mjs program=caged-mcp-server
    ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
if [[ -n ${2:-} ]]; then
  server=$2
else
  server=${CAGED_BIN_DIR:?set it to the folder of the programs, or name the server}/$program
fi
server=$(realpath -m "$server")
if [[ ! -x $server ]]; then
  echo "conformance: there is no program $server: build it, or name another" >&2
  exit 1
fi

if [[ $check == gateway && $EUID -ne 0 ]]; then
  echo "SKIPPED: sandboxes need root"
  exit 0
fi
wanted=$(cat "$here/package.json" "$here/package-lock.json" | sha256sum)
if [[ ! -f $installed/.installed || $(<"$installed/.installed") != "$wanted" ]]; then
  echo "SKIPPED: Node.js and the MCP clients of tests/conformance/package-lock.json" \
    "are not in build/conformance; run: ops/npm-deps"
  exit 0
fi

# Node.js looks for packages from a script's folder upwards: run copies of them.
work=$(mktemp -d "$installed/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -r "$here"/*.mjs "$here/lib" "$work/"
mkdir "$work/tmp" "$work/home"
# Seconds as a rule, a minute for the inspector, a process for each call. The
# whole group ends.
HOME=$work/home TMPDIR=$work/tmp timeout --kill-after=5 400 \
  "$installed/node_modules/.bin/node" "$work/$script" "$server" "$check"
