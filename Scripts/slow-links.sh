#!/bin/bash
# Measures what RALU and the wire format save on slow networks: a coordinator and two workers, each in a network namespace
# of its own behind a link of limited rate, draw the same batch with full sampling, RALU 4x and RALU 7x.
#
#   Scripts/slow-links.sh [RATES] [FORMATS]     defaults "1000 100 20" (Mbit/s) and "f32 bf16 int8 auto"
#
# As root, with iproute2. ABBOZZO is the executable (default: a release build), SIDE (256) the pictures' side, PICTURES
# (4) how many a batch has, MODEL the model's folder.
# One line a batch: rate, format, preset, seconds, pictures an hour, bytes over the link between the workers.
set -euo pipefail
cd "$(dirname "$0")/.."
rates=${1:-1000 100 20}
formats=${2:-f32 bf16 int8 auto}
side=${SIDE:-256}
pictures=${PICTURES:-4}
model=${MODEL:-configs/models/demo}
source Scripts/namespaces.sh
network_check jq
abbozzo=${ABBOZZO:-}
if [ -z "$abbozzo" ]; then
    swift build -c release --product abbozzo
    abbozzo="$(swift build -c release --show-bin-path)/abbozzo"
fi

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
    network_remove
    rm -rf "$folder"
}
trap clean EXIT

network_make 2

for index in $(seq "$pictures"); do echo "a castle in the mountains at night"; done >"$folder/prompts.txt"
printf '%8s %6s %8s %8s %12s %14s\n' Mbit/s format preset seconds pictures/h link-bytes
for rate in $rates; do
    network_limit "$rate"
    for format in $formats; do
        mkfifo "$folder/ready"
        ip netns exec "$hub" "$abbozzo" coordinator --control tcp://10.77.0.1:5790 --data tcp://10.77.0.1:5791 \
            --client tcp://10.77.0.1:5792 --events tcp://10.77.0.1:5793 --http-port 0 --insecure-network --workers 2 \
            --wire "$format" --output "$folder/out" --state "$folder/state" >"$folder/ready" 2>"$folder/coordinator.log" &
        pids+=($!)
        read -r _ <"$folder/ready"
        for number in 1 2; do
            ip netns exec "$machine$number" "$abbozzo" worker --name "w$number" --coordinator tcp://10.77.0.1:5790 \
                --bind "tcp://10.77.0.1$number:0" --insecure-network --threads 1 --model "$model" \
                >/dev/null 2>"$folder/w$number.log" &
            pids+=($!)
        done
        submit() { # preset, flags…
            ip netns exec "$hub" "$abbozzo" submit "$folder/prompts.txt" --coordinator tcp://10.77.0.1:5792 \
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
