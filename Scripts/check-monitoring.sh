#!/bin/bash
# Lets a real Prometheus scrape a coordinator and two workers that work, and asks it for every series that the alert rules
# and the dashboard in deploy/ use: each expression must parse, each series must be there, and each panel but those of
# trouble must have shown something. Then the coordinator is killed: the workers' pages must go on and say so. What alerts
# say of told histories is in alerts.yml.
#
#   Scripts/check-monitoring.sh      needs Debian's packages prometheus, curl and jq; as root installs what is missing
#   CONFIGURATION=debug              builds without optimisation, as the tests do
set -euo pipefail
cd "$(dirname "$0")/.."

for package in prometheus curl jq; do
    command -v "$package" >/dev/null && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "check-monitoring: $package is missing; install it first, on Debian as root with apt-get install $package" >&2
        exit 1
    fi
    # The package's own service would take the port.
    [ "$package" != prometheus ] || export RUNLEVEL=1
    [ -n "${updated:-}" ] || apt-get update -q || true
    updated=yes
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package"
done
promtool test rules Scripts/alerts.yml
configuration=${CONFIGURATION:-release}
swift build -c "$configuration" --product abbozzo
abbozzo="$(swift build -c "$configuration" --show-bin-path)/abbozzo"

folder=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT

mkfifo "$folder/ready"
"$abbozzo" coordinator --control tcp://127.0.0.1:0 --data tcp://127.0.0.1:0 --client tcp://127.0.0.1:0 \
    --events tcp://127.0.0.1:0 --http-port 0 --workers 2 --wire auto --output "$folder/out" --state "$folder/state" \
    >"$folder/ready" 2>"$folder/coordinator.log" &
pids+=($!)
read -r ready <"$folder/ready" || { cat "$folder/coordinator.log" >&2; exit 1; }
address() { sed "s|.* $1=\(http://\)*\([^ ]*\).*|\2|" <<<"$ready"; }
workers=""
for name in left right; do
    mkfifo "$folder/$name"
    "$abbozzo" worker --coordinator "$(address control)" --name "$name" --threads 1 \
        >"$folder/$name" 2>"$folder/$name.log" &
    pids+=($!)
    read -r started <"$folder/$name" || { cat "$folder/$name.log" >&2; exit 1; }
    workers+="${workers:+, }\"${started##*http://}\""
done

port=$((20000 + RANDOM % 10000))
cp deploy/prometheus/*.yml "$folder"
sed -i "s/127.0.0.1:5780/$(address http)/; s/\"127.0.0.1:5781\"/$workers/; s/scrape_interval: .*/scrape_interval: 1s/" \
    "$folder/scrape.yml"
promtool check config "$folder/scrape.yml"
prometheus --config.file "$folder/scrape.yml" --storage.tsdb.path "$folder/tsdb" \
    --web.listen-address "127.0.0.1:$port" 2>"$folder/prometheus.log" &
pids+=($!)
curl -sf --retry 30 --retry-all-errors --retry-delay 1 -o /dev/null "http://127.0.0.1:$port/-/ready" ||
    { tail -n 5 "$folder/prometheus.log" >&2; echo "Prometheus did not start; its last words are above" >&2; exit 1; }

"$abbozzo" submit --coordinator "$(address client)" configs/prompts/quickstart.txt --preset flux-4x \
    --width 512 --height 512
done=$(curl -sf "http://$(address http)/metrics" | awk '/^dit_images_completed_total/ { n += $NF } END { print n }')

ask() { curl -sSf "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1"; }
for _ in $(seq 60); do
    seen=$(ask 'sum(dit_images_completed_total)' | jq -r '.data.result[0].value[1] // 0')
    [ "$seen" = "$done" ] && break
    sleep 0.5
done
[ "$seen" = "$done" ] || { echo "Prometheus saw $seen pictures of $done" >&2; exit 1; }
echo "Prometheus saw $seen pictures"

status=0
# Every expression parses; `or vector(0)` would hide nothing, a parse error is an HTTP error.
expressions=$({
    jq -r '.. | .expr? // empty' deploy/grafana/dashboard.json
    sed -n 's/^ *expr: //p' deploy/prometheus/rules.yml
})
count=0
while IFS= read -r expression; do
    ask "$expression" >/dev/null || { echo "cannot be asked: $expression" >&2; status=1; }
    count=$((count + 1))
done <<<"$expressions"
echo "$count expressions parse"

# Series that only exist after trouble.
sometimes="dit_protocol_errors_total dit_auth_failures_total dit_worker_idle"
panels=0
while IFS= read -r expression; do
    # Marks of what happened (> 0), and series that come with trouble, may be missing.
    grep -qE " > 0$|${sometimes// /|}" <<<"$expression" && continue
    found=$(ask "count_over_time(($expression)[5m:1s])" | jq -r '.data.result | length') || { status=1; continue; }
    [ "$found" != 0 ] || { echo "an empty panel: $expression" >&2; status=1; }
    panels=$((panels + 1))
done < <(jq -r '.. | .expr? // empty' deploy/grafana/dashboard.json)
echo "$panels expressions of panels show something"
for name in $(grep -o 'dit_[a-z_]*' <<<"$expressions" | sort -u); do
    found=$(ask "count(last_over_time($name[5m]))" | jq -r '.data.result[0].value[1] // 0')
    if [ "$found" = 0 ] && ! grep -qw "$name" <<<"$sometimes"; then
        echo "no such series: $name" >&2
        status=1
    fi
    printf '%6s series of %s\n' "$found" "$name"
done
# What both pages tell of a worker agrees, once its last heartbeat is in.
one() { ask "$1" | jq -r '.data.result[0].value[1] // 0'; }
for name in left right; do
    for _ in $(seq 60); do
        here=$(one "dit_tokens_total{job=\"abbozzo-workers\",worker=\"$name\"}")
        there=$(one "dit_tokens_total{job=\"abbozzo\",worker=\"$name\"}")
        [ "$here" = "$there" ] && [ "$here" != 0 ] && break
        sleep 0.5
    done
    echo "$name: $here tokens by its own page, $there by the coordinator's"
    [ "$here" = "$there" ] && [ "$here" != 0 ] || status=1
done

kill -9 "${pids[0]}"
for _ in $(seq 60); do
    alone=$(one 'count(dit_worker_connected == 0)')
    [ "$alone" = 2 ] && break
    sleep 0.5
done
echo "coordinator killed: $alone of 2 workers' pages say that it is gone"
[ "$alone" = 2 ] || status=1
[ "$status" = 0 ] && echo "monitoring is well"
exit "$status"
