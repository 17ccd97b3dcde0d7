#!/bin/bash
# Compares blocks of a FLUX with random weights in Abbozzo, PyTorch with diffusers, and OpenVINO: the same shapes, the
# same number of threads, one program after another in rounds. Prints tables in Markdown and what was compared. The
# machine should have nothing else to do.
#
#   Scripts/bench-peers.sh                       1536 and 4608 tokens; --help lists the options
#   Scripts/bench-peers.sh --quick               1536 tokens, one round: minutes
#   Scripts/bench-peers.sh --json >a.jsonl       every measurement as a line of JSON, ...
#   Scripts/bench-peers.sh --table a.jsonl ...   ... and the tables of several such files
#
#   ABBOZZO=PATH   the executable; default: a release build
#   PYTHON=PATH    Python 3.11 or newer; default python3
#
# The first call makes a virtual environment in ~/.cache/abbozzo (or $XDG_CACHE_HOME/abbozzo) and installs
# Scripts/bench-peers/requirements.txt there from PyPI, whose PyTorch brings 3 GB for graphics cards;
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares them. No weights are downloaded.
set -euo pipefail
caller=$PWD
# What the caller names is where the caller is. Links stay: Python finds its packages beside them.
for name in ABBOZZO PYTHON; do
    [[ ${!name:-} != */* ]] || printf -v "$name" %s "$(realpath -ms -- "${!name}")"
done
cd "$(dirname "$0")/.."
script=$PWD/Scripts/bench-peers
case " $* " in
*" --table "* | *" --table="* | *" --help "* | *" -h "*) # nothing is measured
    cd "$caller"
    exec "${PYTHON:-python3}" "$script" --abbozzo none "$@"
    ;;
esac

requirements=Scripts/bench-peers/requirements.txt
case ${XDG_CACHE_HOME:-} in
/*) cache=$XDG_CACHE_HOME/abbozzo ;;
*) cache=$HOME/.cache/abbozzo ;; # a relative one is to be ignored
esac
environment=$cache/bench-peers-$(cksum <$requirements | cut -d ' ' -f 1)
if [ ! -e "$environment/complete" ]; then
    rm -rf "$environment"
    mkdir -p "$cache"
    "${PYTHON:-python3}" -m venv "$environment"
    echo "installing PyTorch, diffusers and OpenVINO in $environment" >&2
    "$environment/bin/pip" install -q --disable-pip-version-check -r $requirements >&2
    # Without this package OpenVINO and nncf report nothing to anybody.
    "$environment/bin/pip" uninstall -q -y openvino-telemetry >&2
    touch "$environment/complete"
fi

if [ -z "${ABBOZZO:-}" ]; then
    swift build -c release --product abbozzo >&2
    ABBOZZO="$(swift build -c release --show-bin-path)/abbozzo"
fi
cd "$caller"
exec "$environment/bin/python" "$script" --abbozzo "$ABBOZZO" "$@"
