#!/bin/bash
# From a fresh checkout to pictures: sets up, builds, starts a coordinator and two workers as processes of this machine,
# submits configs/prompts/quickstart.txt with RALU, and stops what it started. A second run builds nothing.
#
#   Scripts/quickstart.sh [FOLDER]      pictures go to FOLDER, default out/quickstart-DATE-TIME
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."

Scripts/setup.sh
echo "building (minutes the first time, nothing the second)"
began=$SECONDS
swift build -c release --product abbozzo
echo "built in $((SECONDS - began)) s"
abbozzo="$(swift build -c release --show-bin-path)/abbozzo"

folder=out/quickstart-$(date +%Y%m%d-%H%M%S)
[ -z "${1:-}" ] || folder=$(cd "$caller" && realpath -m -- "$1")
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# Process numbers of what was started, the coordinator's first.
pids=()
stop() {
    local pid guard
    # The last first: workers tell the coordinator that they leave.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        pid=${pids[i]}
        kill "$pid" 2>/dev/null || continue
        # Ends a process that does not end by itself; the wait below returns as soon as the process is gone.
        (
            trap 'kill "$sleeper" 2>/dev/null' TERM
            sleep 10 &
            sleeper=$!
            wait "$sleeper" && kill -9 "$pid" 2>/dev/null
        ) &
        guard=$!
        wait "$pid" 2>/dev/null || true
        kill "$guard" 2>/dev/null || true
        wait "$guard" 2>/dev/null || true
    done
    pids=()
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts `abbozzo $2 ...` as a daemon called $1, which logs to $1.log, and waits for the line that it prints when it is
# ready, or for its end. The line is left in $line.
launch() {
    local name=$1 pipe="$folder/.$1.pipe" said
    shift
    rm -f "$pipe"
    mkfifo "$pipe"
    "$abbozzo" "$@" >"$pipe" 2>"$folder/$name.log" &
    pids+=($!)
    # The pipe stays open on our side, so that the daemon may print more.
    exec {said}<"$pipe"
    rm "$pipe"
    if ! read -r line <&"$said"; then
        echo "error: abbozzo $1 did not start; its log says:" >&2
        cat "$folder/$name.log" >&2
        exit 1
    fi
}

# The value of a word NAME=VALUE in $line.
value() { sed "s/.* $1=\([^ ]*\).*/\1/" <<<"$line"; }

# Port 0 everywhere: the system chooses free ports, and the coordinator says which.
any=tcp://127.0.0.1:0
launch coordinator coordinator --control $any --data $any --client $any --events $any --http-port 0 --workers 2 \
    --output "$folder" --state "$folder/state"
echo "$line"
control=$(value control)
client=$(value client)

cores=$(nproc)
threads=$((cores > 1 ? cores / 2 : 1))
for name in left right; do
    launch "$name" worker --coordinator "$control" --name "$name" --threads "$threads"
done

# Beside this shell, which would hear no signal while it runs something itself.
"$abbozzo" submit --coordinator "$client" configs/prompts/quickstart.txt --preset flux-4x --width 512 --height 512 \
    --folder pictures --summary --contact-sheet "$folder/contact-sheet.png" &
pids+=($!)
status=0
wait $! || status=$?
unset 'pids[-1]'
if [ "$status" != 0 ]; then
    echo "the logs are in $folder" >&2
    exit "$status"
fi
stop
echo "stopped coordinator and workers; pictures, contact sheet and logs are in $folder"
# Typed in the project's folder, whose own name may have a space in it.
echo "try a prompt of your own: ${abbozzo#"$PWD/"} render -p \"a red car in the forest at sunset\" -o picture.png"
echo "the words it knows: ${abbozzo#"$PWD/"} help render"
