#!/bin/bash
# Measures what a second worker brings, and what cutting by measured times brings where workers are uneven; prints what
# `abbozzo plan` predicted beside it. Everything runs on this machine, which should have two idle cores and nothing else to do.
#
#   Scripts/bench-cluster.sh [FOLDER]      logs and pictures go to FOLDER, default out/bench-cluster-DATE-TIME
#
#   ABBOZZO=PATH   the executable; default: a release build          MODEL=DIR    default: the demo model
#   PRESET=NAME    default flux-4x                                    PICTURES=N   of each timed batch, default 40
#   ROUNDS=N       of each comparison, interleaved, default 3         COMPUTE=F    number format, default f32
#   SIDE=N         pixels across and down, default the model's own
#   HEADS=N        a model of random weights with N heads of 64 is made in FOLDER and used in place of MODEL, with
#   DOUBLE=N       so many double blocks, default 4, and
#   SINGLE=N       so many single ones, default 8
#   PARTS=1        only the first of the two comparisons below, or PARTS=2 the second; default both
#
# 1. Two workers of one thread against one worker of one thread, pictures an hour with two in flight for each worker.
#    In the same rounds what this machine gives two such processes: the sum of the pictures an hour of two clusters of
#    one worker each, at the same time.
# 2. Two workers of one thread, the second with half a processor (a control group's quota): even cut against measured
#    cut. Left out where control groups cannot be made (needs root).
set -euo pipefail
# What the caller names is where the caller is.
[[ ${ABBOZZO:-} != */* ]] || ABBOZZO=$(realpath -m -- "$ABBOZZO")
[ -z "${MODEL:-}" ] || MODEL=$(realpath -m -- "$MODEL")
[ -z "${1:-}" ] || set -- "$(realpath -m -- "$1")"
cd "$(dirname "$0")/.."
# Where people write 0,5 awk reads 0.5 as 0.
export LC_ALL=C
parts=${PARTS:-12}
case $parts in 1 | 2 | 12) ;; *) echo "bench-cluster: PARTS is 1 or 2, not $parts" >&2; exit 1 ;; esac

preset=${PRESET:-flux-4x}
pictures=${PICTURES:-40}
rounds=${ROUNDS:-3}
compute=${COMPUTE:-f32}
model=(${MODEL:+--model "$MODEL"})
picture=(--preset "$preset" ${SIDE:+--width "$SIDE" --height "$SIDE"})
if [ -z "${ABBOZZO:-}" ]; then
    swift build -c release --product abbozzo
    ABBOZZO="$(swift build -c release --show-bin-path)/abbozzo"
fi
folder=${1:-out/bench-cluster-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export XDG_CACHE_HOME="$folder/cache"
if [ -n "${HEADS:-}" ]; then
    rm -rf "$folder/random-model"
    "$ABBOZZO" model random "$folder/random-model" --heads "$HEADS" --double-blocks "${DOUBLE:-4}" \
        --single-blocks "${SINGLE:-8}"
    model=(--model "$folder/random-model")
fi

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

# start NAME CUT WORKERS [SLOW]: a cluster, whose address is in `client`; SLOW puts the last worker into the control
# group.
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
    "$ABBOZZO" submit --coordinator "$client" "$folder/warm.txt" "${picture[@]}" >/dev/null
}

# batch CLIENT…: times a batch on each of the clusters at the same time; the sum of their pictures an hour in `rate`.
batch() {
    local began cluster ended ends=()
    local -A running=()
    began=$(date +%s.%N)
    for cluster; do
        "$ABBOZZO" submit --coordinator "$cluster" "$folder/batch.txt" "${picture[@]}" >/dev/null &
        pids+=($!)
        running[$!]=yes
    done
    for cluster; do
        wait -n -p ended "${!running[@]}" # whichever ends next
        ends+=("$(date +%s.%N)")
        unset "running[$ended]"
    done
    for cluster; do unset 'pids[-1]'; done
    rate=$(printf '%s\n' "${ends[@]}" |
        awk -v n="$pictures" -v a="$began" '{ sum += 3600 * n / ($1 - a) } END { printf "%.1f\n", sum }')
}

# Two clusters of one worker each at the same time: the sum of their pictures an hour in `rate`.
ceiling() {
    local left
    start left measured 1
    left=$client
    start right measured 1
    batch "$left" "$client"
    stop
}

# What plan predicts for the cluster that runs, cut as it is.
predicted() {
    "$ABBOZZO" plan --coordinator "$client" "${picture[@]}" --cut "$1" --json |
        awk -F '[:,]' '/"forecast"/ { inside = 1 } inside && /"picturesPerHour"/ { printf "%.1f\n", $2; exit }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# compare LABEL CEILING NAME1 CUT1 WORKERS1 SLOW1 NAME2 CUT2 WORKERS2 SLOW2; CEILING, unless empty, asks for that too.
compare() {
    local label=$1 top=$2
    shift 2
    [ -z "$top" ] || : >"$folder/ceiling.rates"
    : >"$folder/$1.rates"
    : >"$folder/$5.rates"
    : >"$folder/$1.plans"
    : >"$folder/$5.plans"
    for ((round = 1; round <= rounds; round++)); do
        for side in 1 5; do
            local name=${!side} cut=$((side + 1)) count=$((side + 2)) slow=$((side + 3))
            start "$name" "${!cut}" "${!count}" "${!slow}"
            batch "$client"
            echo "$rate" >>"$folder/$name.rates"
            predicted "${!cut}" >>"$folder/$name.plans"
            [ "$round" != 1 ] || {
                echo
                echo "$name:"
                "$ABBOZZO" plan --coordinator "$client" "${picture[@]}" --cut "${!cut}" --scale 4,8,16,64
            }
            stop
        done
        [ -z "$top" ] || {
            ceiling
            echo "$rate" >>"$folder/ceiling.rates"
        }
    done
    local first second
    first=$(median <"$folder/$1.rates")
    second=$(median <"$folder/$5.rates")
    echo
    echo "$label"
    echo "($preset${SIDE:+, ${SIDE}x$SIDE}, $compute, $pictures pictures, $rounds rounds, medians, pictures an hour)"
    for name in "$1" "$5"; do
        echo "  $name: measured $(median <"$folder/$name.rates") of" $(cat "$folder/$name.rates") \
            "- predicted $(median <"$folder/$name.plans") of" $(cat "$folder/$name.plans")
    done
    awk -v a="$first" -v b="$second" 'BEGIN { printf "  %.3f times as many\n", b / a }'
    [ -n "$top" ] || return 0
    echo "  two clusters of one at the same time: $(median <"$folder/ceiling.rates") of" $(cat "$folder/ceiling.rates")
    awk -v a="$first" -v b="$second" -v c="$(median <"$folder/ceiling.rates")" \
        'BEGIN { printf "  %.3f times as many as one, of which the cluster of two has %.3f\n", c / a, b / c }'
}

if [[ $parts == *1* ]]; then
    compare "two workers of one thread against one" ceiling one measured 1 "" two measured 2 ""
fi
if [[ $parts != *2* ]]; then
    :
elif make_group; then
    compare "uneven workers, 2 : 1: measured cut against even cut" "" even even 2 slow measured measured 2 slow
else
    echo "uneven workers: left out, control groups cannot be made here"
fi
