#!/usr/bin/env bash
# get_iroh_relay.sh DIR: see that there is an iroh-relay: the one on the PATH, else build one into DIR/bin.
#
# It is built from crates.io by cargo, in the version below, with the crate's own lock: three and a half minutes of one
# core (half of it with two), 1 GB on disk meanwhile. When it is there already: nothing to do.
# Exit codes: 0 there is one; 2 wrong usage; 3 it cannot be had on this machine (one line on stderr says why).
set -euo pipefail

VERSION=1.2.0 # speaks with the iroh of requirements/run.txt; relays and nodes agree on a version of their protocol

[[ $# -eq 1 ]] || { echo "usage: $0 DIR" >&2; exit 2; }
command -v iroh-relay >/dev/null && exit 0
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[[ -x $dir/bin/iroh-relay ]] && exit 0
command -v cargo >/dev/null || { echo "no iroh-relay on this machine, and no cargo that could build it" >&2; exit 3; }
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install iroh-relay --version "$VERSION" --features server --locked --root "$dir" --target-dir "$dir/target" ||
    { echo "iroh-relay could not be built" >&2; exit 3; }
rm -rf "$dir/target"
