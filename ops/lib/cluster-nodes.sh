# Sourced by ops/cluster-local: the nodes, and the key of whoever uses them.
# shellcheck shell=bash disable=SC2154

socket_of() { echo "ipc://$dir/$1/run/node.sock"; }
caged_at() { # NODE ARGS...: over its own socket, which no cut is in the way of
  env -u CAGED_CONTEXT -u CAGED_SERVER_KEY -u CAGED_KEY \
    CAGED_ENDPOINT="$(socket_of "$1")" "$bin/caged" "${@:2}"
}
node_answers() { timeout 6 env CAGED_ENDPOINT="$(socket_of "$1")" "$bin/caged" node status >/dev/null 2>&1; }

configure_node() { # NODE
  local address tls=$dir/tls number=${1#n} urls='' i zones=abcdefghijklmnop
  address=$(address "$1")
  # Each begins with another member.
  for ((i = 0; i < 3; i++)); do
    urls+="${urls:+,}$(address "${members[$(((number - 1 + i) % 3))]}"):2379"
  done
  cat >"$dir/$1/node.yaml" <<TEXT
node-name: $1
labels: zone=${zones:number-1:1}
data-dir: $dir/$1/data
run-dir: $dir/$1/run
listen: tcp://$address:7400
metrics-address: $address:9464
gateway-address: $address:7480
gateway-cert: $tls/gateway.pem
gateway-key: $tls/gateway.key
store: etcds://$urls/$prefix
store-ca: $tls/ca.pem
store-cert: $tls/etcd.pem
store-key: $tls/etcd.key
store-user: caged
store-password-file: $dir/etcd-password
TEXT
}

start_nodes() { # NODE...
  local name
  [[ -n ${bin:-} ]] || find_bin
  mapfile -t node_flags < <(sed '/^$/d' "$dir/flags")
  for name; do
    alive "$name" && continue
    configure_node "$name"
    launch "$name" "$bin/caged-node" --config "$dir/$name/node.yaml" "${node_flags[@]}"
  done
  all_answer 20 node_answers "$@"
}

# A key that may do everything, and contexts: cluster is all nodes, n1 is n1. For
# root, or for whoever became root by sudo.
make_client() {
  local home=$dir/client name ends=() keys=() file
  install -d -m 700 "$home"
  file=$home/caged/keys/admin
  own() { env -u CAGED_ENDPOINT -u CAGED_CONTEXT -u CAGED_KEY -u CAGED_SERVER_KEY XDG_CONFIG_HOME="$home" "$bin/caged" "$@" >/dev/null 2>>"$dir/client-log"; }
  if [[ ! -e $dir/admin-key ]]; then
    own key create admin --force
    caged_at n1 key authorize "$file.pub" --role admin >/dev/null 2>>"$dir/client-log"
    : >"$dir/admin-key"
  fi
  for name in $(nodes); do
    ends+=("tcp://$(address "$name"):7400")
    keys+=("$(caged_at "$name" node status --format json | sed -n 's/.*"public_key": *"\([^"]*\)".*/\1/p')")
    own context add "$name" --force --endpoint "${ends[-1]}" --server-key "${keys[-1]}" --key "$file"
  done
  own context add cluster --force --key "$file" \
    --endpoint "$(IFS=,; echo "${ends[*]}")" --server-key "$(IFS=,; echo "${keys[*]}")"
  own context use cluster
  if [[ -n ${SUDO_UID:-} ]]; then chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$home"; fi
}

# clear_node NODE: its sandboxes are destroyed and its daemon has ended. One that
# is dead, or does not manage, is started for that on a store of its own: it finds
# no placement there and frees what its journal has.
clear_node() {
  local name=$1 own=$dir/$1/data
  if alive "$name"; then
    kill -CONT "$(<"$dir/$name/pid")" 2>/dev/null || true
    if timeout 60 env CAGED_ENDPOINT="$(socket_of "$name")" "$bin/caged" node shutdown --destroy-all \
      >/dev/null 2>>"$dir/$name/log" && eventually 15 dead "$name"; then
      return
    fi
    end_now "$name"
  fi
  [[ -e $own/node-id ]] || return 0
  rm -f "$own"/store.db*
  launch "$name" "$bin/caged-node" --data-dir "$own" --run-dir "$dir/$name/run" \
    --metrics-address 127.0.0.1:0 --gateway-address off
  if ! eventually 20 node_answers "$name" ||
    ! caged_at "$name" node shutdown --destroy-all >/dev/null || ! eventually 15 dead "$name"; then
    say "$name cannot be cleared; see $dir/$name/log"
    return 1
  fi
}
