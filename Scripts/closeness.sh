#!/bin/sh
# Prints how close results came to the goldens: the worst error of each group as a share of its tolerance.
# Tests append to the file that ABBOZZO_CLOSENESS names when it is set (absolute path); give that file here:
#   export ABBOZZO_CLOSENESS="$PWD/.build/closeness.tsv"; rm -f "$ABBOZZO_CLOSENESS"
#   swift test --disable-xctest; Scripts/closeness.sh "$ABBOZZO_CLOSENESS"
# Exit code 1 when a group is outside its tolerance or nothing was compared.
set -eu
awk -F '\t' '
    NF == 3 {
        count[$1]++
        if (!($1 in worst) || $2 + 0 > worst[$1]) { worst[$1] = $2 + 0; name[$1] = $3 }
    }
    END {
        for (group in worst) {
            printf "%-46s %6d  %11.4f  %s\n", group, count[group], worst[group], name[group] | "sort"
            if (worst[group] > 1) bad = 1
            groups++
        }
        close("sort")
        if (!groups) { print "no comparison with a golden was recorded"; exit 1 }
        exit bad
    }
    BEGIN { printf "%-46s %6s  %11s  %s\n", "golden group", "count", "worst/atol", "tensor"; fflush() }
' "$1"
