# Sourced by ops/cluster-local: three members of etcd with TLS among each other
# and to their clients, and a user with a password, as caged-node demands of an
# etcd that is not on loopback.
# shellcheck shell=bash disable=SC2154

prefix=caged # of the fleet's records in etcd

# An authority of the cluster's own; a certificate for etcd's members and clients,
# one for the gateways. Without a common name: etcd's JSON gateway refuses clients
# that have one where there are users. For all addresses that a node may get.
make_certificates() {
  local tls=$dir/tls
  [[ ! -e $tls/done ]] || return 0
  install -d -m 755 "$tls"
  if ! (umask 077 && certify) 2>"$tls/log"; then
    fail "openssl failed: $(tail -n 1 "$tls/log"); all of it is in $tls/log"
  fi
  chmod 644 "$tls/ca.pem"
  : >"$tls/done"
}
certify() {
  local tls=$dir/tls name number host names=''
  local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  number=$(<"$dir/host/link")
  for ((host = first_member; host < first_node + 16; host++)); do
    names+="IP:$(address_of "${number#caged}" "$host"),"
  done
  openssl req -x509 "${key[@]}" -days 3650 -subj "/CN=cluster-local authority" \
    -keyout "$tls/ca.key" -out "$tls/ca.pem" || return
  for name in etcd gateway; do
    openssl req "${key[@]}" -subj /O=caged -keyout "$tls/$name.key" -out "$tls/$name.csr" &&
      openssl x509 -req -days 3650 -in "$tls/$name.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" \
        -CAcreateserial -extfile <(echo "subjectAltName=${names}IP:127.0.0.1") \
        -out "$tls/$name.pem" || return
  done
  openssl rand -hex 24 >"$dir/etcd-password" && openssl rand -hex 24 >"$dir/etcd-root-password"
}

client_url() { echo "https://$(address "$1"):2379"; }
peer_url() { echo "https://$(address "$1"):2380"; }

start_member() { # M
  local tls=$dir/tls name all='' fast=()
  ! alive "$1" || return 0
  for name in "${members[@]}"; do all+="${all:+,}$name=$(peer_url "$name")"; done
  # What it loses is what a machine loses that crashes, with all of its nodes.
  if grep -q -- --unsafe-no-fsync <<<"$(etcd --help 2>&1)"; then fast=(--unsafe-no-fsync); fi
  launch "$1" etcd --name "$1" --data-dir "$dir/$1/data" \
    --listen-client-urls "$(client_url "$1")" --advertise-client-urls "$(client_url "$1")" \
    --listen-peer-urls "$(peer_url "$1")" --initial-advertise-peer-urls "$(peer_url "$1")" \
    --initial-cluster "$all" --initial-cluster-state new --initial-cluster-token "$dir" \
    --client-cert-auth --trusted-ca-file "$tls/ca.pem" \
    --cert-file "$tls/etcd.pem" --key-file "$tls/etcd.key" \
    --peer-client-cert-auth --peer-trusted-ca-file "$tls/ca.pem" \
    --peer-cert-file "$tls/etcd.pem" --peer-key-file "$tls/etcd.key" \
    --logger zap --log-outputs stderr --log-level warn "${fast[@]}"
}

start_etcd() {
  local name
  for name in "${members[@]}"; do start_member "$name"; done
  all_answer 30 member_answers "${members[@]}"
  [[ -e $dir/etcd-users ]] || make_users
}

# curl as etcd wants it; what is secret comes by file or pipe, never by argv.
etcd_curl() {
  curl --silent --show-error --fail --noproxy '*' --max-time 3 --cacert "$dir/tls/ca.pem" \
    --cert "$dir/tls/etcd.pem" --key "$dir/tls/etcd.key" "$@"
}
# It has a leader and reads by it.
member_answers() {
  etcd_curl "$(client_url "$1")/health" 2>/dev/null | grep -q '"health":"true"'
}
etcd_call() { # PATH JSON: at the first member that takes it
  local name
  for name in "${members[@]}"; do
    if etcd_curl --data @- "$(client_url "$name")/v3/$1" <<<"$2" 2>/dev/null; then return; fi
  done
  return 1
}
base64_of() { printf %s "$1" | base64 -w 0; }

# root is for whoever looks into etcd by hand; the nodes' user has their prefix.
make_users() {
  local from to step refused=''
  from=$(base64_of "/$prefix/")
  to=$(base64_of "/${prefix}0") # the byte after /
  while IFS=' ' read -r step what; do
    # One that is there already is left from an up that was interrupted: what
    # counts is whether the nodes' user is let in at the end.
    etcd_call "auth/$step" "$what" >/dev/null || refused+=" $step"
  done <<TEXT
user/add {"name":"root","password":"$(<"$dir/etcd-root-password")"}
user/grant {"user":"root","role":"root"}
role/add {"name":"node"}
role/grant {"name":"node","perm":{"permType":"READWRITE","key":"$from","range_end":"$to"}}
user/add {"name":"caged","password":"$(<"$dir/etcd-password")"}
user/grant {"user":"caged","role":"node"}
enable {}
TEXT
  etcd_token >/dev/null || fail "etcd has no users after they were made (it refused:${refused:- nothing}); see $dir/m1/log"
  : >"$dir/etcd-users"
}
etcd_token() {
  etcd_call auth/authenticate "{\"name\":\"caged\",\"password\":\"$(<"$dir/etcd-password")\"}" |
    sed -n 's/.*"token":"\([^"]*\)".*/\1/p' | grep .
}

# As many nodes as there should be have a lease in etcd.
all_live() {
  local token name got
  token=$(etcd_token) || return 1
  for name in "${members[@]}"; do
    got=$(etcd_curl --config <(echo "header = \"Authorization: $token\"") --data @- \
      "$(client_url "$name")/v3/kv/range" 2>/dev/null <<<"{\"keys_only\":true,\"key\":\"$(
        base64_of "/$prefix/data/nodes/"
      )\",\"range_end\":\"$(base64_of "/$prefix/data/nodes0")\"}") || continue
    [[ $(grep -o '"key":"[^"]*"' <<<"$got" | cut -d '"' -f 4 |
      while read -r key; do base64 -d <<<"$key"; echo; done | grep -c '/live$') -eq $(<"$dir/nodes") ]]
    return
  done
  return 1
}
