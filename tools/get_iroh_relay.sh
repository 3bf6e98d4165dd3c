#!/usr/bin/env bash
# get_iroh_relay.sh DIR: see that there is an iroh-relay: the one on the PATH, else build one into DIR/bin.
#
# It is built from crates.io by cargo, in the version below, with the crate's own lock, and for tests: what makes it fast
# is left out, as most of the time went there. Two minutes of one core, half a GB on disk meanwhile. When it is there
# already: nothing to do. Where it cannot be had, DIR/why_not says so, too: the tests that are skipped tell it.
# Exit codes: 0 there is one; 2 wrong usage; 3 it cannot be had on this machine (one line on stderr says why).
set -euo pipefail

VERSION=1.2.0 # speaks with the iroh of requirements/run.txt; relays and nodes agree on a version of their protocol

cannot() {
    echo "$*" | tee "$dir/why_not" >&2
    exit 3
}

[[ $# -eq 1 ]] || { echo "usage: $0 DIR" >&2; exit 2; }
command -v iroh-relay >/dev/null && exit 0
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[[ -x $dir/bin/iroh-relay ]] && exit 0
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin # where rustup puts it, for login shells only
command -v cargo >/dev/null || cannot "no iroh-relay on this machine, and no cargo that could build it"
echo "Building iroh-relay $VERSION (once; its log: $1/log) ..."
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=symbols
cargo install iroh-relay --version "$VERSION" --features server --locked --root "$dir" --target-dir "$dir/target" \
    >"$dir/log" 2>&1 || cannot "iroh-relay could not be built: $(grep -m 1 '^error' "$dir/log" || echo "see $1/log")"
rm -rf "$dir/target" "$dir/why_not"
