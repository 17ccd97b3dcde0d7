# Sourced by scripts that need a network of their own: a hub for the coordinator, 10.77.0.1, and workers 1 to 9 behind a
# cable each, 10.77.0.11 to 10.77.0.19, in network namespaces of this machine. As root, with iproute2.
#
# The caller's EXIT trap calls network_remove.

# Decimal points, whatever the language of this machine.
export LC_ALL=C

network=abz$$
network_workers=0

# Fetches what is missing where there is apt-get; what is missing then, it says.
network_check() { # programs…
    [ "$(id -u)" = 0 ] || { echo "$(basename "$0"): network namespaces need root" >&2; exit 1; }
    network_missing "$@"
    [ -n "$missing" ] || return 0
    if command -v apt-get >/dev/null; then
        apt-get install -q -y --no-install-recommends iproute2 jq >/dev/null || true
        network_missing "$@"
    fi
    [ -z "$missing" ] ||
        { echo "$(basename "$0"): missing:$missing; install iproute2, which has ip and tc, and jq" >&2; exit 1; }
}

# Leaves in `missing` what is not on the PATH.
network_missing() { # programs…
    local program
    missing=""
    for program in ip tc "$@"; do command -v "$program" >/dev/null || missing+=" $program"; done
}

network_make() { # workers
    network_workers=$1
    local number
    ip netns add "$hub"
    ip -n "$hub" link set lo up
    ip -n "$hub" link add br0 type bridge
    ip -n "$hub" addr add 10.77.0.1/24 dev br0
    ip -n "$hub" link set br0 up
    for number in $(seq "$network_workers"); do
        ip netns add "$machine$number"
        ip link add "$network-a$number" type veth peer name "$network-b$number"
        ip link set "$network-a$number" netns "$hub"
        ip link set "$network-b$number" netns "$machine$number"
        ip -n "$hub" link set "$network-a$number" master br0 up
        ip -n "$machine$number" addr add "10.77.0.1$number/24" dev "$network-b$number"
        ip -n "$machine$number" link set lo up
        ip -n "$machine$number" link set "$network-b$number" up
    done
}

network_remove() {
    local number
    for number in $(seq "$network_workers"); do ip netns del "$machine$number" 2>/dev/null || true; done
    ip netns del "$hub" 2>/dev/null || true
}

# Run something in the hub or on a worker's machine with: ip netns exec "$hub" COMMAND, ip netns exec "$machine$number"
# COMMAND. Not functions: `$!` is then the command's own process.
hub=$network-hub
machine=$network-w

# Both ends of every cable send at so many Mbit/s.
network_limit() { # Mbit/s
    local number
    for number in $(seq "$network_workers"); do
        ip netns exec "$hub" tc qdisc replace dev "$network-a$number" root tbf rate "$1mbit" burst 64kb latency 200ms
        ip netns exec "$machine$number" tc qdisc replace dev "$network-b$number" root tbf rate "$1mbit" burst 64kb latency 200ms
    done
}

# Unplugs a worker's cable at the hub, or plugs it in again: nobody is told, packets are lost.
network_cable() { # number, up|down
    ip -n "$hub" link set "$network-a$1" "$2"
}

# Lets two workers hear the hub but not each other, or each other again.
network_part() { # number, number, on|off
    ip -n "$hub" link set "$network-a$1" type bridge_slave isolated "$3"
    ip -n "$hub" link set "$network-a$2" type bridge_slave isolated "$3"
}
