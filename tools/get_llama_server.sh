#!/usr/bin/env bash
# get_llama_server.sh DIR: put a real llama.cpp server into DIR/llama-server (Debian x86-64).
#
# Unpacks Debian forky's packages into DIR; installs nothing, touches no file of the system, needs no root.
# About 4 s, 13 MB down, 51 MB on disk. When it is there already: nothing to do. Several at once: the others wait for one.
# Exit codes: 0 it is there; 2 wrong usage; 3 it cannot be had on this machine (one line on stderr says why).
set -euo pipefail

packages=(llama.cpp-tools libllama0 libggml0 libc6 libgcc-s1 libstdc++6 libgomp1 libssl3t64 zlib1g libzstd1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

cannot() {
    echo "no llama-server on this machine: $*" >&2
    exit 3
}

[[ $# -eq 1 ]] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[[ -x $dir/llama-server ]] && exit 0

for tool in apt-get dpkg flock; do
    command -v "$tool" >/dev/null || cannot "it comes from Debian's packages, and '$tool' is not here"
done
[[ $(dpkg --print-architecture) == amd64 ]] || cannot "only made for x86-64, this is $(dpkg --print-architecture)"
grep -qm1 avx2 /proc/cpuinfo || cannot "this processor has no AVX2"
[[ -r $keyring ]] || cannot "Debian's keyring is missing ($keyring)"
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1 || true)
site=${site:-http://deb.debian.org/debian} # this machine's own mirror first

exec 9>"$dir/.lock"
flock 9
[[ -x $dir/llama-server ]] && exit 0 # another run made it while this one waited

work=$dir/unfinished
rm -rf "$work" "$dir/root"
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,debs,root}
echo "deb [signed-by=$keyring] $site forky main" >"$work/sources.list"
apt=(
    apt-get -qq
    -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State=$work/state" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$work/cache"
    -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any # without the latter a failed update is a success
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
)
"${apt[@]}" update >"$work/log" 2>&1 || cannot "$site has no Debian forky for us: $(grep -m1 '^E:' "$work/log" || echo unreachable)"
(cd "$work/debs" && "${apt[@]}" download "${packages[@]}") >"$work/log" 2>&1 ||
    cannot "download from $site failed: $(grep -m1 '^E:' "$work/log" || echo unreachable)"
for deb in "$work"/debs/*.deb; do
    dpkg -x "$deb" "$work/root"
done

# The packages bring their own C library and loader: it does not matter how old the system's are.
cat >"$work/llama-server" <<'WRAPPER'
#!/usr/bin/env bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/root
lib=$root/usr/lib/x86_64-linux-gnu
export GGML_BACKEND_PATH=${GGML_BACKEND_PATH:-$lib/ggml/backends0/libggml-cpu-haswell.so}
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib:$lib/ggml:$lib/llama:$lib/llama.cpp" \
    "$root/usr/bin/llama-server" "$@"
WRAPPER
chmod +x "$work/llama-server"
version=$("$work/llama-server" --version 2>&1) || cannot "it does not run here: $(head -n 1 <<<"$version")"
mv "$work/root" "$dir/root"
mv "$work/llama-server" "$dir/llama-server" # last: where this file is, all of it is
rm -rf "$work"
grep -m1 version <<<"$version"
