# Sourced by ops/cluster-local: a network namespace for each member and node, and
# one with a bridge that joins them and this host. The bridge is in a namespace
# of its own so that the host's firewall (Docker's, say) is not asked about what
# goes between them.
#
# Namespaces are bind mounts beneath the directory, made by unshare(1) and
# entered by nsenter --net=: `ip netns exec` would mount another /sys, without
# the cgroups that caged-node needs.
# shellcheck shell=bash disable=SC2154

# Networks of 64 addresses out of 198.18.0.0/15, which RFC 2544 has set aside for
# measurements: nobody's route goes there. The host is .1, members .2 to .4, nodes
# from .11 on.
readonly networks=2048 first_member=2 first_node=11

address_of() { # NETWORK HOST-NUMBER
  local n=$((198 * 16777216 + 18 * 65536 + $1 * 64 + $2))
  echo "$((n >> 24)).$((n >> 16 & 255)).$((n >> 8 & 255)).$((n & 255))"
}
mac_of() { # ADDRESS
  local IFS=.
  # shellcheck disable=SC2086
  printf '02:00:%02x:%02x:%02x:%02x\n' $1
}
in_net() { nsenter --net="$dir/$1/net" -- "${@:2}"; }
number_of() { # NAME
  if [[ $1 == m* ]]; then echo $((first_member - 1 + ${1#m})); else echo $((first_node - 1 + ${1#n})); fi
}
has_net() { mountpoint -q "$dir/$1/net"; }
make_net() { # NAME
  install -d -m 755 "$dir/$1"
  : >>"$dir/$1/net"
  unshare --net="$dir/$1/net" true
  in_net "$1" ip link set dev lo up
}

make_network() {
  local name number
  if ! has_net switch; then
    make_net switch
    in_net switch ip link add name switch type bridge stp_state 0 forward_delay 0
    in_net switch ip link set dev switch up
  fi
  has_host_link || join_host
  number=$(<"$dir/host/link")
  number=${number#caged}
  for name in "${members[@]}" $(nodes); do
    has_net "$name" || join "$name" "$(address_of "$number" "$(number_of "$name")")"
  done
  heal_all
}

# The first free network from a place that DIR decides; after a reboot the same
# again, since etcd and certificates have its addresses. The name of the link,
# which only one cluster can have, says that a network is taken.
join_host() {
  local try number
  install -d -m 755 "$dir/host"
  if [[ -s $dir/host/link ]]; then
    number=$(<"$dir/host/link")
    take_network "${number#caged}" || fail "the network $(<"$dir/subnet") of $dir is in use by others;" \
      "for another one run ops/cluster-local down first"
    return
  fi
  number=$(printf %s "$dir" | cksum | cut -d ' ' -f 1)
  for ((try = 0; try < networks; try++)); do
    if take_network $(((number + try) % networks)); then return; fi
  done
  fail "all $networks networks of 198.18.0.0/15 are in use"
}
has_host_link() { # and it is not another cluster's
  [[ -s $dir/host/link ]] &&
    ip -details link show dev "$(<"$dir/host/link")" 2>/dev/null | grep -qxF "    alias cluster-local $dir"
}
take_network() { # NUMBER
  local link=caged$1 address subnet
  address=$(address_of "$1" 1)
  subnet=$(address_of "$1" 0)/26
  [[ -z $(routes_of "$subnet") ]] || return 1
  ip link add name "$link" type veth peer name host netns "$dir/switch/net" 2>/dev/null || return 1
  echo "$link" >"$dir/host/link"
  echo "$address" >"$dir/host/address"
  echo "$subnet" >"$dir/subnet"
  # Called as a condition, where errexit is off.
  ip link set dev "$link" address "$(mac_of "$address")" alias "cluster-local $dir" &&
    ip address add "$address/26" dev "$link" && ip link set dev "$link" up &&
    in_net switch ip link set dev host master switch up ||
    fail "the link $link cannot be set up; what was made goes with ops/cluster-local down"
}
routes_of() { # NETWORK: those that have a part of it, the default one apart
  ip -4 route show root "$1"
  ip -4 route show match "$1" | grep -v '^default' || true
}

join() { # NAME ADDRESS
  make_net "$1"
  in_net switch ip link add name "$1" type veth peer name eth0 netns "$dir/$1/net"
  in_net switch ip link set dev "$1" master switch up
  in_net "$1" ip link set dev eth0 address "$(mac_of "$2")"
  in_net "$1" ip address add "$2/26" dev eth0
  in_net "$1" ip link set dev eth0 up
  echo "$2" >"$dir/$1/address"
}

remove_network() {
  local name
  if has_host_link; then ip link delete dev "$(<"$dir/host/link")"; fi
  for name in "${members[@]}" $(nodes) switch; do
    while has_net "$name"; do umount "$dir/$name/net"; done
  done
}

# --- cuts

# Everybody's neighbours are written down once and for all: with ARP the sender
# would be told after three seconds that nobody is there (EHOSTUNREACH). A cut
# drops packets and says nothing.
#
# A cut of all of a party's traffic is its port of the bridge, which no longer
# passes anything; a cut of two from each other is a neighbour's address that
# nobody has. Both leave the links up and all other traffic alone.
readonly nobody=02:00:00:00:00:00

neighbour() { # OF NAME MAC: OF sends what is for NAME to MAC
  if [[ $1 == host ]]; then
    ip neighbour replace "$(address "$2")" lladdr "$3" nud permanent dev "$(<"$dir/host/link")"
  else
    in_net "$1" ip neighbour replace "$(address "$2")" lladdr "$3" nud permanent dev eth0
  fi
}
parties() { echo "${members[*]} $(nodes | tr '\n' ' ')host"; }
port_state() { # NAME disabled|forwarding
  local -A number=([disabled]=0 [forwarding]=3)
  in_net switch bridge link set dev "$1" state "${number[$2]}"
}

cut_link() { # A [B]
  if [[ -n ${2:-} ]]; then
    neighbour "$1" "$2" "$nobody"
    neighbour "$2" "$1" "$nobody"
  else
    port_state "$1" disabled
  fi
}
heal_link() { # A [B]
  local other
  port_state "$1" forwarding
  for other in ${2:-$(parties)}; do
    [[ $other != "$1" ]] || continue
    neighbour "$1" "$other" "$(mac_of "$(address "$other")")"
    neighbour "$other" "$1" "$(mac_of "$(address "$1")")"
  done
}
# All at once, by one call of ip a namespace.
heal_all() {
  local name other device
  has_net switch || return 0
  for name in $(parties); do
    if [[ $name == host ]]; then device=$(<"$dir/host/link"); else device=eth0; fi
    for other in $(parties); do
      [[ $other == "$name" ]] ||
        echo "neighbour replace $(<"$dir/$other/address") lladdr $(mac_of "$(<"$dir/$other/address")") nud permanent dev $device"
    done >"$dir/$name/neighbours"
    if [[ $name == host ]]; then
      ip -batch "$dir/$name/neighbours"
    else
      in_net "$name" ip -batch "$dir/$name/neighbours"
      port_state "$name" forwarding
    fi
  done
}
link_of() { # NAME: up, cut, or from whom it is cut
  local name found line=''
  if ! has_net "$1" || ! has_net switch; then
    echo - # not made yet, or gone with a reboot
    return
  fi
  if in_net switch bridge link show dev "$1" | grep -q 'state disabled'; then
    echo cut
    return
  fi
  found=$(in_net "$1" ip neighbour show | awk -v mac="$nobody" '$0 ~ mac { print $1 }')
  for name in $(parties); do
    if grep -qxF "$(address "$name")" <<<"$found"; then line+=" $name"; fi
  done
  echo "${line:+cut from}${line:-up}"
}
