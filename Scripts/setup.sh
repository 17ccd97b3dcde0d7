#!/bin/sh
# Installs the system packages that Abbozzo is built with, where they are missing, and checks the Swift toolchain.
# On a machine that has everything it changes nothing and needs no network.
set -eu

packages="git ca-certificates pkg-config libopenblas-dev libzmq3-dev libpng-dev libsqlite3-dev zlib1g-dev"

fail() {
    echo "setup: $*" >&2
    exit 1
}

if ! command -v dpkg-query >/dev/null; then
    fail "this is no Debian or Ubuntu; install the counterparts of: $packages"
fi
missing=""
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    case $status in
    ii*) ;;
    *)
        # pkgconf takes the place of pkg-config on newer releases.
        if [ "$package" = pkg-config ] && command -v pkg-config >/dev/null; then continue; fi
        missing="$missing $package"
        ;;
    esac
done
if [ -n "$missing" ]; then
    echo "setup: installing$missing"
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    else
        command -v sudo >/dev/null || fail "not root and no sudo; as root run: apt-get install -y$missing"
        as_root="sudo"
    fi
    # shellcheck disable=SC2086  # words are meant to split
    {
        $as_root apt-get update -q || echo "setup: the package lists could not be renewed, trying with the old ones" >&2
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing ||
            fail "apt-get could not install$missing; see its words above"
    }
fi

command -v swift >/dev/null || fail "no swift on the PATH; install Swift 6.2 or newer from https://swift.org/install/linux"
version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1)
[ -n "$version" ] || fail "'swift --version' does not say its version; Swift 6.2 or newer is needed"
major=${version%%.*}
minor=${version#*.}
if [ "$major" -lt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -lt 2 ]; }; then
    fail "Swift $version is too old, 6.2 or newer is needed: https://swift.org/install/linux"
fi
