#!/bin/bash
# From a fresh checkout to pictures: sets up, builds, starts a coordinator and two workers as processes of this machine,
# submits configs/prompts/quickstart.txt with RALU, and stops what it started. A second run builds nothing.
#
#   Scripts/quickstart.sh [FOLDER]      pictures go to FOLDER, default out/quickstart-DATE-TIME
set -euo pipefail
cd "$(dirname "$0")/.."

Scripts/setup.sh
echo "building (minutes the first time, nothing the second)"
began=$SECONDS
swift build -c release --product abbozzo
echo "built in $((SECONDS - began)) s"
abbozzo="$(swift build -c release --show-bin-path)/abbozzo"

folder=${1:-out/quickstart-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

pids=()
stop() {
    local pid
    # Workers first: they tell the coordinator that they leave. pids holds the coordinator first.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        pid=${pids[i]}
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    pids=()
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Port 0 everywhere: the system chooses free ports, and the coordinator says which.
"$abbozzo" coordinator --control tcp://127.0.0.1:0 --data tcp://127.0.0.1:0 --client tcp://127.0.0.1:0 \
    --events tcp://127.0.0.1:0 --http-port 0 --workers 2 --output "$folder" --state "$folder/state" \
    >"$folder/coordinator.out" 2>"$folder/coordinator.log" &
pids+=($!)
ready=""
for _ in $(seq 200); do
    ready=$(grep '^ready ' "$folder/coordinator.out" || true)
    [ -n "$ready" ] && break
    if ! kill -0 "${pids[0]}" 2>/dev/null; then
        cat "$folder/coordinator.log" >&2
        exit 1
    fi
    sleep 0.05
done
[ -n "$ready" ] || {
    echo "error: the coordinator did not get ready; see $folder/coordinator.log" >&2
    exit 1
}
control=$(sed 's/.* control=\([^ ]*\).*/\1/' <<<"$ready")
client=$(sed 's/.* client=\([^ ]*\).*/\1/' <<<"$ready")
echo "$ready"

cores=$(nproc)
threads=$((cores > 1 ? cores / 2 : 1))
for name in left right; do
    "$abbozzo" worker --coordinator "$control" --name "$name" --threads "$threads" \
        >"$folder/$name.out" 2>"$folder/$name.log" &
    pids+=($!)
done

status=0
"$abbozzo" submit --coordinator "$client" configs/prompts/quickstart.txt --preset flux-4x --folder pictures \
    --summary --contact-sheet "$folder/contact-sheet.png" || status=$?
if [ "$status" != 0 ]; then
    echo "the logs are in $folder" >&2
    exit "$status"
fi
stop
echo "stopped coordinator and workers; pictures, contact sheet and logs are in $folder"
