#!/bin/bash
# Sets up, builds and runs every test, shows how close results came to the goldens, and checks the format.
# Exit code 0 only when all of it is well.
set -euo pipefail
cd "$(dirname "$0")/.."

Scripts/setup.sh
export ABBOZZO_CLOSENESS="$PWD/.build/closeness.tsv"
mkdir -p .build
rm -f "$ABBOZZO_CLOSENESS"
log="$PWD/.build/test.log"
status=0

swift build --build-tests
swift test --skip-build --disable-xctest 2>&1 | tee "$log" || status=1
if grep -q '✘' "$log"; then
    echo
    echo "failures:"
    grep '✘' "$log" | head -n 100
    status=1
fi

echo
echo "worst error of each group of goldens, as a share of its tolerance:"
Scripts/closeness.sh "$ABBOZZO_CLOSENESS" || status=1

echo
if swift format lint --strict -r Sources Tests Package.swift; then
    echo "format: clean"
else
    status=1
fi

grep -E 'Test run with [0-9]+ tests' "$log" || {
    echo "the runner did not come to its end" >&2
    status=1
}
[ "$status" = 0 ] && echo "all is well" || echo "something failed, see above" >&2
exit "$status"
