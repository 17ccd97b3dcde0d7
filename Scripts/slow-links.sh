#!/bin/bash
# Measures what RALU and the wire format save on slow networks: a coordinator and two workers, each in a network namespace
# of its own behind a link of limited rate, draw the same batch with full sampling, RALU 4x and RALU 7x.
#
#   Scripts/slow-links.sh [RATES] [FORMATS]     defaults "1000 100 20" (Mbit/s) and "f32 bf16 int8"
#
# As root, with iproute2. SIDE (256) is the pictures' side, PICTURES (4) how many a batch has, MODEL the model's folder.
# One line a batch: rate, format, preset, seconds, pictures an hour, bytes over the link between the workers.
set -euo pipefail
cd "$(dirname "$0")/.."
rates=${1:-1000 100 20}
formats=${2:-f32 bf16 int8}
side=${SIDE:-256}
pictures=${PICTURES:-4}
model=${MODEL:-configs/models/demo}
[ "$(id -u)" = 0 ] || { echo "slow-links: network namespaces need root" >&2; exit 1; }
for program in ip tc jq; do
    command -v "$program" >/dev/null || apt-get install -q -y --no-install-recommends iproute2 jq >/dev/null
done
swift build -c release --product abbozzo
abbozzo="$(swift build -c release --show-bin-path)/abbozzo"

tag=abz$$
folder=$(mktemp -d)
pids=()
halt() {
    local pid
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    pids=()
}
clean() {
    halt
    for name in hub w1 w2; do ip netns del "$tag-$name" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap clean EXIT

# A hub with a bridge, and a cable from it to each worker; both ends of a cable send at the rate of that batch.
ip netns add "$tag-hub"
ip -n "$tag-hub" link set lo up
ip -n "$tag-hub" link add br0 type bridge
ip -n "$tag-hub" addr add 10.77.0.1/24 dev br0
ip -n "$tag-hub" link set br0 up
for number in 1 2; do
    ip netns add "$tag-w$number"
    ip link add "$tag-a$number" type veth peer name "$tag-b$number"
    ip link set "$tag-a$number" netns "$tag-hub"
    ip link set "$tag-b$number" netns "$tag-w$number"
    ip -n "$tag-hub" link set "$tag-a$number" master br0 up
    ip -n "$tag-w$number" addr add "10.77.0.1$number/24" dev "$tag-b$number"
    ip -n "$tag-w$number" link set lo up
    ip -n "$tag-w$number" link set "$tag-b$number" up
done
limit() { # Mbit/s
    local number
    for number in 1 2; do
        ip netns exec "$tag-hub" tc qdisc replace dev "$tag-a$number" root tbf rate "$1mbit" burst 64kb latency 200ms
        ip netns exec "$tag-w$number" tc qdisc replace dev "$tag-b$number" root tbf rate "$1mbit" burst 64kb latency 200ms
    done
}

for index in $(seq "$pictures"); do echo "a castle in the mountains at night"; done >"$folder/prompts.txt"
printf '%8s %6s %8s %8s %12s %14s\n' Mbit/s format preset seconds pictures/h link-bytes
for rate in $rates; do
    limit "$rate"
    for format in $formats; do
        mkfifo "$folder/ready"
        ip netns exec "$tag-hub" "$abbozzo" coordinator --control tcp://10.77.0.1:5790 --data tcp://10.77.0.1:5791 \
            --client tcp://10.77.0.1:5792 --events tcp://10.77.0.1:5793 --http-port 0 --insecure-network --workers 2 \
            --wire "$format" --output "$folder/out" --state "$folder/state" >"$folder/ready" 2>"$folder/coordinator.log" &
        pids+=($!)
        read -r _ <"$folder/ready"
        for number in 1 2; do
            ip netns exec "$tag-w$number" "$abbozzo" worker --name "w$number" --coordinator tcp://10.77.0.1:5790 \
                --bind "tcp://10.77.0.1$number:0" --insecure-network --threads 1 --model "$model" \
                >/dev/null 2>"$folder/w$number.log" &
            pids+=($!)
        done
        submit() { # preset, flags…
            ip netns exec "$tag-hub" "$abbozzo" submit "$folder/prompts.txt" --coordinator tcp://10.77.0.1:5792 \
                --width "$side" --height "$side" --summary --json "${@:2}" >"$folder/$1.json" 2>"$folder/$1.log" ||
                { cat "$folder/$1.log" >&2; exit 1; }
        }
        # The first batch waits for the weights; it is not counted.
        submit warm --sampler euler --steps 1
        for preset in full flux-4x flux-7x; do
            case $preset in
            full) flags=(--sampler euler --steps 28) ;;
            *) flags=(--preset "$preset") ;;
            esac
            began=$(date +%s%N)
            submit "$preset" "${flags[@]}"
            ended=$(date +%s%N)
            seconds=$(awk "BEGIN { print ($ended - $began) / 1e9 }")
            bytes=$(jq '[.summary.links[].counted] | add' "$folder/$preset.json")
            printf '%8s %6s %8s %8.1f %12.0f %14s\n' "$rate" "$format" "$preset" "$seconds" \
                "$(awk "BEGIN { print $pictures / $seconds * 3600 }")" "$bytes"
        done
        halt
        rm -rf "$folder/ready" "$folder/out" "$folder/state"
    done
done
