#!/bin/bash
# Shows that pictures survive the loss of a worker: a coordinator and three workers, each in a network namespace of its own,
# draw a batch with RALU; in each of its stages the first, the middle or the last worker is killed, stopped, or cut off the
# network.
#
#   Scripts/faults.sh [FAULTS] [WORKERS] [STAGES]
#       defaults "kill stop partition" "first middle last" "1 2 3"; another fault is link: the worker and the next one hear
#       the coordinator, but not each other (first and middle only)
#
# As root, with iproute2 and jq. ABBOZZO is the executable (default: a release build), LIVENESS the preset (lan),
# STEPS (10) the steps of each stage, PICTURES (4) how many a batch has, SIDE (256) their side, MODEL the model's folder,
# CASE a command to run each case by, such as "flock FILE", LOGS a folder where the logs of broken cases are kept.
#
# A case keeps the promise when every picture has the bytes of `abbozzo render`, no picture computed more than one step
# again, the coordinator noticed the loss within 3 s (10 s with the standard preset), and a worker that was stopped or cut
# off is back at work in the end. One line a case; the exit code is 1 when a case broke the promise.
set -euo pipefail
# What the caller names is where the caller is.
[[ ${ABBOZZO:-} != */* ]] || ABBOZZO=$(realpath -m -- "$ABBOZZO")
[ -z "${MODEL:-}" ] || MODEL=$(realpath -m -- "$MODEL")
[ -z "${LOGS:-}" ] || LOGS=$(realpath -m -- "$LOGS")
cd "$(dirname "$0")/.."
source Scripts/namespaces.sh

liveness=${LIVENESS:-lan}
steps=${STEPS:-10}
pictures=${PICTURES:-4}
side=${SIDE:-256}
model=${MODEL:-configs/models/demo}
case $liveness in
lan) promise=3 ;;
standard) promise=10 ;;
*)
    echo "faults: LIVENESS is lan or standard, not $liveness" >&2
    exit 1
    ;;
esac
control=tcp://10.77.0.1:5790
client=tcp://10.77.0.1:5792

pids=()
halt() {
    local pid
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    pids=()
}

# Where people read; a case's own standard error has the shell's notes about the processes that it kills.
exec 3>&2
give_up() {
    is_told=yes
    echo "faults: $*" >&3
    exit 2
}

# Runs something until it succeeds, at most so many seconds.
await() { # seconds, command…
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

ask() { ip netns exec "$hub" "$abbozzo" "$@" --coordinator "$client" --json 2>/dev/null; }

# Whether a picture of the job is inside the wanted stage: one step of it is done and one is left.
is_in_stage() { # job, stage
    ask jobs show "$1" >"$folder/status.json" || return 1
    jq -e --argjson from $((($2 - 1) * steps + 1)) --argjson to $(($2 * steps - 1)) \
        'any(.images[]; .step // -1 | . >= $from and . <= $to)' "$folder/status.json" >/dev/null
}

is_over() { # job
    ask jobs show "$1" >"$folder/status.json" && jq -e '.done + .failed + .cancelled == .total' "$folder/status.json" >/dev/null
}

has_said() { grep -q -- "$1" "$folder/coordinator.log"; }

is_at_work() { # worker
    ask nodes ls | jq -e --arg name "$1" \
        '.plan.placements as $placed | any(.workers[]; .hello.name == $name and .life == "ready")
            and any($placed[]; .worker == $name)' >/dev/null
}

# Nanoseconds since 1970 of the first line of the coordinator's log with a text.
said_at() {
    local stamp
    stamp=$(grep -m 1 -- "$1" "$folder/coordinator.log" | cut -d ' ' -f 1)
    date -d "$stamp" +%s%N
}

seconds_since() { # nanoseconds, nanoseconds
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'
}

# One case in its own process, so that a command such as flock can be put before it. Prints its line; fails when it broke
# the promise.
run_case() { # fault, first|middle|last, stage
    local fault=$1 place=$2 stage=$3 number worker loss
    case $place in first) number=1 ;; middle) number=2 ;; last) number=3 ;; esac
    worker=node$number
    abbozzo=$ABBOZZO
    folder=$(mktemp -d)
    name="$fault $place $stage"
    is_told=""
    # A command that failed would else end the case without a word.
    trap '[ -n "$is_told" ] || echo "faults: $name broke off at: $BASH_COMMAND" >&3
        halt; network_remove; rm -rf "$folder"' EXIT
    network_make 3
    exec 2>/dev/null

    echo "liveness: $liveness" >"$folder/coordinator.yaml"
    ip netns exec "$hub" "$abbozzo" coordinator --config "$folder/coordinator.yaml" --control $control \
        --data tcp://10.77.0.1:5791 --client $client --events tcp://10.77.0.1:5793 --http-port 5780 \
        --insecure-network --workers 3 --cut even --output "$folder/out" --state "$folder/state" \
        >"$folder/ready" 2>"$folder/coordinator.log" &
    pids+=($!)
    await 30 grep -q '^ready ' "$folder/ready" || give_up "the coordinator did not start: $(cat "$folder/coordinator.log")"
    for machine_number in 1 2 3; do
        ip netns exec "$machine$machine_number" "$abbozzo" worker --name "node$machine_number" --coordinator $control \
            --bind "tcp://10.77.0.1$machine_number:0" --insecure-network --threads 1 --benchmark off --model "$model" \
            >/dev/null 2>"$folder/node$machine_number.log" &
        pids+=($!)
    done
    local victim=${pids[number]} job
    await 60 has_said "epoch 1:" || give_up "no plan within a minute: $(cat "$folder/coordinator.log")"
    job=$(ip netns exec "$hub" "$abbozzo" submit "$ORACLE/batch.txt" --coordinator $client --no-wait --folder batch \
        --width "$side" --height "$side" --preset "$ORACLE/preset.yaml" 2>"$folder/submit.log") ||
        give_up "$(cat "$folder/submit.log")"
    await 60 is_in_stage "$job" "$stage" || give_up "no picture was seen in stage $stage: $(cat "$folder/status.json")"

    local struck noticed ended
    struck=$(date +%s%N)
    loss="$worker is gone"
    case $fault in
    kill) kill -9 "$victim" ;;
    stop) kill -STOP "$victim" ;;
    partition) network_cable $number down ;;
    link)
        network_part $number $((number + 1)) on
        loss="$worker does not reach node$((number + 1))"
        ;;
    esac
    await 90 has_said "$loss" || true
    case $fault in
    stop) kill -CONT "$victim" ;;
    partition) network_cable $number up ;;
    esac

    local trouble=() state=yes
    await 120 is_over "$job" || trouble+=("not finished after 2 minutes")
    ended=$(date +%s%N)
    noticed=-
    if has_said "$loss"; then
        noticed=$(seconds_since "$struck" "$(said_at "$loss")")
        awk -v a="$noticed" -v b=$promise 'BEGIN { exit !(a <= b) }' || trouble+=("noticed after more than $promise s")
    else
        trouble+=("never noticed")
    fi
    # `picture JOB/INDEX computes step N again`, counted by picture.
    local again
    again=$(sed -n 's/.* picture \([^ ]*\) computes step [0-9]* again.*/\1/p' "$folder/coordinator.log" |
        sort | uniq -c | sort -rn | awk 'NR == 1 { print $1 }')
    again=${again:-0}
    [ "$again" -le 1 ] || trouble+=("$again steps of one picture computed again")
    local index=0 file
    for file in "$folder"/out/batch/*.png; do
        index=$((index + 1))
        cmp -s "$file" "$ORACLE/$index.png" || state=no
    done
    [ $index = "$pictures" ] || state=no
    [ $state = yes ] || trouble+=("other bytes, or a picture is missing")
    case $fault in stop | partition)
        await 60 is_at_work "$worker" || trouble+=("$worker is not back at work")
        ;;
    esac
    printf '%-10s %-7s %5s %9s %9s %9s %6s  %s\n' "$fault" "$place" "$stage" "$noticed" "$again" \
        "$(seconds_since "$struck" "$ended")" $state "$(IFS=';'; echo "${trouble[*]:-}")"
    is_told=yes
    [ ${#trouble[@]} = 0 ] && return
    if [ -n "${LOGS:-}" ]; then
        mkdir -p "$LOGS/$fault-$place-$stage"
        cp "$folder"/*.log "$folder/status.json" "$LOGS/$fault-$place-$stage"
    fi
    return 1
}

# What one process draws, to compare with.
draw() {
    local index=0 prompt
    while read -r prompt; do
        "$ABBOZZO" render --model "$model" -p "$prompt" --seed $index --width "$side" --height "$side" \
            --preset "$ORACLE/preset.yaml" -o "$ORACLE/$((index + 1)).png" >/dev/null
        index=$((index + 1))
    done <"$ORACLE/batch.txt"
}

case ${1:-} in
--draw)
    draw
    exit
    ;;
--case)
    run_case "$2" "$3" "$4"
    exit
    ;;
esac

faults=${1:-kill stop partition}
places=${2:-first middle last}
stages=${3:-1 2 3}
# Refuses words that mean nothing here.
check() { # what they are, the known ones, words…
    local what=$1 known=$2 word
    shift 2
    for word in "$@"; do
        [[ " $known " == *" $word "* ]] || {
            echo "faults: $what are some of \"$known\", not $word" >&2
            exit 1
        }
    done
}
# shellcheck disable=SC2086  # words are meant to split
{
    check FAULTS "kill stop partition link" $faults
    check WORKERS "first middle last" $places
    check STAGES "1 2 3" $stages
}
cases=()
for fault in $faults; do
    for place in $places; do
        # The last worker has no next one.
        [ "$fault $place" != "link last" ] || continue
        for stage in $stages; do cases+=("$fault $place $stage"); done
    done
done
[ ${#cases[@]} -gt 0 ] || {
    echo "faults: nothing to do; name a fault, a worker and a stage, for link the first or the middle worker" >&2
    exit 1
}
network_check jq
if [ -z "${ABBOZZO:-}" ]; then
    swift build -c release --product abbozzo
    ABBOZZO="$(swift build -c release --show-bin-path)/abbozzo"
fi
export ABBOZZO LIVENESS="$liveness" STEPS="$steps" PICTURES="$pictures" SIDE="$side" MODEL="$model"
ORACLE=$(mktemp -d)
export ORACLE
trap 'rm -rf "$ORACLE"' EXIT

# The constants of flux-4x with enough steps in each stage to hit one.
sed "s/^steps: .*/steps: [$steps, $steps, $steps]/" configs/presets/flux-4x.yaml >"$ORACLE/preset.yaml"
for index in $(seq "$pictures"); do echo "a castle in the mountains at night"; done >"$ORACLE/batch.txt"
${CASE:-} Scripts/faults.sh --draw
broken=0
printf '%-10s %-7s %5s %9s %9s %9s %6s\n' fault worker stage noticed/s replayed done/s bytes
for name in "${cases[@]}"; do
    # shellcheck disable=SC2086  # words are meant to split
    ${CASE:-} Scripts/faults.sh --case $name || broken=$((broken + 1))
done
[ $broken = 0 ] || echo "$broken cases broke the promise"
[ $broken = 0 ]
