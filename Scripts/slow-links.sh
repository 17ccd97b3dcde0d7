#!/bin/bash
# Measures what RALU and the wire format save on slow networks: a coordinator and two workers, each in a network namespace
# of its own behind a link of limited rate, draw the same batch with full sampling, RALU 4x and RALU 7x.
#
#   Scripts/slow-links.sh [RATES] [FORMATS]     defaults "1000 100 20" (Mbit/s) and "f32 bf16 int8 auto"
#
# As root, with iproute2. ABBOZZO is the executable (default: a release build), SIDE (256) the pictures' side, PICTURES
# (4) how many a batch has, MODEL the model's folder.
# One line a batch: rate, format, preset, seconds, pictures an hour, bytes over the link between the workers.
#
# With KILL=1 or KILL=2 each batch is drawn twice, and while it is drawn again that worker is killed with SIGKILL at half of
# a picture's steps and started anew: the PNG files must be those of the undisturbed batch, in every format. Short formats
# make pictures depend on the cut, so each worker has roles that the other one lacks: the work waits for it to come back.
# One line a batch: rate, format asked for, format taken, preset, seconds undisturbed and with the loss, whether the bytes
# are equal. Exits with 1 when some are not.
set -euo pipefail
# What the caller names is where the caller is.
[[ ${ABBOZZO:-} != */* ]] || ABBOZZO=$(realpath -m -- "$ABBOZZO")
[ -z "${MODEL:-}" ] || MODEL=$(realpath -m -- "$MODEL")
cd "$(dirname "$0")/.."
rates=${1:-1000 100 20}
formats=${2:-f32 bf16 int8 auto}
side=${SIDE:-256}
pictures=${PICTURES:-4}
model=${MODEL:-configs/models/demo}
kill=${KILL:-}
case $kill in '' | 1 | 2) ;; *) echo "KILL is $kill, but must be 1 or 2, the worker to kill" >&2; exit 1 ;; esac
source Scripts/namespaces.sh
network_check jq
abbozzo=${ABBOZZO:-}
if [ -z "$abbozzo" ]; then
    swift build -c release --product abbozzo
    abbozzo="$(swift build -c release --show-bin-path)/abbozzo"
fi

folder=$(mktemp -d)
pids=()
# The shell's own notes about processes that were killed would stand between the lines.
halt() {
    {
        [ ${#pids[@]} = 0 ] || kill -9 "${pids[@]}" || true
        wait || true
    } 2>/dev/null
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
if [ -n "$kill" ]; then
    printf '%8s %6s %6s %8s %8s %8s %6s\n' Mbit/s format taken preset seconds killed equal
else
    printf '%8s %6s %8s %8s %12s %14s\n' Mbit/s format preset seconds pictures/h link-bytes
fi
status=0
coordinator=tcp://10.77.0.1:5790
client=tcp://10.77.0.1:5792

start_worker() { # number; its process is workers[number]
    local roles=()
    [ -z "$kill" ] || case $1 in 1) roles=(--roles encoder,blocks) ;; 2) roles=(--roles blocks,decoder) ;; esac
    ip netns exec "$machine$1" "$abbozzo" worker --name "w$1" --coordinator $coordinator --bind "tcp://10.77.0.1$1:0" \
        --insecure-network --threads 1 --model "$model" "${roles[@]}" >/dev/null 2>>"$folder/w$1.log" &
    workers[$1]=$!
    pids+=($!)
}

ask() { ip netns exec "$hub" "$abbozzo" "$@" --coordinator $client --json; }

submit() { # preset, flags…
    ask submit "$folder/prompts.txt" --width "$side" --height "$side" --summary "${@:2}" \
        >"$folder/$1.json" 2>"$folder/$1.log" || { cat "$folder/$1.log" >&2; exit 1; }
}

seconds_since() { awk -v a="$1" -v b="$(date +%s%N)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'; }

# Draws a batch, draws it again with a loss in the middle, and compares.
submit_twice() { # preset, flags…
    local preset=$1 began undisturbed job taken equal=yes
    began=$(date +%s%N)
    submit "$preset" --folder "$preset" "${@:2}"
    undisturbed=$(seconds_since "$began")
    taken=$(ask nodes ls | jq -r .plan.wire)
    began=$(date +%s%N)
    job=$(ip netns exec "$hub" "$abbozzo" submit "$folder/prompts.txt" --coordinator $client --width "$side" \
        --height "$side" --no-wait --folder "$preset-killed" "${@:2}" 2>"$folder/submit.log") ||
        { cat "$folder/submit.log" >&2; exit 1; }
    until
        ask jobs show "$job" >"$folder/job.json"
        jq -e '.queued + .running == 0 or any(.images[]; .state == "running" and .step * 2 >= .steps)' \
            "$folder/job.json" >/dev/null
    do sleep 0.05; done
    jq -e '.running > 0' "$folder/job.json" >/dev/null || { echo "job $job ended before the loss" >&2; exit 1; }
    kill -9 "${workers[kill]}"
    wait "${workers[kill]}" 2>/dev/null || true
    start_worker "$kill"
    ask jobs watch "$job" >"$folder/watch.json" 2>"$folder/watch.log" || { cat "$folder/watch.log" >&2; exit 1; }
    losses=$((losses + 1))
    [ "$(grep -c "w$kill is gone" "$folder/coordinator.log")" = $losses ] || { echo "a loss was not noticed" >&2; exit 1; }
    [ "$(ls "$folder/out/$preset" | wc -l)" = "$pictures" ] || equal=NO
    diff -rq "$folder/out/$preset" "$folder/out/$preset-killed" >/dev/null || equal=NO
    [ $equal = yes ] || status=1
    printf '%8s %6s %6s %8s %8.1f %8.1f %6s\n' "$rate" "$format" "$taken" "$preset" "$undisturbed" \
        "$(seconds_since "$began")" $equal
}

for rate in $rates; do
    network_limit "$rate"
    for format in $formats; do
        mkfifo "$folder/ready"
        ip netns exec "$hub" "$abbozzo" coordinator --control $coordinator --data tcp://10.77.0.1:5791 \
            --client $client --events tcp://10.77.0.1:5793 --http-port 0 --insecure-network --workers 2 \
            --wire "$format" ${kill:+--cut even} --output "$folder/out" --state "$folder/state" \
            >"$folder/ready" 2>"$folder/coordinator.log" &
        pids+=($!)
        read -r _ <"$folder/ready" || { cat "$folder/coordinator.log" >&2; exit 1; }
        workers=()
        losses=0
        for number in 1 2; do start_worker $number; done
        # The first batch waits for the weights; it is not counted.
        submit warm --sampler euler --steps 1
        for preset in full flux-4x flux-7x; do
            case $preset in
            full) flags=(--sampler euler --steps 28) ;;
            *) flags=(--preset "$preset") ;;
            esac
            if [ -n "$kill" ]; then
                submit_twice "$preset" "${flags[@]}"
                continue
            fi
            began=$(date +%s%N)
            submit "$preset" "${flags[@]}"
            seconds=$(seconds_since "$began")
            bytes=$(jq '[.summary.links[].counted] | add' "$folder/$preset.json")
            printf '%8s %6s %8s %8.1f %12.0f %14s\n' "$rate" "$format" "$preset" "$seconds" \
                "$(awk "BEGIN { print $pictures / $seconds * 3600 }")" "$bytes"
        done
        halt
        rm -rf "$folder/ready" "$folder/out" "$folder/state"
    done
done
exit $status
