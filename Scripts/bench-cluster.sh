#!/bin/bash
# Measures what a second worker brings, and what cutting by measured times brings where workers are uneven; prints what
# `abbozzo plan` predicted beside it. Everything runs on this machine, which should have two idle cores and nothing else to do.
#
#   Scripts/bench-cluster.sh [FOLDER]      logs and pictures go to FOLDER, default out/bench-cluster-DATE-TIME
#
#   ABBOZZO=PATH   the executable; default: a release build          MODEL=DIR    default: the demo model
#   PRESET=NAME    default flux-4x                                    PICTURES=N   of each timed batch, default 40
#   ROUNDS=N       of each comparison, interleaved, default 3         COMPUTE=F    number format, default f32
#
# 1. Two workers of one thread against one worker of one thread, pictures an hour with two in flight for each worker.
# 2. Two workers of one thread, the second with half a processor (a control group's quota): even cut against measured
#    cut. Left out where control groups cannot be made (needs root).
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${PRESET:-flux-4x}
pictures=${PICTURES:-40}
rounds=${ROUNDS:-3}
compute=${COMPUTE:-f32}
model=(${MODEL:+--model "$MODEL"})
if [ -z "${ABBOZZO:-}" ]; then
    swift build -c release --product abbozzo
    ABBOZZO="$(swift build -c release --show-bin-path)/abbozzo"
fi
folder=${1:-out/bench-cluster-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export XDG_CACHE_HOME="$folder/cache"

pids=()
group=""
stop() {
    local pid
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        pid=${pids[i]}
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=()
}
clean() {
    stop
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Makes a control group with half a processor, of version 2 or 1; periods of 10 ms, so that pauses stay short.
make_group() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ] && grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
        group=/sys/fs/cgroup/abbozzo-bench-$$
        mkdir "$group" 2>/dev/null && echo "5000 10000" >"$group/cpu.max" && return 0
    elif [ -e /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
        group=/sys/fs/cgroup/cpu/abbozzo-bench-$$
        mkdir "$group" 2>/dev/null && echo 10000 >"$group/cpu.cfs_period_us" &&
            echo 5000 >"$group/cpu.cfs_quota_us" && return 0
    fi
    group=""
    return 1
}

for ((i = 0; i < pictures; i++)); do echo "a red fox in the snow $i"; done >"$folder/batch.txt"
head -n 4 "$folder/batch.txt" >"$folder/warm.txt"

# start NAME CUT WORKERS [SLOW]: a cluster; SLOW puts the last worker into the control group.
start() {
    local name=$1 cut=$2 count=$3 slow=${4:-}
    run="$folder/$name"
    rm -rf "$run"
    mkdir -p "$run"
    "$ABBOZZO" coordinator --control tcp://127.0.0.1:0 --data tcp://127.0.0.1:0 --client tcp://127.0.0.1:0 \
        --events tcp://127.0.0.1:0 --http-port 0 --workers "$count" --cut "$cut" --output "$run/pictures" \
        --state "$run/state" >"$run/coordinator.out" 2>"$run/coordinator.log" &
    pids+=($!)
    local ready=""
    for _ in $(seq 200); do
        ready=$(grep '^ready ' "$run/coordinator.out" || true)
        [ -n "$ready" ] && break
        sleep 0.05
    done
    [ -n "$ready" ] || {
        cat "$run/coordinator.log" >&2
        exit 1
    }
    local control
    control=$(sed 's/.* control=\([^ ]*\).*/\1/' <<<"$ready")
    client=$(sed 's/.* client=\([^ ]*\).*/\1/' <<<"$ready")
    for ((n = 1; n <= count; n++)); do
        local inside=""
        [ -n "$slow" ] && [ "$n" = "$count" ] && inside=$group
        # The shell puts itself into the group, then becomes the worker.
        bash -c 'if [ -n "$1" ]; then echo $$ >"$1/cgroup.procs"; fi; shift; exec "$@"' - "$inside" \
            "$ABBOZZO" worker --coordinator "$control" --name "worker$n" --threads 1 --compute "$compute" \
            "${model[@]}" >"$run/worker$n.out" 2>"$run/worker$n.log" &
        pids+=($!)
    done
    "$ABBOZZO" submit --coordinator "$client" "$folder/warm.txt" --preset "$preset" >/dev/null
}

# Times a batch on the cluster that runs: pictures an hour.
batch() {
    local began ended
    began=$(date +%s.%N)
    "$ABBOZZO" submit --coordinator "$client" "$folder/batch.txt" --preset "$preset" >/dev/null
    ended=$(date +%s.%N)
    awk -v n="$pictures" -v a="$began" -v b="$ended" 'BEGIN { printf "%.1f\n", 3600 * n / (b - a) }'
}

# What plan predicts for the cluster that runs, cut as it is.
predicted() {
    "$ABBOZZO" plan --coordinator "$client" --preset "$preset" --cut "$1" --json |
        awk -F '[:,]' '/"forecast"/ { inside = 1 } inside && /"picturesPerHour"/ { printf "%.1f\n", $2; exit }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# compare LABEL NAME1 CUT1 WORKERS1 SLOW1 NAME2 CUT2 WORKERS2 SLOW2
compare() {
    local label=$1
    shift
    : >"$folder/$1.rates"
    : >"$folder/$5.rates"
    : >"$folder/$1.plans"
    : >"$folder/$5.plans"
    for ((round = 1; round <= rounds; round++)); do
        for side in 1 5; do
            local name=${!side} cut=$((side + 1)) count=$((side + 2)) slow=$((side + 3))
            start "$name" "${!cut}" "${!count}" "${!slow}"
            batch >>"$folder/$name.rates"
            predicted "${!cut}" >>"$folder/$name.plans"
            [ "$round" != 1 ] || {
                echo
                echo "$name:"
                "$ABBOZZO" plan --coordinator "$client" --preset "$preset" --cut "${!cut}" --scale 4,8,16,64
            }
            stop
        done
    done
    local first second
    first=$(median <"$folder/$1.rates")
    second=$(median <"$folder/$5.rates")
    echo
    echo "$label ($preset, $compute, $pictures pictures, $rounds rounds, medians, pictures an hour)"
    for name in "$1" "$5"; do
        echo "  $name: measured $(median <"$folder/$name.rates") of" $(cat "$folder/$name.rates") \
            "- predicted $(median <"$folder/$name.plans") of" $(cat "$folder/$name.plans")
    done
    awk -v a="$first" -v b="$second" 'BEGIN { printf "  %.3f times as many\n", b / a }'
}

compare "two workers of one thread against one" one measured 1 "" two measured 2 ""
if make_group; then
    compare "uneven workers, 2 : 1: measured cut against even cut" even even 2 slow measured measured 2 slow
else
    echo "uneven workers: left out, control groups cannot be made here"
fi
